"""Amplitude as a source, against the sandbox: by hour of upload, each event once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from reading import account, leaks, read

from consentry.connectors import export_lines
from consentry.connectors.amplitude import Amplitude, AmplitudeConfig
from consentry.connectors.registry import connector
from consentry.errors import RetryLater, SourceFailed
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.amplitude import Amplitude as Simulator

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
BEGUN = datetime(2026, 3, 30, tzinfo=UTC)


@pytest.fixture
def vendor(sandbox: Sandbox) -> Iterator[Simulator]:
    found = sandbox.vendors["amplitude"]
    assert isinstance(found, Simulator)
    found.events = [_event(number, BEGUN + timedelta(minutes=20 * number)) for number in range(120)]
    yield found


def _event(number: int, uploaded: datetime, *, late: timedelta = timedelta(0)) -> dict[str, Any]:
    return {
        "uuid": f"u{number}",
        "event_type": "viewed",
        "user_id": f"user{number % 5}",
        "event_time": f"{uploaded - late:%Y-%m-%d %H:%M:%S.%f}",
        "server_upload_time": f"{uploaded:%Y-%m-%d %H:%M:%S.%f}",
        "event_properties": {"page": number},
    }


def _amplitude(sandbox: Sandbox, *, now: datetime = NOON, **more: Any) -> Amplitude:
    values = {
        "api_key": "sandbox-key",
        "secret_key": "sandbox-amplitude",
        "base_url": sandbox.url("amplitude"),
        "start": "2026-03-30T00:00:00Z",
        **more,
    }
    config = AmplitudeConfig.model_validate(values)
    return Amplitude(config, account=account(), sleep=lambda seconds: None, now=lambda: now)


def _ids(rows: list[dict[str, Any]]) -> list[str]:
    """Return the events' ids in their order; files within an export come in the order of their names."""
    return sorted((row["uuid"] for row in rows), key=lambda uuid: int(uuid[1:]))


def test_every_whole_hour_comes_once_and_its_lag_is_waited_for(sandbox: Sandbox, vendor: Simulator) -> None:
    rows, state = read(_amplitude(sandbox), "events")
    # Hour 9 of the 31st ended at 10 and is there since 12.
    assert state["next"] == "2026-03-31T10"
    assert _ids(rows) == [f"u{number}" for number in range(102)]
    assert (rows[1]["occurred_at"], json.loads(rows[1]["event_properties"])) == (
        "2026-03-30T00:20:00.000Z",
        {"page": 1},
    )
    vendor.now = NOON + timedelta(hours=6)
    behind, _ = read(_amplitude(sandbox, now=vendor.now), "events", state)
    assert _ids(behind) == [f"u{number}" for number in range(102, 120)]
    assert connector("amplitude") is Amplitude


def test_an_event_that_is_delivered_days_late_is_not_missed(sandbox: Sandbox, vendor: Simulator) -> None:
    _, state = read(_amplitude(sandbox), "events")
    vendor.now = NOON + timedelta(hours=6)
    vendor.events = [_event(500, NOON, late=timedelta(days=9))]
    rows, _ = read(_amplitude(sandbox, now=vendor.now), "events", state)
    assert [(row["uuid"], row["occurred_at"]) for row in rows] == [("u500", "2026-03-22T12:00:00.000Z")]


def test_a_read_resumes_behind_every_page(sandbox: Sandbox, vendor: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_lines, "PAGE_ROWS", 2)
    source = _amplitude(sandbox, start="2026-03-31T00:00:00Z", window_hours=6)
    pages = list(source.read(source.discover()[0], {}))
    whole = [uuid for page in pages for uuid in page.records["uuid"].to_pylist()]
    assert len(whole) == len(set(whole)) == 30
    for stop in range(0, len(pages), 3):
        before = [uuid for page in pages[: stop + 1] for uuid in page.records["uuid"].to_pylist()]
        behind, _ = read(source, "events", json.loads(json.dumps(pages[stop].state)))
        assert before + [row["uuid"] for row in behind] == whole


def test_an_export_that_is_too_large_is_asked_for_in_smaller_parts(sandbox: Sandbox, vendor: Simulator) -> None:
    vendor.events_max = 12
    rows, _ = read(_amplitude(sandbox), "events")
    assert len(_ids(rows)) == len(set(_ids(rows))) == 102


def test_hours_without_events_are_no_failure(sandbox: Sandbox, vendor: Simulator) -> None:
    vendor.events = []
    rows, state = read(_amplitude(sandbox), "events")
    assert (rows, state) == ([], {"next": "2026-03-31T10"})


def test_a_damaged_line_is_kept_as_malformed(sandbox: Sandbox, vendor: Simulator) -> None:
    vendor.events = [{**_event(1, BEGUN), "event_type": None}]
    rows, _ = read(_amplitude(sandbox), "events")
    assert rows[0]["uuid"] is None and '"u1"' in rows[0]["_malformed"]


@pytest.mark.parametrize("kind", ["rate_limited", "server_error", "reset", "truncated"])
def test_a_passing_fault_loses_and_repeats_nothing(sandbox: Sandbox, vendor: Simulator, kind: str) -> None:
    sandbox.fault(kind, match="/export", after=1, times=2)
    rows, _ = read(_amplitude(sandbox, window_hours=12), "events")
    assert _ids(rows) == [f"u{number}" for number in range(102)]


def test_a_web_page_in_place_of_a_zip_is_a_sentence(sandbox: Sandbox, vendor: Simulator) -> None:
    sandbox.fault("garbage", times=50)
    with pytest.raises(SourceFailed, match="something else than was asked for"):
        read(_amplitude(sandbox), "events")


def test_trap_5_a_used_up_day_pauses_instead_of_spinning(sandbox: Sandbox, vendor: Simulator) -> None:
    sandbox.fault("daily_limit", times=100)
    sandbox.forget_requests()
    with pytest.raises(RetryLater):
        read(_amplitude(sandbox), "events")
    assert len(sandbox.requests) == 1


def test_trap_11_no_failure_shows_the_keys(sandbox: Sandbox, vendor: Simulator) -> None:
    source = _amplitude(sandbox, secret_key="canary-secret")
    with pytest.raises(SourceFailed, match="refuses the credentials") as caught:
        read(source, "events")
    assert leaks(caught.value, "canary-secret", "sandbox-key") == []
    assert not source.check().ok and _amplitude(sandbox).check().ok
