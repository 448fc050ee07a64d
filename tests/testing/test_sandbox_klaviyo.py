"""The Klaviyo simulator keeps the vendor's contract. Lines are those of klaviyo/openapi @f0a30ba4, 2026-07-15."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from consentry.testing.sandbox import Sandbox

IMPORTS = "/api/profile-bulk-import-jobs"


def profile(number: int, **attributes: Any) -> dict[str, Any]:
    return {"type": "profile", "attributes": {"email": f"person{number}@example.com", **attributes}}


def import_body(*profiles: dict[str, Any], lists: tuple[str, ...] = ()) -> dict[str, Any]:
    data: dict[str, Any] = {
        "type": "profile-bulk-import-job",
        "attributes": {"profiles": {"data": list(profiles)}},
    }
    if lists:
        data["relationships"] = {"lists": {"data": [{"type": "list", "id": one} for one in lists]}}
    return {"data": data}


def imported(sandbox: Sandbox, client: httpx.Client, *profiles: dict[str, Any]) -> list[str]:
    job = client.post(IMPORTS, json=import_body(*profiles)).json()["data"]["id"]
    sandbox.klaviyo.finish_jobs()
    return [one["id"] for one in client.get(f"{IMPORTS}/{job}/profiles", params={"page[size]": 100}).json()["data"]]


def new_list(client: httpx.Client, name: str = "Newsletter") -> str:
    body = {"data": {"type": "list", "attributes": {"name": name}}}
    return str(client.post("/api/lists", json=body).json()["data"]["id"])


def change(client: httpx.Client, method: str, list_id: str, ids: list[str]) -> httpx.Response:
    body = {"data": [{"type": "profile", "id": one} for one in ids]}
    return client.request(method, f"/api/lists/{list_id}/relationships/profiles", json=body)


def subscription(kind: str, emails: list[str], list_id: str = "") -> dict[str, Any]:
    profiles = [{"type": "profile", "attributes": {"email": one, "subscriptions": {}}} for one in emails]
    data: dict[str, Any] = {"type": kind, "attributes": {"profiles": {"data": profiles}}}
    if list_id:
        data["relationships"] = {"list": {"data": {"type": "list", "id": list_id}}}
    return {"data": data}


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Authorization": "Bearer sandbox-klaviyo"}, 401, "not_authenticated"),
        ({"Authorization": "Klaviyo-API-Key wrong"}, 401, "authentication_failed"),
        ({"revision": ""}, 400, "invalid"),
        ({"revision": "latest"}, 400, "invalid"),
        ({"Accept": "application/json"}, 406, "not_acceptable"),
    ],
)
def test_key_revision_and_media_type_are_asked_for(
    klaviyo: httpx.Client, headers: dict[str, str], status: int, code: str
) -> None:
    """profiles.json:295 (revision is required); words of the 401: klaviyo-api-ruby #19."""
    answer = klaviyo.get("/api/profiles", headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)
    assert {"id", "title", "detail", "source"} <= answer.json()["errors"][0].keys()


