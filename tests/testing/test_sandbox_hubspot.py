"""The HubSpot simulator keeps the vendor's contract. "objects.json" is the vendor's 2026-09 description."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from consentry.testing.sandbox import Sandbox

CONTACTS = "/crm/objects/2026-09/contacts"
LISTS = "/crm/lists/2026-09"
SEARCH: dict[str, Any] = {"after": "", "filterGroups": [], "limit": 10, "properties": [], "sorts": []}


def search(client: httpx.Client, *filters: dict[str, Any], **body: Any) -> httpx.Response:
    groups = [{"filters": list(filters)}] if filters else []
    return client.post(f"{CONTACTS}/search", json=SEARCH | {"filterGroups": groups} | body)


def where(name: str, operator: str, value: str | None = None, **more: Any) -> dict[str, Any]:
    return {"propertyName": name, "operator": operator, **({} if value is None else {"value": value}), **more}


def found(response: httpx.Response) -> list[str]:
    return [one["id"] for one in response.json()["results"]]


def pages(client: httpx.Client, **params: Any) -> list[list[str]]:
    out, after = [], None
    while True:
        body = client.get(CONTACTS, params={**params, **({"after": after} if after else {})}).json()
        out.append([one["id"] for one in body["results"]])
        if "paging" not in body:
            return out
        after = body["paging"]["next"]["after"]


def test_a_wrong_token_is_refused_with_the_vendors_error_object(sandbox: Sandbox) -> None:
    """objects.json (2026-09):5738: {category, correlationId, message, ...}."""
    answer = httpx.get(sandbox.url("hubspot") + CONTACTS, headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401
    assert answer.json()["category"] == "INVALID_AUTHENTICATION"
    assert {"correlationId", "message", "status"} <= answer.json().keys()


def test_a_list_without_limit_gives_ten_and_paging_gives_every_contact_once(hubspot: httpx.Client) -> None:
    """objects.json (2026-09):2374: limit default 10; next page = paging.next.after."""
    assert len(hubspot.get(CONTACTS).json()["results"]) == 10
    read = pages(hubspot, limit=100)
    assert [len(page) for page in read] == [100, 100, 50]
    assert [one for page in read for one in page] == [str(number) for number in range(1, 251)]


def test_the_next_link_leads_to_the_next_page(hubspot: httpx.Client) -> None:
    """Documentation: paging.next.link is the address of the next page."""
    link = hubspot.get(CONTACTS, params={"limit": 2, "properties": "email"}).json()["paging"]["next"]["link"]
    body = hubspot.get(link).json()
    assert [one["id"] for one in body["results"]] == ["3", "4"]
    assert body["results"][0]["properties"]["email"] == "person3@example.com"


@pytest.mark.parametrize("limit", ["101", "0", "-1", "many"])
def test_a_limit_out_of_bounds_is_a_validation_error(hubspot: httpx.Client, limit: str) -> None:
    """Documentation: at most 100; the description states it in prose only."""
    answer = hubspot.get(CONTACTS, params={"limit": limit})
    assert answer.status_code == 400
    assert answer.json()["category"] == "VALIDATION_ERROR"


def test_only_asked_properties_come_and_a_missing_value_is_null(hubspot: httpx.Client) -> None:
    """Documentation: requested properties without a value are null; three come always."""
    record = hubspot.get(CONTACTS, params={"limit": 1, "properties": "country,phone"}).json()["results"][0]
    assert record["properties"].keys() == {"country", "phone", "createdate", "hs_object_id", "lastmodifieddate"}
    assert record["properties"]["phone"] is None


def test_two_thousand_properties_do_not_fit_into_the_address(hubspot: httpx.Client) -> None:
    """airbyte #13691, tap-hubspot #112: long property lists give 414."""
    names = ",".join(f"a_rather_long_property_{number}" for number in range(2000))
    assert hubspot.get(CONTACTS, params={"properties": names}).status_code == 414
    body = {"properties": names.split(","), "propertiesWithHistory": [], "inputs": [{"id": "1"}]}
    assert hubspot.post(f"{CONTACTS}/batch/read", json=body).status_code == 200


@pytest.mark.parametrize("field", sorted(SEARCH))
def test_a_search_needs_all_five_fields(hubspot: httpx.Client, field: str) -> None:
    """objects.json (2026-09):4869-4890."""
    body = {name: value for name, value in SEARCH.items() if name != field}
    assert hubspot.post(f"{CONTACTS}/search", json=body).status_code == 400


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        (where("email", "EQ", "PERSON7@example.com"), ["7"]),
        (where("lastmodifieddate", "GT", "2026-03-01T04:09:00Z"), ["250"]),
        (where("lastmodifieddate", "GTE", "1772338140000"), ["249", "250"]),  # the same minute as Unix ms
        (where("hs_object_id", "LT", "3"), ["1", "2"]),
        (where("hs_object_id", "LTE", "2"), ["1", "2"]),
        (where("hs_object_id", "BETWEEN", "9", highValue="11"), ["9", "10", "11"]),
        (where("email", "IN", values=["person4@example.com", "person2@example.com"]), ["2", "4"]),
        (where("lastname", "HAS_PROPERTY"), []),
    ],
)
def test_a_search_understands_the_operators(hubspot: httpx.Client, condition: dict[str, Any], ids: list[str]) -> None:
    """Documentation of CRM search: EQ, GT, GTE, LT, LTE, BETWEEN, IN, HAS_PROPERTY; numbers compare as numbers."""
    assert found(search(hubspot, condition)) == ids


