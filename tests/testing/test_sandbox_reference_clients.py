"""The vendors' own Python clients work against the sandbox: it is not merely what our connectors expect."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.hubspot_contacts import Contact
from consentry.testing.sandbox.mailchimp import Mailchimp

# The clients bring their own warnings, which are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_klaviyos_client_imports_profiles_and_fills_a_list(sandbox: Sandbox) -> None:
    """klaviyo-api 25 (revision 2026-10-15) over HTTP."""
    package = pytest.importorskip("klaviyo_api", reason="Install the dependency group `reference`.")
    client: Any = package.KlaviyoAPI("sandbox-klaviyo", max_retries=1, test_host=sandbox.url("klaviyo"))
    made = client.Lists.create_list({"data": {"type": "list", "attributes": {"name": "Newsletter"}}})
    list_id = made["data"]["id"] if isinstance(made, dict) else made.data.id
    people = [{"type": "profile", "attributes": {"email": f"person{n}@example.com"}} for n in range(3)]
    body = {"data": {"type": "profile-bulk-import-job", "attributes": {"profiles": {"data": people}}}}
    client.Profiles.bulk_import_profiles(body)
    sandbox.klaviyo.finish_jobs()
    ids = [{"type": "profile", "id": one} for one in sandbox.klaviyo.account.profiles]
    client.Lists.add_profiles_to_list(list_id, {"data": ids})
    client.Lists.remove_profiles_from_list(list_id, {"data": ids[:1]})
    assert sandbox.klaviyo.member_values("Newsletter") == {"person1@example.com", "person2@example.com"}
    assert {one.path for one in sandbox.requests} <= {
        "/klaviyo/api/lists",
        "/klaviyo/api/profile-bulk-import-jobs",
        f"/klaviyo/api/lists/{list_id}/relationships/profiles",
    }


def test_hubspots_client_reads_searches_and_changes_contacts_and_lists(sandbox: Sandbox) -> None:
    """hubspot-api-client 12, which uses the v3 paths."""
    package = pytest.importorskip("hubspot", reason="Install the dependency group `reference`.")
    contacts: Any = pytest.importorskip("hubspot.crm.contacts")
    lists: Any = pytest.importorskip("hubspot.crm.lists")
    client: Any = package.HubSpot(access_token="sandbox-hubspot", host=sandbox.url("hubspot"))
    assert len(client.crm.contacts.basic_api.get_page(limit=100).results) == 100
    changed = contacts.SimplePublicObjectInput(properties={"country": "FR"})
    client.crm.contacts.basic_api.update("3", simple_public_object_input=changed)
    group = contacts.FilterGroup(filters=[contacts.Filter(property_name="country", operator="EQ", value="FR")])
    request = contacts.PublicObjectSearchRequest(
        filter_groups=[group], sorts=[], properties=["email"], limit=10, after="0", query=""
    )
    found = client.crm.contacts.search_api.do_search(public_object_search_request=request)
    assert [one.properties["email"] for one in found.results] == ["person3@example.com"]
    made = client.crm.lists.lists_api.create(
        list_create_request=lists.ListCreateRequest(name="Newsletter", object_type_id="0-1", processing_type="MANUAL")
    )
    added = client.crm.lists.memberships_api.add(made.list.list_id, ["3", "999"])
    assert (added.records_ids_added, added.record_ids_missing) == (["3"], ["999"])
    assert sandbox.hubspot.members() == {"Newsletter": ["3"]}


def test_hubspots_client_reads_companies_and_associations(sandbox: Sandbox) -> None:
    """hubspot-api-client 12: v3 objects, v4 associations."""
    package = pytest.importorskip("hubspot", reason="Install the dependency group `reference`.")
    v4: Any = pytest.importorskip("hubspot.crm.associations.v4")
    client: Any = package.HubSpot(access_token="sandbox-hubspot", host=sandbox.url("hubspot"))
    at = "2026-03-02T11:00:00Z"
    values = {"hs_object_id": "7", "hs_lastmodifieddate": at, "createdate": at, "name": "Acme"}
    sandbox.hubspot.kinds["companies"].put(Contact(7, dict(values), at, at))
    assert client.crm.companies.basic_api.get_page(properties=["name"]).results[0].properties["name"] == "Acme"
    for company in ("7", "8"):
        sandbox.hubspot.related.associate(("contacts", "3"), ("companies", company), 279, None)
    request = v4.BatchInputPublicFetchAssociationsBatchRequest(
        inputs=[v4.PublicFetchAssociationsBatchRequest(id="3"), v4.PublicFetchAssociationsBatchRequest(id="4")]
    )
    found = client.crm.associations.v4.batch_api.get_page("contacts", "companies", request)
    assert [str(to.to_object_id) for to in found.results[0].to] == ["7", "8"]
    assert found.results[0].to[0].association_types[0].type_id == 279


def test_mailchimps_client_fills_a_list_and_its_segment_and_runs_a_batch(sandbox: Sandbox) -> None:
    """mailchimp-marketing 3.0.80; its host is a setting."""
    package = pytest.importorskip("mailchimp_marketing", reason="Install the dependency group `reference`.")
    vendor = sandbox.vendors["mailchimp"]
    assert isinstance(vendor, Mailchimp)
    vendor.make("list1/4711")
    client: Any = package.Client({"api_key": "sandbox-us6"})
    client.api_client.host = f"{sandbox.url('mailchimp')}/3.0"
    assert client.ping.get()["health_status"] == "Everything's Chimpy!"
    people = [{"email_address": f"person{n}@example.com", "status": "pending"} for n in range(3)]
    made = client.lists.batch_list_members("list1", {"members": people, "update_existing": False})
    assert (made["total_created"], made["error_count"]) == (3, 0)
    again = client.lists.batch_list_members("list1", {"members": people[:1], "update_existing": False})
    assert [one["error_code"] for one in again["errors"]] == ["ERROR_CONTACT_EXISTS"]
    client.lists.batch_segment_members(
        {"members_to_add": ["person1@example.com", "nobody@example.com"]}, "list1", "4711"
    )
    found = client.lists.get_segment_members_list("list1", "4711")
    assert [one["id"] for one in found["members"]] == [hashlib.md5(b"person1@example.com").hexdigest()]
    job = client.batches.start({"operations": [{"method": "GET", "path": "/ping", "operation_id": "0"}]})
    assert client.batches.status(job["id"])["status"] in ("pending", "started", "finished")
