"""HubSpot as a source, against the sandbox: each record exactly once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import pytest

from consentry.connectors.base import State
from consentry.connectors.hubspot import HubSpot, HubSpotConfig, HubSpotStream
from consentry.errors import RetryLater, SourceFailed
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.hubspot_contacts import Contact

_accounts = count()
LIVE = {str(number) for number in range(1, 251) if number % 50}
ARCHIVED = {str(number) for number in range(50, 251, 50)}
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def _config(url: str, token: str = "sandbox-hubspot", **more: Any) -> HubSpotConfig:
    return HubSpotConfig.model_validate({"base_url": url, "token": token, **more})


def _hubspot(sandbox: Sandbox, *, now: datetime = NOON, token: str = "sandbox-hubspot", **options: Any) -> HubSpot:
    return HubSpot(
        _config(sandbox.url("hubspot"), token),
        streams={"contacts": HubSpotStream(**options)},
        account=f"portal-{next(_accounts)}",
        sleep=lambda seconds: None,
        now=lambda: now,
    )


def _read(source: HubSpot, state: State | None = None) -> tuple[list[dict[str, Any]], State]:
    stream = source.discover()[0]
    rows: list[dict[str, Any]] = []
    last: State = state or {}
    for page in source.read(stream, state or {}):
        rows += page.records.to_pylist()
        last = json.loads(json.dumps(page.state))
    return rows, last


def _change(sandbox: Sandbox, id: int, at: str, **properties: str) -> None:
    values = {"hs_object_id": str(id), "lastmodifieddate": at, "createdate": at, **properties}
    with sandbox.hubspot.lock:
        sandbox.hubspot.contacts.put(Contact(id, dict(values), at, at))
        sandbox.hubspot._pages.clear()


def test_the_first_read_gives_every_contact_once_and_flags_the_archived(sandbox: Sandbox) -> None:
    rows, _ = _read(_hubspot(sandbox))
    assert Counter(row["id"] for row in rows) == Counter([*LIVE, *ARCHIVED])
    assert {row["id"] for row in rows if row["archived"]} == ARCHIVED
    assert rows[0]["email"] == "person1@example.com"
    assert all("/2026-09/" in seen.path for seen in sandbox.requests)


def test_archived_contacts_may_be_left_out(sandbox: Sandbox) -> None:
    rows, _ = _read(_hubspot(sandbox, archived=False))
    assert {row["id"] for row in rows} == LIVE


def test_a_later_read_gives_only_what_changed(sandbox: Sandbox) -> None:
    _, state = _read(_hubspot(sandbox))
    later = _hubspot(sandbox, now=NOON.replace(hour=13))
    rows, state = _read(later, state)
    assert rows == []
    _change(sandbox, 7, "2026-03-02T13:30:00Z", email="new@example.com")
    rows, state = _read(_hubspot(sandbox, now=NOON.replace(hour=14)), state)
    assert [(row["id"], row["email"]) for row in rows] == [("7", "new@example.com")]
    assert _read(_hubspot(sandbox, now=NOON.replace(hour=14, minute=1)), state)[0] == []


def test_trap_6_a_record_that_is_indexed_late_is_picked_up_once(sandbox: Sandbox) -> None:
    _, state = _read(_hubspot(sandbox))
    _change(sandbox, 8, "2026-03-02T11:59:00Z", email="seen@example.com")
    rows, state = _read(_hubspot(sandbox, now=NOON.replace(minute=4)), state)
    assert [row["id"] for row in rows] == ["8"]
    # Changed at 11:58 but searchable only now: it lies within the overlap.
    _change(sandbox, 9, "2026-03-02T11:58:00Z", email="late@example.com")
    rows, state = _read(_hubspot(sandbox, now=NOON.replace(minute=5)), state)
    assert [row["id"] for row in rows] == ["9"]
    assert _read(_hubspot(sandbox, now=NOON.replace(minute=6)), state)[0] == []


def test_a_read_resumes_at_every_page_boundary(sandbox: Sandbox) -> None:
    source = _hubspot(sandbox)
    _, done = _read(source)
    for id in range(300, 750):
        _change(sandbox, id, "2026-03-02T12:30:00Z")
    late = _hubspot(sandbox, now=NOON.replace(hour=13))
    for start, wanted in (({}, 700), (done, 450)):
        stream = late.discover()[0]
        pages = list(late.read(stream, start))
        for stop in range(1, len(pages) + 1):
            state = json.loads(json.dumps(pages[stop - 1].state))
            behind = [] if stop == len(pages) else list(late.read(stream, state))
            ids = [id for page in [*pages[:stop], *behind] for id in page.records["id"].to_pylist()]
            assert len(ids) == len(set(ids)) == wanted


def test_trap_5_a_used_up_day_pauses_instead_of_spinning(sandbox: Sandbox) -> None:
    source = _hubspot(sandbox)
    stream = source.discover()[0]
    sandbox.forget_requests()
    sandbox.fault("daily_limit", times=100)
    with pytest.raises(RetryLater):
        list(source.read(stream, {}))
    assert len(sandbox.requests) == 1


def test_trap_20_a_repeated_cursor_raises(sandbox: Sandbox) -> None:
    source = _hubspot(sandbox)
    stream = source.discover()[0]
    sandbox.fault("repeated_cursor", match="/objects/", after=1, times=100)
    with pytest.raises(SourceFailed, match="never end") as caught:
        list(source.read(stream, {}))
    assert caught.value.code == "repeated_cursor"


def test_a_wrong_token_is_a_sentence(sandbox: Sandbox) -> None:
    source = _hubspot(sandbox, token="canary-token")
    check = source.check()
    assert not check.ok and "401" in check.sentence
    with pytest.raises(SourceFailed, match="refuses the credentials") as caught:
        source.discover()
    assert "canary" not in f"{caught.value!r}{source.http!r}{source!r}{check!r}"


def test_check_says_that_it_may_read(sandbox: Sandbox) -> None:
    assert _hubspot(sandbox).check().ok


def test_trap_12_two_thousand_properties_are_read_in_chunks(sandbox: Sandbox) -> None:
    names = [f"custom_property_{n:04d}" for n in range(2000)]
    with sandbox.hubspot.lock:
        sandbox.hubspot.contacts.rows[1].properties |= {names[0]: "first", names[1999]: "last"}
        sandbox.hubspot.contacts.declare(names)
    rows, _ = _read(_hubspot(sandbox))
    first = next(row for row in rows if row["id"] == "1")
    assert (first[names[0]], first[names[1999]], first["email"]) == ("first", "last", "person1@example.com")
    assert len(rows) == 250


def test_trap_1_the_search_cap_and_equal_timestamps_lose_nothing(sandbox: Sandbox) -> None:
    _, state = _read(_hubspot(sandbox, properties=["email"]))
    same, spread = "2026-03-02T12:30:00Z", "2026-03-02T12:{:02d}:{:02d}Z"
    with sandbox.hubspot.lock:
        contacts = sandbox.hubspot.contacts
        for id in range(1000, 26_000):
            at = same if id < 13_000 else spread.format(id % 59, id % 60)
            values: dict[str, str | None] = {"hs_object_id": str(id), "lastmodifieddate": at}
            contacts.rows[id] = Contact(id, values, at, at)
            contacts._order[False].append(id)
        contacts.changed()
    sandbox.forget_requests()
    source = _hubspot(sandbox, now=NOON.replace(hour=14), properties=["email"])
    rows, _ = _read(source, state)
    ids = [row["id"] for row in rows]
    assert len(ids) == len(set(ids)) == 25_000
    assert len(sandbox.requests) <= 25_000 / 200 + 3


class _Companies:
    """Answers for companies only, and refuses the contacts' modified date."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if "/properties/" in request.url.path:
            return httpx.Response(200, json={"results": [{"name": "name"}, {"name": "hs_lastmodifieddate"}]})
        body: Mapping[str, Any] = json.loads(request.content or b"{}")
        if "lastmodifieddate" in json.dumps(body).replace("hs_lastmodifieddate", ""):
            return httpx.Response(400, json={"category": "VALIDATION_ERROR"})
        stamp = {"name": "Acme", "hs_lastmodifieddate": "2026-03-02T11:00:00Z"}
        found = [] if request.url.params.get("archived") == "true" else [{"id": "5", "properties": stamp}]
        return httpx.Response(200, json={"results": found})


def test_trap_17_every_other_object_moves_on_its_own_modified_date() -> None:
    source = HubSpot(
        _config("https://api.example.com"),
        streams={"companies": HubSpotStream()},
        account=f"portal-{next(_accounts)}",
        transport=httpx.MockTransport(_Companies()),
        now=lambda: NOON,
    )
    rows, state = _read(source)
    assert [row["name"] for row in rows] == ["Acme"]
    assert [row["id"] for row in _read(source, state)[0]] == ["5"]


def test_a_token_never_travels_over_plain_http() -> None:
    with pytest.raises(ValueError, match="https://"):
        _config("http://api.example.com")


def test_an_answer_of_another_shape_is_a_sentence() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=["canary"]))
    source = HubSpot(_config("https://api.example.com"), account=f"portal-{next(_accounts)}", transport=transport)
    with pytest.raises(SourceFailed, match="Check base_url"):
        source.discover()
