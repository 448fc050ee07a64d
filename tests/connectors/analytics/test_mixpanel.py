"""Mixpanel as a source, against the sandbox and the published description."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from described import Described
from reading import Wire, account, leaks, read, rows_by

from consentry.connectors import export_lines
from consentry.connectors.mixpanel import Mixpanel, MixpanelConfig, MixpanelStream
from consentry.connectors.registry import connector
from consentry.errors import RetryLater, SourceFailed
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.limits import Limiter
from consentry.testing.sandbox.mixpanel import PROJECT, Event
from consentry.testing.sandbox.mixpanel import Mixpanel as Simulator

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
KEY = ("event", "occurred_at", "distinct_id", "insert_id")


@pytest.fixture
def vendor(sandbox: Sandbox) -> Iterator[Simulator]:
    found = sandbox.vendors["mixpanel"]
    assert isinstance(found, Simulator)
    found.events = [_event(number) for number in range(120)]
    found.profiles = {f"user{number}": _profile(number) for number in range(25)}
    yield found


def _event(number: int, at: datetime | None = None) -> Event:
    at = at or datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=6 * number)
    return Event("viewed", at, {"distinct_id": f"user{number % 25}", "$insert_id": f"i{number}", "page": number})


def _profile(number: int) -> dict[str, Any]:
    return {"$email": f"person{number}@example.com", "$first_name": "Ada", "plan": "pro", "cohorts": [7] * (number % 2)}


def _mixpanel(
    sandbox: Sandbox,
    *,
    now: datetime = NOON,
    wire: Wire | None = None,
    sleep: Callable[[float], None] = lambda seconds: None,
    **more: Any,
) -> Mixpanel:
    streams = {name: MixpanelStream(**more.pop(name, {})) for name in ("events", "profiles")}
    values = {
        "project_id": PROJECT,
        "username": "consentry.sandbox",
        "secret": "sandbox-mixpanel",
        "base_url": sandbox.url("mixpanel"),
        "start_date": "2026-03-01",
        **more,
    }
    config = MixpanelConfig.model_validate(values)
    return Mixpanel(config, streams=streams, account=account(), transport=wire, sleep=sleep, now=lambda: now)


def test_every_event_comes_once_with_its_key(sandbox: Sandbox, vendor: Simulator) -> None:
    rows, _ = read(_mixpanel(sandbox), "events")
    assert len(rows) == 120 == len(rows_by(rows, *KEY))
    assert rows[1]["occurred_at"] == "2026-03-01T06:00:00.000Z"
    assert json.loads(rows[1]["properties"])["page"] == 1
    assert connector("mixpanel") is Mixpanel


def test_a_later_read_repeats_only_the_late_days_and_brings_what_came_late(sandbox: Sandbox, vendor: Simulator) -> None:
    first, state = read(_mixpanel(sandbox), "events")
    vendor.events.append(_event(500, datetime(2026, 3, 29, 1, tzinfo=UTC)))
    again, _ = read(_mixpanel(sandbox), "events", state)
    assert len(again) < 30
    assert len(rows_by(first + again, *KEY)) == 121


def test_a_read_resumes_behind_every_page(sandbox: Sandbox, vendor: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_lines, "PAGE_ROWS", 10)
    source = _mixpanel(sandbox, window_days=31)
    pages = list(source.read(source.discover()[0], {}))
    assert len(pages) == 13
    for stop in range(len(pages)):
        before = [row for page in pages[: stop + 1] for row in page.records.to_pylist()]
        behind, _ = read(_mixpanel(sandbox, window_days=31, late_days=0), "events", pages[stop].state)
        assert len(rows_by(before + behind, *KEY)) == 120
        assert stop == len(pages) - 1 or len(before) + len(behind) == 120


def test_an_export_that_changed_since_is_given_again_rather_than_skipped(
    sandbox: Sandbox, vendor: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_lines, "PAGE_ROWS", 10)
    source = _mixpanel(sandbox, window_days=31)
    pages = list(source.read(source.discover()[0], {}))
    vendor.events.insert(3, _event(500, datetime(2026, 3, 2, 1, tzinfo=UTC)))
    before = [row for page in pages[:5] for row in page.records.to_pylist()]
    behind, _ = read(_mixpanel(sandbox, window_days=31), "events", pages[4].state)
    assert len(rows_by(before + behind, *KEY)) == 121


def test_days_and_times_of_an_old_project_are_in_its_own_zone(sandbox: Sandbox, vendor: Simulator) -> None:
    vendor.time_zone, vendor.old = "America/Los_Angeles", True
    # 05:30 UTC on 1 April is still the 31st of March there: the export must not ask for a day that has not begun.
    late = datetime(2026, 4, 1, 5, 30, tzinfo=UTC)
    vendor.events = [_event(1, datetime(2026, 4, 1, 5, tzinfo=UTC))]
    source = _mixpanel(sandbox, now=late, time_zone="America/Los_Angeles", local_times=True)
    rows, _ = read(source, "events")
    assert [row["occurred_at"] for row in rows] == ["2026-04-01T05:00:00.000Z"]
    with pytest.raises(SourceFailed, match="with 400"):
        read(_mixpanel(sandbox, now=late), "events")


def test_a_broken_line_is_kept_as_malformed(sandbox: Sandbox, vendor: Simulator) -> None:
    vendor.events = [Event("viewed", NOON, {"note": "\ud800", "distinct_id": "u", "$insert_id": "i"})]
    rows, _ = read(_mixpanel(sandbox), "events")
    assert rows[0]["event"] is None and "ud800" in rows[0]["_malformed"]


def test_an_event_without_an_insert_id_is_named_by_its_contents(sandbox: Sandbox, vendor: Simulator) -> None:
    vendor.events = [Event("viewed", NOON, {"distinct_id": "u"})]
    rows, _ = read(_mixpanel(sandbox), "events")
    assert rows[0]["insert_id"].startswith("sha256:")


def test_profiles_page_by_session_and_each_comes_once(sandbox: Sandbox, vendor: Simulator) -> None:
    vendor.page_size = 10
    rows, _ = read(_mixpanel(sandbox), "profiles")
    assert sorted(row["distinct_id"] for row in rows) == sorted(vendor.profiles)
    assert {row["email"] for row in rows} == {f"person{number}@example.com" for number in range(25)}


def test_profiles_whose_session_is_over_are_read_anew(sandbox: Sandbox, vendor: Simulator) -> None:
    vendor.page_size = 10
    source = _mixpanel(sandbox)
    first = next(iter(source.read(source.discover()[1], {})))
    vendor._sessions.clear()
    rows, _ = read(source, "profiles", first.state)
    assert len(rows) == 25


def test_only_the_members_of_a_cohort_may_be_read(sandbox: Sandbox, vendor: Simulator) -> None:
    rows, _ = read(_mixpanel(sandbox, profiles={"cohort": 7}), "profiles")
    assert len(rows) == 12


def test_a_repeated_page_raises(sandbox: Sandbox, vendor: Simulator) -> None:
    vendor.page_size = 10
    sandbox.fault("repeated_cursor", match="/engage", after=1, times=50)
    with pytest.raises(SourceFailed) as caught:
        read(_mixpanel(sandbox), "profiles")
    assert caught.value.code == "repeated_cursor"


@pytest.mark.parametrize("kind", ["rate_limited", "server_error", "reset", "truncated"])
def test_a_passing_fault_loses_and_repeats_nothing(sandbox: Sandbox, vendor: Simulator, kind: str) -> None:
    sandbox.fault(kind, match="/export", after=1, times=2)
    rows, _ = read(_mixpanel(sandbox), "events")
    assert len(rows) == 120 == len(rows_by(rows, *KEY))


def test_trap_5_a_used_up_hour_without_a_header_pauses_instead_of_spinning(sandbox: Sandbox, vendor: Simulator) -> None:
    source = _mixpanel(sandbox)
    sandbox.fault("rate_limited", retry_after=None, times=100)
    sandbox.forget_requests()
    with pytest.raises(RetryLater) as caught:
        read(source, "events")
    assert (caught.value.after, len(sandbox.requests)) == (3600.0, 1)


def test_the_hours_60_queries_are_never_overdrawn(
    sandbox: Sandbox, vendor: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = [0.0]
    monkeypatch.setattr(vendor, "limiter", Limiter(lambda: sum(slept) + monotonic()))
    sandbox.enforce_limits()
    source = _mixpanel(
        sandbox, window_days=1, start_date="2026-01-01", sleep=lambda seconds: slept.append(seconds + 0.1)
    )
    state: Any = {}
    with pytest.raises(RetryLater):
        for page in source.read(source.discover()[0], {}):
            state = page.state
    assert state == {"from": "2026-03-02"}
    assert len(sandbox.requests) == 60


def test_trap_11_no_failure_shows_the_secret_or_a_person(sandbox: Sandbox, vendor: Simulator) -> None:
    source = _mixpanel(sandbox, secret="canary-secret")
    assert source.check().ok is False
    with pytest.raises(SourceFailed, match="refuses the credentials") as caught:
        read(source, "profiles")
    assert leaks(caught.value, "canary-secret", "@example.com") == []
    assert "canary" not in repr(source) + repr(source.check())


def test_check_says_what_may_be_read(sandbox: Sandbox, vendor: Simulator) -> None:
    found = _mixpanel(sandbox).check()
    assert found.ok and "25 profiles" in found.sentence


def test_requests_and_answers_fit_the_published_description(sandbox: Sandbox, vendor: Simulator) -> None:
    export, query = Described("mixpanel/export.openapi.yaml"), Described("mixpanel/query.openapi.yaml")
    # The description knows distinct ids as integers only.
    vendor.profiles = {number: _profile(number) for number in range(25)}  # type: ignore[misc]
    vendor.page_size = 10
    wire = Wire()
    source = _mixpanel(sandbox, wire=wire, events={"events": ["viewed"]}, profiles={"cohort": 7})
    read(source, "events")
    read(source, "profiles")
    for request, answer in wire.passed:
        found, path = (query, "/engage") if request.url.path.endswith("/engage") else (export, "/export")
        found.check(request, answer, path)
    assert len(wire.passed) == 7
