"""HubSpot's traps, one test each: deletes, merges, the other kinds of record, associations, subscriptions."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import pytest

from consentry.connectors.base import State
from consentry.connectors.hubspot import HubSpot, HubSpotConfig, HubSpotStream
from consentry.errors import SourceFailed
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.hubspot_contacts import Contact

_accounts = count()
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=2)


def _hubspot(sandbox: Sandbox, stream: str, *, now: datetime = NOON, **options: Any) -> HubSpot:
    return HubSpot(
        HubSpotConfig.model_validate({"base_url": sandbox.url("hubspot"), "token": "sandbox-hubspot"}),
        streams={stream: HubSpotStream(**options)},
        account=f"trapped-{next(_accounts)}",
        sleep=lambda seconds: None,
        now=lambda: now,
    )


def _read(source: HubSpot, state: State | None = None) -> tuple[list[dict[str, Any]], State]:
    rows: list[dict[str, Any]] = []
    last: State = state or {}
    for page in source.read(source.discover()[0], state or {}):
        rows += page.records.to_pylist()
        last = json.loads(json.dumps(page.state))
    return rows, last


def _put(sandbox: Sandbox, kind: str, id: int, at: str, **properties: str) -> None:
    records = sandbox.hubspot.kinds[kind]
    values = {"hs_object_id": str(id), records.modified: at, "createdate": at, **properties}
    with sandbox.hubspot.lock:
        records.put(Contact(id, dict(values), at, at))
        sandbox.hubspot._pages.clear()


def _post(sandbox: Sandbox, path: str, **body: str) -> None:
    headers = {"Authorization": "Bearer sandbox-hubspot"}
    httpx.post(f"{sandbox.url('hubspot')}{path}", json=body, headers=headers).raise_for_status()


def _delete(sandbox: Sandbox, id: int) -> None:
    headers = {"Authorization": "Bearer sandbox-hubspot"}
    url = f"{sandbox.url('hubspot')}/crm/objects/2026-09/contacts/{id}"
    httpx.delete(url, headers=headers).raise_for_status()


def _at(sandbox: Sandbox, moment: datetime) -> None:
    """Let the simulator's next writes happen at about this moment."""
    sandbox.hubspot._start = moment


def test_trap_9_a_contact_deleted_since_comes_as_a_tombstone_once(sandbox: Sandbox) -> None:
    _, state = _read(_hubspot(sandbox, "contacts"))
    _at(sandbox, NOON + timedelta(hours=1))
    _delete(sandbox, 7)
    rows, state = _read(_hubspot(sandbox, "contacts", now=LATER), state)
    assert [(row["id"], row["archived"], row["_deleted"]) for row in rows] == [("7", True, True)]
    assert _read(_hubspot(sandbox, "contacts", now=LATER + timedelta(minutes=5)), state)[0] == []


def test_trap_9_a_merged_contact_is_named_with_the_one_that_stands_for_it(sandbox: Sandbox) -> None:
    rows, state = _read(_hubspot(sandbox, "contacts_merged"))
    assert rows == []
    _at(sandbox, NOON + timedelta(hours=1))
    _post(sandbox, "/crm/objects/2026-09/contacts/merge", primaryObjectId="3", objectIdToMerge="4")
    _post(sandbox, "/crm/objects/2026-09/contacts/merge", primaryObjectId="5", objectIdToMerge="3")
    rows, state = _read(_hubspot(sandbox, "contacts_merged", now=LATER), state)
    assert {(row["id"], row["merged_id"]) for row in rows} == {("5", "3"), ("5", "4")}
    assert _read(_hubspot(sandbox, "contacts_merged", now=LATER + timedelta(minutes=5)), state)[0] == []
    # The first read of an account with old merges finds them too.
    assert {(row["id"], row["merged_id"]) for row in _read(_hubspot(sandbox, "contacts_merged", now=LATER))[0]} == {
        ("5", "3"),
        ("5", "4"),
    }


def test_trap_9_a_merged_contact_comes_as_a_tombstone_that_leads_to_the_other(sandbox: Sandbox) -> None:
    _, state = _read(_hubspot(sandbox, "contacts"))
    _at(sandbox, NOON + timedelta(hours=1))
    _post(sandbox, "/crm/objects/2026-09/contacts/merge", primaryObjectId="3", objectIdToMerge="4")
    rows, state = _read(_hubspot(sandbox, "contacts", now=LATER), state)
    assert [(row["id"], row["_deleted"], row["_merged_into"]) for row in rows] == [("4", True, "3"), ("3", False, None)]
    assert _read(_hubspot(sandbox, "contacts", now=LATER + timedelta(minutes=5)), state)[0] == []


def test_an_empty_account_costs_one_request_for_each_list_that_is_wanted(sandbox: Sandbox) -> None:
    sandbox.hubspot.reset()
    for archived, requests in ((False, 1), (True, 2)):
        source = _hubspot(sandbox, "contacts", archived=archived)
        stream = source.discover()[0]
        sandbox.forget_requests()
        assert sum(page.records.num_rows for page in source.read(stream, {})) == 0
        assert len(sandbox.requests) == requests


def test_an_account_without_the_property_of_merges_is_read_all_the_same(sandbox: Sandbox) -> None:
    del sandbox.hubspot.contacts.properties["hs_merged_object_ids"]
    assert len(_read(_hubspot(sandbox, "contacts", properties=["email"]))[0]) == 250