def test_a_search_sorts_pages_and_counts(hubspot: httpx.Client) -> None:
    """Documentation: one sort, `total`, paging.next.after."""
    sort = [{"propertyName": "lastmodifieddate", "direction": "DESCENDING"}]
    first = search(hubspot, sorts=sort, limit=200)
    assert first.json()["total"] == 250
    assert found(first)[:2] == ["250", "249"]
    second = search(hubspot, sorts=sort, limit=200, after=first.json()["paging"]["next"]["after"])
    assert found(second)[-1] == "1"
    assert "paging" not in second.json()


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 201},
        {"filterGroups": [{"filters": [where("email", "EQ", "x")]}] * 7},
        {"filterGroups": [{"filters": [where("hs_lastmodifieddate", "GT", "0")]}]},
        {"filterGroups": [{"filters": [where("email", "LIKE", "x")]}]},
        {"filterGroups": [{"filters": [where("email", "IN", "x")]}]},
        {"query": "x" * 3001},
        {"after": "9995", "limit": 10},
    ],
    ids=["limit", "groups", "wrong modified field", "operator", "values missing", "query", "beyond 10,000"],
)
def test_a_search_beyond_a_cap_or_on_a_wrong_field_is_refused(hubspot: httpx.Client, body: dict[str, Any]) -> None:
    """Documentation: 200 a page, 6 groups, 3000 characters, 10,000 results; amp-labs #45: contacts have
    `lastmodifieddate`, not `hs_lastmodifieddate`; airbyte #10700: 400 at 10,000."""
    assert hubspot.post(f"{CONTACTS}/search", json=SEARCH | body).status_code == 400


def test_a_batch_read_names_what_it_did_not_find(hubspot: httpx.Client) -> None:
    """objects.json (2026-09):4802: `errors` and `numErrors` in an ordinary 200; v3 declares 207."""
    body = {"properties": ["email"], "propertiesWithHistory": [], "inputs": [{"id": "1"}, {"id": "999"}]}
    answer = hubspot.post(f"{CONTACTS}/batch/read", json=body)
    assert (answer.status_code, answer.json()["numErrors"]) == (200, 1)
    assert answer.json()["errors"][0]["context"]["ids"] == ["999"]
    assert hubspot.post("/crm/v3/objects/contacts/batch/read", json=body).status_code == 207


def test_a_batch_takes_a_hundred(hubspot: httpx.Client) -> None:
    """Documentation: 100 inputs."""
    inputs = [{"id": str(number)} for number in range(1, 102)]
    body = {"properties": [], "propertiesWithHistory": [], "inputs": inputs}
    assert hubspot.post(f"{CONTACTS}/batch/read", json=body).status_code == 400
    assert hubspot.post(f"{CONTACTS}/batch/read", json=body | {"inputs": inputs[:100]}).status_code == 200


def test_property_values_are_strings(hubspot: httpx.Client) -> None:
    """objects.json (2026-09):4802: `age: 3` breaks the schema."""
    assert hubspot.patch(f"{CONTACTS}/1", json={"properties": {"country": 3}}).status_code == 400
    assert hubspot.patch(f"{CONTACTS}/1", json={"properties": {"no_such": "x"}}).status_code == 400


def test_a_change_is_seen_by_list_search_and_get_and_moves_the_modified_date(hubspot: httpx.Client) -> None:
    """amp-labs #45: a contact's `lastmodifieddate` moves with each change."""
    before = hubspot.get(CONTACTS, params={"limit": 100, "properties": "country"}).json()["results"][4]
    assert hubspot.patch(f"{CONTACTS}/5", json={"properties": {"country": "FR"}}).status_code == 200
    after = hubspot.get(CONTACTS, params={"limit": 100, "properties": "country"}).json()["results"][4]
    assert (before["properties"]["country"], after["properties"]["country"]) == ("GB", "FR")
    assert found(search(hubspot, where("lastmodifieddate", "GT", "2026-03-01T04:10:00Z"))) == ["5"]


def test_an_email_can_be_taken_once(hubspot: httpx.Client) -> None:
    """Documentation: 409 with the existing id."""
    answer = hubspot.post(CONTACTS, json={"properties": {"email": "Person3@example.com"}})
    assert (answer.status_code, answer.json()["category"]) == (409, "CONFLICT")


