"""Who opted out at a vendor is in no audience there; where that cannot be read, nothing is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.hubspot_contacts import Contact
from consentry.testing.sandbox.hubspot_lists import ContactList
from tests.conftest import TinyJob, email

AT = "2026-01-20T10:00:00+00:00"
PEOPLE = 5


@dataclass(frozen=True)
class Vendor:
    """One vendor: how it is set up with person 2 opted out, who is in its audience, and where it is asked."""

    name: str
    audience: str
    connection: dict[str, Any]
    begin: Callable[[Any], None]
    held: Callable[[Any], set[str]]
    asked: str
    fields: dict[str, str] = field(default_factory=dict)


def _klaviyo(there: Any) -> None:
    there.account.make_list("Insiders", "L1")
    profile, _ = there.account.put({"email": email(2)})
    profile.suppressions["UNSUBSCRIBE"] = AT
    profile, _ = there.account.put({"email": email(3)})
    profile.list_suppressions["L1"] = ("USER_SUPPRESSED", AT)
    there.polls_to_complete = 1


def _hubspot(there: Any) -> None:
    there.lists._lists["77"] = ContactList("77", "Insiders", "MANUAL", "2026-01-01T00:00:00Z")


def _mailchimp(there: Any) -> None:
    there.make("list1/1", "list2/1")
    for number in range(PEOPLE):
        there.join("list1", email(number), {2: "unsubscribed", 3: "cleaned"}.get(number, "subscribed"), AT)
    # What was said about a list that no sync keeps does not concern the job.
    there.join("list2", email(4), "unsubscribed", AT)


def _told(audience: str) -> Callable[[Any], None]:
    def begin(there: Any) -> None:
        there.make(audience)
        there.opted_out |= {email(2): ("unsubscribed", AT), email(3): ("bounced", AT)}

    return begin


def _activecampaign(there: Any) -> None:
    there.make("7")
    there.opt_out("7", email(2), AT)
    there.opt_out("7", email(3), AT, "3")


def _keys(audience: str) -> Callable[[Any], set[str]]:
    return lambda there: set(there.members().get(audience, ()))


def _members(there: Any) -> set[str]:
    return {there.people[f"list1/{key}"]["email_address"] for key in there.audiences["list1/1"]}


VENDORS = [
    Vendor("klaviyo", "L1", {}, _klaviyo, lambda there: there.member_values("Insiders"), "/api/profiles"),
    Vendor("mailchimp", "list1/1", {"token": "sandbox-us6"}, _mailchimp, _members, "/lists/list1/members"),
    Vendor(
        "customer_io",
        "7",
        {"site_id": "site", "app_token": "sandbox-customer-io-app"},
        _told("7"),
        _keys("7"),
        "/v1/customers",
    ),
    Vendor("braze", "vips", {"identifier": "email", "create": True}, _told("vips"), _keys("vips"), "/email/"),
    Vendor("iterable", "7", {}, _told("7"), _keys("7"), "/export/"),
    Vendor("activecampaign", "7", {}, _activecampaign, _keys("7"), "/api/3/contacts"),
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


# Two of them each time; Iterable gives four exports a minute, and a run takes three.
_PARAMS = [
    one if one.name in ("klaviyo", "mailchimp") else pytest.param(one, marks=pytest.mark.slow) for one in VENDORS
]


@pytest.fixture(params=_PARAMS, ids=lambda vendor: vendor.name)
def vendor(request: pytest.FixtureRequest, sandbox: Sandbox) -> Vendor:
    chosen: Vendor = request.param
    sandbox.reset()
    sandbox.clear_faults()
    chosen.begin(sandbox.vendors[chosen.name])
    return chosen


def syncing(tiny: TinyJob, vendor: Vendor, sandbox: Sandbox) -> TinyJob:
    """The tiny job, which keeps an audience at the vendor."""
    there = sandbox.vendors[vendor.name]
    connection = {"base_url": sandbox.url(vendor.name), "token": "${TOKEN}", **vendor.connection}
    if vendor.name == "customer_io":
        connection |= {"app_base_url": sandbox.url(vendor.name), "app_token": "${APP_TOKEN}"}
    connection["token"] = f"${{TOKEN:-{there.token}}}"
    tiny.spec["destinations"]["store"] = {"type": vendor.name, "connection": connection}
    tiny.spec["syncs"]["adults"] |= {"audience": vendor.audience, "fields": vendor.fields}
    tiny.write_people(range(PEOPLE))
    tiny.write()
    return tiny


def go(job: TinyJob) -> dict[str, Any]:
    return run(make_plan(load_job(job.path)), Silent())


def test_trap_2_who_opted_out_at_the_vendor_is_never_sent_there(
    tiny: TinyJob, vendor: Vendor, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_TOKEN", "sandbox-customer-io-app")
    job = syncing(tiny, vendor, sandbox)
    told = go(job)["syncs"]["adults"]
    assert told["status"] == "ok", told["sentence"]
    assert told["refused"]["withdrawn"] >= 1
    assert vendor.held(sandbox.vendors[vendor.name]) == {email(n) for n in (0, 1, 4)}
    again = go(job)["syncs"]["adults"]
    assert (again["adds"], again["removes"], again["status"]) == (0, 0, "ok")


def test_where_the_vendor_does_not_say_who_opted_out_nothing_is_sent(
    tiny: TinyJob, vendor: Vendor, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_TOKEN", "sandbox-customer-io-app")
    sandbox.fault("expired_token", match=vendor.asked, times=50)
    told = go(syncing(tiny, vendor, sandbox))["syncs"]["adults"]
    assert (told["status"], told["api_calls"]) == ("failed", 0)
    assert "could not be read" in told["sentence"] and "canary" not in told["sentence"]
    assert vendor.held(sandbox.vendors[vendor.name]) == set()


def test_hubspots_opt_outs_are_read_before_its_lists_are_written(tiny: TinyJob, sandbox: Sandbox) -> None:
    sandbox.reset()
    there = sandbox.hubspot
    asked = Vendor("hubspot", "77", {}, _hubspot, lambda _: set(), "contacts/search")
    job = syncing(tiny, asked, sandbox)
    with there.lock:
        _hubspot(there)
        for number, (name, value) in enumerate(
            [("hs_email_optout", "true"), ("hs_email_hard_bounce_reason_enum", "MAILBOX_FULL")], 2
        ):
            properties: dict[str, str | None] = {"email": email(number), "lastmodifieddate": AT, name: value}
            properties["hs_object_id"] = str(number)
            there.contacts.put(Contact(number, properties, AT, AT))
        there.related.opted_out[email(2)] = AT
    told = go(job)["syncs"]["adults"]
    assert (told["status"], told["acknowledged"]) == ("ok", 3), told["sentence"]
    assert told["refused"] == {"denied": 1, "withdrawn": 1}
    sandbox.fault("expired_token", match="contacts/search", times=50)
    job.write_consents({2: "granted"}, day=25)
    stopped = go(job)["syncs"]["adults"]
    assert (stopped["status"], stopped["adds"]) == ("failed", 0)
    assert len(there.members()["Insiders"]) == 3
