"""Pipedrive as a source, against the sandbox: each record exactly once, and never blocked for asking on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from consentry.connectors.base import NoOptions, State
from consentry.connectors.pipedrive import Pipedrive, PipedriveConfig
from consentry.errors import RetryLater, SourceFailed
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.pipedrive import PATIENCE
from consentry.testing.sandbox.pipedrive import Pipedrive as Company

_accounts = count()
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=2)
SAME = "2026-03-02T11:00:00Z"
OWN = "d4de1c1518b4531717c676029a45911c340390a6"


@pytest.fixture
def company(sandbox: Sandbox) -> Iterator[Company]:
    vendor = sandbox.vendors["pipedrive"]
    assert isinstance(vendor, Company)
    yield vendor


def _source(sandbox: Sandbox, stream: str = "persons", *, now: datetime = NOON, token: str = "") -> Pipedrive:
    return Pipedrive(
        PipedriveConfig.model_validate(
            {"base_url": sandbox.url("pipedrive"), "token": token or "sandbox-pipedrive"},
        ),
        streams={stream: NoOptions()},
        account=f"company-{next(_accounts)}",
        sleep=lambda seconds: None,
        now=lambda: now,
    )


def _person(number: int, at: str = SAME, **more: Any) -> dict[str, Any]:
    emails = [
        {"value": f"old{number}@example.com", "primary": False, "label": "home"},
        {"value": f"person{number}@example.com", "primary": True, "label": "work"},
    ]
    return {"id": number, "name": f"Person {number}", "emails": emails, "phones": [], "update_time": at, **more}


def _read(source: Pipedrive, state: State | None = None) -> tuple[list[dict[str, Any]], State]:
    rows: list[dict[str, Any]] = []
    last: State = state or {}
    for page in source.read(source.discover()[0], state or {}):
        rows += page.records.to_pylist()
        last = json.loads(json.dumps(page.state))
    return rows, last


def test_trap_7_every_person_comes_once_over_pages_of_one_timestamp(sandbox: Sandbox, company: Company) -> None:
    company.put("persons", [_person(n) for n in range(1, 1202)])
    sandbox.forget_requests()
    rows, state = _read(_source(sandbox))
    assert Counter(row["id"] for row in rows) == Counter(str(n) for n in range(1, 1202))
    assert rows[0]["primary_email"] == "person1@example.com" and rows[0]["primary_phone"] is None
    assert json.loads(rows[0]["emails"])[0]["label"] == "home"
    assert sum(seen.path.endswith("/persons") for seen in sandbox.requests) == 3
    assert state["phase"] == "done"


def test_a_later_read_gives_only_what_changed(sandbox: Sandbox, company: Company) -> None:
    company.put("persons", [_person(n) for n in range(1, 11)])
    _, state = _read(_source(sandbox))
    company.put("persons", [_person(4, "2026-03-02T13:00:00Z", name="Changed")])
    rows, state = _read(_source(sandbox, now=LATER), state)
    assert [(row["id"], row["name"]) for row in rows] == [("4", "Changed")]
    assert _read(_source(sandbox, now=LATER + timedelta(minutes=1)), state)[0] == []


def test_trap_6_a_record_that_shows_late_is_picked_up_once(sandbox: Sandbox, company: Company) -> None:
    company.put("persons", [_person(1, "2026-03-02T11:59:00Z")])
    _, state = _read(_source(sandbox))
    company.put("persons", [_person(2, "2026-03-02T11:58:00Z")])
    rows, state = _read(_source(sandbox, now=NOON + timedelta(minutes=2)), state)
    assert [row["id"] for row in rows] == ["2"]
    assert _read(_source(sandbox, now=NOON + timedelta(minutes=3)), state)[0] == []


def test_trap_9_a_deleted_deal_comes_as_a_tombstone(sandbox: Sandbox, company: Company) -> None:
    deal = {"id": 1, "title": "Big", "status": "open", "update_time": SAME}
    company.put("deals", [deal])
    rows, state = _read(_source(sandbox, "deals"))
    assert [row["is_deleted"] for row in rows] == [False]
    company.put("deals", [deal | {"is_deleted": True, "status": "deleted", "update_time": "2026-03-02T13:00:00Z"}])
    rows, _ = _read(_source(sandbox, "deals", now=LATER), state)
    assert [(row["id"], row["is_deleted"], row["_deleted"]) for row in rows] == [("1", True, True)]


def test_fields_of_ones_own_are_columns(sandbox: Sandbox, company: Company) -> None:
    company.own_fields["persons"] = [OWN]
    company.put("persons", [_person(1, custom_fields={OWN: {"value": 2300, "currency": "EUR"}}), _person(2)])
    rows, _ = _read(_source(sandbox))
    assert [row[OWN] for row in rows] == ['{"value":2300,"currency":"EUR"}', None]


@pytest.mark.parametrize("run_out", [False, True])
def test_a_read_resumes_at_every_page_boundary_with_or_without_its_cursor(
    sandbox: Sandbox, company: Company, run_out: bool
) -> None:
    company.put("persons", [_person(n, SAME if n < 900 else "2026-03-02T11:30:00Z") for n in range(1, 1302)])
    source = _source(sandbox)
    stream = source.discover()[0]
    pages = list(source.read(stream, {}))
    assert len(pages) == 3
    for stop in (1, 2):
        company.cursor_runs_out = run_out
        ids = [id for page in pages[:stop] for id in page.records["id"].to_pylist()]
        for page in source.read(stream, json.loads(json.dumps(pages[stop - 1].state))):
            ids += page.records["id"].to_pylist()
        assert len(ids) == len(set(ids)) == 1301


def test_trap_5_a_429_that_stays_pauses_long_before_the_block(sandbox: Sandbox, company: Company) -> None:
    source = _source(sandbox)
    stream = source.discover()[0]
    sandbox.fault("rate_limited", match="/persons", times=100, retry_after=None)
    with pytest.raises(RetryLater):
        list(source.read(stream, {}))
    assert company.turned_away < PATIENCE


def test_a_days_budget_pauses_at_once(sandbox: Sandbox, company: Company) -> None:
    source = _source(sandbox)
    stream = source.discover()[0]
    sandbox.fault("daily_limit", match="/persons", times=100)
    with pytest.raises(RetryLater):
        list(source.read(stream, {}))
    assert company.turned_away == 1


def test_trap_5_a_block_for_asking_on_pauses_and_is_no_lack_of_rights(sandbox: Sandbox, company: Company) -> None:
    company.turned_away = PATIENCE + 1
    sandbox.forget_requests()
    with pytest.raises(RetryLater) as caught:
        _source(sandbox).discover()
    assert caught.value.after >= 3600 and len(sandbox.requests) == 1


def test_trap_20_a_repeated_cursor_raises(sandbox: Sandbox, company: Company) -> None:
    company.put("persons", [_person(n) for n in range(1, 1202)])
    sandbox.fault("repeated_cursor", match="/persons", after=1, times=100)
    with pytest.raises(SourceFailed, match="never end"):
        _read(_source(sandbox))


def test_a_wrong_token_is_a_sentence(sandbox: Sandbox) -> None:
    source = _source(sandbox, token="canary-token")
    check = source.check()
    assert not check.ok and "401" in check.sentence
    with pytest.raises(SourceFailed) as caught:
        source.discover()
    assert "canary" not in f"{caught.value!r}{check!r}{source.http!r}"


def test_check_says_that_it_may_read(sandbox: Sandbox) -> None:
    assert _source(sandbox).check().ok