def test_duplicates_in_a_batch_fail_it_as_a_whole(hubspot: httpx.Client) -> None:
    """hubspot-api-nodejs #545, #548."""
    one = {"id": "new@example.com", "idProperty": "email", "properties": {"email": "new@example.com"}}
    assert hubspot.post(f"{CONTACTS}/batch/upsert", json={"inputs": [one, one]}).status_code == 400
    assert hubspot.post(f"{CONTACTS}/batch/upsert", json={"inputs": [one]}).json()["results"][0]["new"] is True


def test_chosen_rows_of_a_batch_fail_and_carry_their_trace_id(sandbox: Sandbox, hubspot: httpx.Client) -> None:
    """objects.json (2026-09): objectWriteTraceId ties errors to inputs."""
    sandbox.fault("partial", match="*/batch/update", rows=(1,))
    inputs = [{"id": str(n), "objectWriteTraceId": f"t{n}", "properties": {"country": "IT"}} for n in (1, 2, 3)]
    body = hubspot.post(f"{CONTACTS}/batch/update", json={"inputs": inputs}).json()
    assert [one["id"] for one in body["results"]] == ["1", "3"]
    assert body["errors"][0]["context"] == {"objectWriteTraceId": ["t2"]}


def test_an_archived_contact_leaves_the_list_and_is_found_among_the_archived(hubspot: httpx.Client) -> None:
    """objects.json (2026-09):2374: `archived`."""
    assert hubspot.delete(f"{CONTACTS}/7").status_code == 204
    assert hubspot.get(f"{CONTACTS}/7").status_code == 404
    assert pages(hubspot, archived="true") == [["7"]]
    assert "7" not in pages(hubspot, limit=100)[0]


def test_the_properties_of_contacts_are_listed(hubspot: httpx.Client) -> None:
    names = {one["name"]: one["type"] for one in hubspot.get("/crm/properties/2026-09/contacts").json()["results"]}
    assert names["lastmodifieddate"] == "datetime"
    assert {"email", "country"} <= names.keys()


def make_list(client: httpx.Client, processing: str = "MANUAL") -> str:
    body = {"name": f"{processing} list", "objectTypeId": "0-1", "processingType": processing}
    return str(client.post(LISTS, json=body).json()["list"]["listId"])


def test_a_membership_is_a_bare_array_and_the_answer_has_the_vendors_spelling(
    sandbox: Sandbox, hubspot: httpx.Client
) -> None:
    """lists.json (2026-09):873, :3128: bare array of string ids; `recordsIdsAdded` (sic)."""
    path = f"{LISTS}/{make_list(hubspot)}/memberships"
    body = hubspot.put(f"{path}/add", json=["1", "2", "999"]).json()
    assert body == {"recordsIdsAdded": ["1", "2"], "recordIdsRemoved": [], "recordIdsMissing": ["999"]}
    assert hubspot.put(f"{path}/add", json={"recordIds": ["1"]}).status_code == 400
    assert hubspot.put(f"{path}/add", json=[1]).status_code == 400
    assert hubspot.put(f"{path}/add", json=["1"]).json()["recordsIdsAdded"] == []
    assert hubspot.put(f"{path}/remove", json=["2", "3"]).json()["recordIdsRemoved"] == ["2"]
    assert [one["recordId"] for one in hubspot.get(path).json()["results"]] == ["1"]
    assert sandbox.hubspot.members() == {"MANUAL list": ["1"]}


def test_a_dynamic_list_takes_no_members(hubspot: httpx.Client) -> None:
    """lists.json (2026-09):873: MANUAL and SNAPSHOT lists only."""
    path = f"{LISTS}/{make_list(hubspot, 'DYNAMIC')}/memberships/add"
    assert hubspot.put(path, json=["1"]).status_code == 400


def test_a_list_needs_its_name_type_and_processing(hubspot: httpx.Client) -> None:
    """lists.json (2026-09): create needs name, objectTypeId, processingType."""
    assert hubspot.post(LISTS, json={"name": "x", "objectTypeId": "0-1"}).status_code == 400
    assert hubspot.get(f"{LISTS}/404").status_code == 404


def test_every_answer_but_a_search_carries_rate_headers(hubspot: httpx.Client) -> None:
    """Usage guidelines: X-HubSpot-RateLimit-*; search answers carry none."""
    headers = hubspot.get(CONTACTS).headers
    assert headers["X-HubSpot-RateLimit-Max"] == "190"
    assert int(headers["X-HubSpot-RateLimit-Remaining"]) < 190
    assert "X-HubSpot-RateLimit-Max" not in search(hubspot).headers


def test_above_the_limit_comes_429_with_its_policy_and_no_retry_after(sandbox: Sandbox, hubspot: httpx.Client) -> None:
    """policyName per documentation; hubspot-api-python #117: Retry-After is not always sent."""
    sandbox.enforce_limits()
    answers = [search(hubspot) for _ in range(6)]
    assert [one.status_code for one in answers] == [200] * 5 + [429]
    assert answers[-1].json()["policyName"] == "SECONDLY"
    assert "Retry-After" not in answers[-1].headers