@pytest.mark.parametrize("kind", ["companies", "deals", "tickets"])
def test_trap_17_every_kind_moves_on_its_own_modified_date(sandbox: Sandbox, kind: str) -> None:
    """The simulator answers 400 to `lastmodifieddate` for everything but contacts, as HubSpot does."""
    _put(sandbox, kind, 1, "2026-03-02T11:00:00Z", name="Acme")
    rows, state = _read(_hubspot(sandbox, kind))
    assert [(row["id"], row["name"]) for row in rows] == [("1", "Acme")]
    _put(sandbox, kind, 2, "2026-03-02T13:00:00Z", name="Later")
    rows, _ = _read(_hubspot(sandbox, kind, now=LATER), state)
    assert [row["id"] for row in rows] == ["2"]


def test_trap_12_two_thousand_properties_never_make_a_long_url(sandbox: Sandbox) -> None:
    names = [f"custom_property_{n:04d}" for n in range(2000)]
    _, state = _read(_hubspot(sandbox, "contacts"))
    with sandbox.hubspot.lock:
        sandbox.hubspot.contacts.declare(names)
    _put(sandbox, "contacts", 1, "2026-03-02T13:00:00Z", **{names[0]: "first", names[1999]: "last"})
    whole = {row["id"]: row for row in _read(_hubspot(sandbox, "contacts"))[0]}
    changed = _read(_hubspot(sandbox, "contacts", now=LATER), state)[0]
    assert whole["1"][names[1999]] == changed[0][names[1999]] == "last"
    assert len(whole) == 250 and len(whole["250"]) > 2000


def test_trap_12_archived_records_keep_the_properties_that_found_no_room_in_the_url(sandbox: Sandbox) -> None:
    names = [f"custom_property_{n:04d}" for n in range(2000)]
    with sandbox.hubspot.lock:
        sandbox.hubspot.contacts.declare(names)
        sandbox.hubspot.contacts.rows[50].properties[names[7]] = "kept"
    rows = {row["id"]: row for row in _read(_hubspot(sandbox, "contacts"))[0]}
    assert rows["50"]["archived"] and rows["50"][names[7]] == "kept"


def test_a_custom_object_is_read_by_its_type_id(sandbox: Sandbox) -> None:
    sandbox.hubspot.kinds["2-1234567"] = sandbox.hubspot.kinds["tickets"]
    _put(sandbox, "tickets", 9, "2026-03-02T11:00:00Z", name="Membership")
    rows, _ = _read(_hubspot(sandbox, "memberships", object="2-1234567"))
    assert [row["name"] for row in rows] == ["Membership"]


def test_associations_come_whole_with_their_types_over_pages_of_their_own(sandbox: Sandbox) -> None:
    related = sandbox.hubspot.related
    for company in range(1, 1201):
        related.associate(("contacts", "1"), ("companies", str(company)), 279, None)
    related.associate(("contacts", "201"), ("companies", "7"), 1, "Primary")
    source = _hubspot(sandbox, "contacts_to_companies")
    rows, state = _read(source)
    assert len(rows) == 1201 and Counter(row["from_id"] for row in rows) == {"1": 1200, "201": 1}
    assert rows[-1] == {
        "from_id": "201", "to_id": "7", "type_id": "1", "category": "HUBSPOT_DEFINED", "label": "Primary",
    }  # fmt: skip
    pages = list(source.read(source.discover()[0], {}))
    behind = list(source.read(source.discover()[0], pages[0].state))
    assert sum(page.records.num_rows for page in behind) == 1
    assert state == {}


def test_preferences_are_a_consent_feed_without_the_unsaid(sandbox: Sandbox) -> None:
    related = sandbox.hubspot.related
    for contact, status in ((1, "SUBSCRIBED"), (2, "UNSUBSCRIBED"), (3, "NOT_SPECIFIED")):
        related.statuses[f"person{contact}@example.com"].append(
            {
                "channel": "EMAIL",
                "subscriberIdString": f"person{contact}@example.com",
                "subscriptionId": 77,
                "subscriptionName": "Newsletter",
                "status": status,
                "source": "Form",
                "legalBasis": "CONSENT_WITH_NOTICE",
                "timestamp": "2026-02-01T00:00:00Z",
            }
        )
    related.opted_out["person4@example.com"] = "2026-02-02T00:00:00Z"
    rows, _ = _read(_hubspot(sandbox, "email_preferences"))
    said = {(row["email"], row["purpose"], row["state"], row["effective_at"]) for row in rows}
    assert said == {
        ("person1@example.com", "77", "SUBSCRIBED", "2026-02-01T00:00:00Z"),
        ("person2@example.com", "77", "UNSUBSCRIBED", "2026-02-01T00:00:00Z"),
        ("person4@example.com", "*", "UNSUBSCRIBED", "2026-02-02T00:00:00Z"),
    }
    assert not any("@" in row["event_id"] for row in rows)
    assert len({row["event_id"] for row in rows}) == 3


@pytest.mark.parametrize("stream", ["contacts_to_companies", "email_preferences"])
def test_trap_20_a_repeated_cursor_raises_beside_the_records_too(sandbox: Sandbox, stream: str) -> None:
    source = _hubspot(sandbox, stream)
    sandbox.fault("repeated_cursor", match="/objects/", after=1, times=100)
    with pytest.raises(SourceFailed, match="never end"):
        list(source.read(source.discover()[0], {}))


def test_a_name_that_means_nothing_is_no_stream(sandbox: Sandbox) -> None:
    assert _hubspot(sandbox, "unicorns").discover() == []