def test_a_body_of_another_media_type_is_refused(klaviyo: httpx.Client) -> None:
    """profiles.json: the only content type of bodies is application/vnd.api+json."""
    answer = klaviyo.post("/api/lists", content=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


def test_profiles_come_in_pages_of_twenty_and_the_cursor_gives_each_once(
    sandbox: Sandbox, klaviyo: httpx.Client
) -> None:
    """profiles.json:477: page[size] 20 by default and 100 at most, links.next."""
    ids = imported(sandbox, klaviyo, *(profile(number) for number in range(45)))
    read: list[list[str]] = []
    url: str | None = "/api/profiles"
    while url:
        body = klaviyo.get(url).json()
        read.append([one["id"] for one in body["data"]])
        url = body["links"].get("next")
    assert [len(page) for page in read] == [20, 20, 5]
    assert sorted(one for page in read for one in page) == sorted(ids)
    assert klaviyo.get("/api/profiles", params={"page[size]": 101}).status_code == 400
    assert klaviyo.get("/api/profiles", params={"page[cursor]": "nonsense"}).status_code == 400


def test_filters_and_sorts_are_those_of_the_description(sandbox: Sandbox, klaviyo: httpx.Client) -> None:
    """profiles.json:477, description of `filter` and `sort`."""
    imported(sandbox, klaviyo, *(profile(number) for number in range(5)))

    def emails(**params: str) -> list[str]:
        return [one["attributes"]["email"] for one in klaviyo.get("/api/profiles", params=params).json()["data"]]

    assert emails(filter='equals(email,"person3@example.com")') == ["person3@example.com"]
    assert len(emails(filter='any(email,["person1@example.com","person2@example.com"])')) == 2
    third = klaviyo.get("/api/profiles", params={"sort": "updated"}).json()["data"][2]["attributes"]["updated"]
    assert emails(filter=f"greater-than(updated,{third})", sort="-updated") == [
        "person4@example.com",
        "person3@example.com",
    ]
    for wrong in ('equals(first_name,"x")', "equals(email,x)", "greater-than(updated,2026-01-01)", "nonsense"):
        assert klaviyo.get("/api/profiles", params={"filter": wrong}).status_code == 400
    assert klaviyo.get("/api/profiles", params={"sort": "first_name"}).status_code == 400


def test_an_import_is_accepted_at_once_and_applied_later(sandbox: Sandbox, klaviyo: httpx.Client) -> None:
    """profiles.json:1335: 202, then poll; accepted is not applied."""
    list_id = new_list(klaviyo)
    answer = klaviyo.post(IMPORTS, json=import_body(profile(1), profile(2, phone_number="0123"), lists=(list_id,)))
    job = answer.json()["data"]
    assert (answer.status_code, job["attributes"]["status"], job["attributes"]["total_count"]) == (202, "queued", 2)
    assert klaviyo.get("/api/profiles").json()["data"] == []
    states = [klaviyo.get(f"{IMPORTS}/{job['id']}").json()["data"]["attributes"] for _ in range(2)]
    assert [one["status"] for one in states] == ["processing", "complete"]
    assert (states[-1]["completed_count"], states[-1]["failed_count"]) == (1, 1)
    errors = klaviyo.get(f"{IMPORTS}/{job['id']}/import-errors").json()["data"]
    assert errors[0]["attributes"]["source"]["pointer"] == "/data/attributes/profiles/data/1/attributes/phone_number"
    assert sandbox.klaviyo.member_values("Newsletter") == {"person1@example.com"}


def test_chosen_rows_of_an_import_fail(sandbox: Sandbox, klaviyo: httpx.Client) -> None:
    """profiles.json, import-errors: failed rows are read from the job, not from the answer."""
    sandbox.fault("partial", match=IMPORTS, method="POST", rows=(0, 2))
    job = klaviyo.post(IMPORTS, json=import_body(*(profile(number) for number in range(4)))).json()["data"]["id"]
    sandbox.klaviyo.finish_jobs()
    pointers = [
        one["attributes"]["source"]["pointer"][-1]
        for one in klaviyo.get(f"{IMPORTS}/{job}/import-errors").json()["data"]
    ]
    assert pointers == ["0", "2"]


@pytest.mark.parametrize(
    "body",
    [
        import_body(*({"type": "profile", "attributes": {}} for _ in range(10_001))),
        import_body(profile(1, properties={"note": "x" * 100_000})),
        import_body({"type": "person", "attributes": {}}),
        import_body(),
        import_body(profile(1), lists=("nowhere",)),
        {"data": {"type": "profile", "attributes": {}}},
        {},
    ],
    ids=["10,001 profiles", "100 KB profile", "type", "empty", "unknown list", "resource", "no data"],
)
def test_an_import_out_of_shape_or_above_a_cap_is_refused(klaviyo: httpx.Client, body: dict[str, Any]) -> None:
    """profiles.json:1335: 10,000 profiles, 5 MB, 100 KB each."""
    answer = klaviyo.post(IMPORTS, json=body)
    assert answer.status_code in (400, 404)
    assert answer.json()["errors"]


def test_an_upsert_says_whether_the_profile_is_new_and_null_clears(klaviyo: httpx.Client) -> None:
    """stable.json, create_or_update_profile: 201 new, 200 updated; null clears, an absent field is left alone."""
    first = klaviyo.post("/api/profile-import", json={"data": profile(1, first_name="Ada", last_name="Byron")})
    again = klaviyo.post("/api/profile-import", json={"data": profile(1, first_name=None)})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["data"]["id"] == first.json()["data"]["id"]
    attributes = again.json()["data"]["attributes"]
    assert (attributes["first_name"], attributes["last_name"]) == (None, "Byron")


def test_creating_a_known_profile_is_a_conflict_that_names_it(klaviyo: httpx.Client) -> None:
    """Documentation: 409 duplicate_profile with meta.duplicate_profile_id."""
    first = klaviyo.post("/api/profiles", json={"data": profile(1)})
    again = klaviyo.post("/api/profiles", json={"data": profile(1)})
    assert (first.status_code, again.status_code) == (201, 409)
    assert again.json()["errors"][0]["meta"]["duplicate_profile_id"] == first.json()["data"]["id"]


def test_lists_come_ten_a_page_and_are_found_by_name(klaviyo: httpx.Client) -> None:
    """lists.json: page[size] at most 10; filter name equals."""
    for number in range(10):
        new_list(klaviyo, f"List {number}, all")
    new_list(klaviyo, "Last")
    assert len(klaviyo.get("/api/lists").json()["data"]) == 10
    assert klaviyo.get("/api/lists", params={"page[size]": 11}).status_code == 400
    one = klaviyo.get("/api/lists", params={"filter": 'equals(name,"List 7, all")'}).json()["data"]
    assert [each["attributes"]["name"] for each in one] == ["List 7, all"]


def test_membership_takes_a_thousand_ids_and_answers_204(sandbox: Sandbox, klaviyo: httpx.Client) -> None:
    """lists.json:1226: at most 1000 profile ids, 204 without a body."""
    list_id = new_list(klaviyo)
    ids = imported(sandbox, klaviyo, *(profile(number) for number in range(3)))
    added = change(klaviyo, "POST", list_id, ids)
    assert (added.status_code, added.content) == (204, b"")
    assert change(klaviyo, "POST", list_id, ids).status_code == 204
    assert change(klaviyo, "DELETE", list_id, [ids[0], ids[0]]).status_code == 204
    assert sandbox.klaviyo.members() == {"Newsletter": sorted(ids[1:])}
    assert change(klaviyo, "POST", list_id, ids * 334).status_code == 400
    assert change(klaviyo, "POST", list_id, ["unknown"]).status_code == 404
    shown = klaviyo.get(f"/api/lists/{list_id}/relationships/profiles").json()["data"]
    assert sorted(one["id"] for one in shown) == sorted(ids[1:])
    counted = klaviyo.get(f"/api/lists/{list_id}", params={"additional-fields[list]": "profile_count"}).json()
    assert counted["data"]["attributes"]["profile_count"] == 2


def consent(client: httpx.Client) -> dict[str, Any]:
    body = client.get("/api/profiles", params={"additional-fields[profile]": "subscriptions"}).json()
    return dict(body["data"][0]["attributes"]["subscriptions"]["email"]["marketing"])


def test_being_added_to_a_list_leaves_consent_alone(sandbox: Sandbox, klaviyo: httpx.Client) -> None:
    """lists.json:1226; rudder-transformer #1841, PostHog #79855: a list add does not subscribe."""
    list_id = new_list(klaviyo)
    ids = imported(sandbox, klaviyo, profile(1))
    change(klaviyo, "POST", list_id, ids)
    assert consent(klaviyo)["consent"] == "NEVER_SUBSCRIBED"
    assert sandbox.klaviyo.subscribe_calls == 0


def test_subscribing_lifts_suppressions_and_is_counted(sandbox: Sandbox, klaviyo: httpx.Client) -> None:
    """profiles.json:1687 and :2932: subscribe removes USER_SUPPRESSED, UNSUBSCRIBE and SPAM_REPORT."""
    imported(sandbox, klaviyo, profile(1))
    email = ["person1@example.com"]
    suppress = subscription("profile-suppression-bulk-create-job", email)
    assert klaviyo.post("/api/profile-suppression-bulk-create-jobs", json=suppress).status_code == 202
    assert consent(klaviyo)["can_receive_email_marketing"] is False
    body = subscription("profile-subscription-bulk-create-job", email)
    assert klaviyo.post("/api/profile-subscription-bulk-create-jobs", json=body).status_code == 202
    assert consent(klaviyo)["can_receive_email_marketing"] is True
    assert sandbox.klaviyo.subscribe_calls == 1


def test_unsubscribing_one_who_is_not_on_the_list_is_global(sandbox: Sandbox, klaviyo: httpx.Client) -> None:
    """stable.json, bulk_unsubscribe_profiles: profiles not in the given list are globally unsubscribed."""
    list_id = new_list(klaviyo)
    ids = imported(sandbox, klaviyo, profile(1))
    change(klaviyo, "POST", list_id, ids)
    body = subscription("profile-subscription-bulk-delete-job", ["person1@example.com"], list_id)
    klaviyo.post("/api/profile-subscription-bulk-delete-jobs", json=body)
    assert consent(klaviyo)["consent"] == "NEVER_SUBSCRIBED"
    klaviyo.post("/api/profile-subscription-bulk-delete-jobs", json=body)
    assert consent(klaviyo)["consent"] == "UNSUBSCRIBED"
    many = subscription("profile-subscription-bulk-delete-job", [f"p{n}@example.com" for n in range(101)])
    assert klaviyo.post("/api/profile-subscription-bulk-delete-jobs", json=many).status_code == 400


def test_an_erasure_takes_one_identifier_and_removes_the_profile(sandbox: Sandbox, klaviyo: httpx.Client) -> None:
    """request_profile_deletion.json: exactly one kind of identifier."""
    imported(sandbox, klaviyo, profile(1))

    def erase(**attributes: str) -> int:
        person = {"data": {"type": "profile", "attributes": attributes}}
        data = {"type": "data-privacy-deletion-job", "attributes": {"profile": person}}
        return klaviyo.post("/api/data-privacy-deletion-jobs", json={"data": data}).status_code

    assert erase(email="person1@example.com", phone_number="+447700900001") == 400
    assert erase(email="person1@example.com") == 202
    assert klaviyo.get("/api/profiles").json()["data"] == []


def test_ordinary_answers_carry_the_steady_window(klaviyo: httpx.Client) -> None:
    """Klaviyo, rate limits and error handling: RateLimit-* describe the steady window."""
    headers = klaviyo.get("/api/profiles").headers
    assert headers["RateLimit-Limit"] == "750"
    assert int(headers["RateLimit-Remaining"]) < 750
    assert 0 < int(headers["RateLimit-Reset"]) <= 60


def test_above_the_burst_limit_retry_after_replaces_the_rate_headers(sandbox: Sandbox, klaviyo: httpx.Client) -> None:
    """x-klaviyo-ratelimit of bulk_import_profiles: 10/s; documentation: 429 has Retry-After and no RateLimit-*."""
    sandbox.enforce_limits()
    answers = [klaviyo.post(IMPORTS, json={}) for _ in range(11)]
    assert [one.status_code for one in answers] == [400] * 10 + [429]
    assert answers[-1].headers["Retry-After"] == "1"
    assert "RateLimit-Limit" not in answers[-1].headers
    assert answers[-1].json()["errors"][0]["code"] == "throttled"
    assert klaviyo.get("/api/profiles").status_code == 200  # limits are per operation
