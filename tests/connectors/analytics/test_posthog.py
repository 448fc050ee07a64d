"""PostHog as a source, against the sandbox, where its queries really run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from reading import account, leaks, read, rows_by

from consentry.connectors.posthog import PostHog, PostHogConfig
from consentry.connectors.registry import connector
from consentry.errors import RetryLater, SourceFailed
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.posthog import PROJECT
from consentry.testing.sandbox.posthog import PostHog as Simulator

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
BEGUN = datetime(2026, 3, 20, tzinfo=UTC)


@pytest.fixture
def vendor(sandbox: Sandbox) -> Iterator[Simulator]:
    found = sandbox.vendors["posthog"]
    assert isinstance(found, Simulator)
    # The middle third shares one timestamp: more events than a page has.
    same = BEGUN + timedelta(hours=40)
    found.events = [_event(n, same if 40 <= n < 80 else BEGUN + timedelta(hours=n)) for n in range(120)]
    found.persons = [_person(n) for n in range(250)]
    yield found


def _event(number: int, at: datetime) -> dict[str, Any]:
    uuid = f"00000000-0000-7000-8000-{(number * 7919) % 100_000:012d}"
    return {
        "uuid": uuid,
        "event": "viewed",
        "distinct_id": f"d{number % 9}",
        "person_id": f"p{number % 9}",
        "timestamp": at,
        "properties": json.dumps({"page": number}),
    }


def _person(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "uuid": f"p{number}",
        "name": "ignored",
        "distinct_ids": [f"d{number}"],
        "created_at": "2026-01-01T00:00:00Z",
        "properties": {"email": f"person{number}@example.com", "plan": "pro"},
    }


def _posthog(sandbox: Sandbox, *, now: datetime = NOON, **more: Any) -> PostHog:
    values = {
        "project_id": PROJECT,
        "api_key": "sandbox-posthog",
        "base_url": sandbox.url("posthog"),
        "start": "2026-03-20T00:00:00Z",
        "page_rows": 16,
        **more,
    }
    config = PostHogConfig.model_validate(values)
    return PostHog(config, account=account(), sleep=lambda seconds: None, now=lambda: now)


def test_every_event_comes_once_though_many_share_a_timestamp(sandbox: Sandbox, vendor: Simulator) -> None:
    rows, state = read(_posthog(sandbox), "events")
    assert len(rows) == 120 == len(rows_by(rows, "uuid"))
    assert state == {"until": "2026-03-31T12:00:00.000000Z", "done": True}
    assert rows[0]["occurred_at"] == "2026-03-20T00:00:00.000000Z"
    assert json.loads(rows[0]["properties"]) == {"page": 0}
    assert connector("posthog") is PostHog


def test_late_events_are_picked_up_and_replace_nothing_else(sandbox: Sandbox, vendor: Simulator) -> None:
    first, state = read(_posthog(sandbox), "events")
    vendor.events.append(_event(500, NOON - timedelta(hours=70)))
    vendor.events.append(_event(501, NOON + timedelta(minutes=5)))
    again, _ = read(_posthog(sandbox, now=NOON + timedelta(hours=1)), "events", state)
    assert len(again) == 2
    assert len(rows_by(first + again, "uuid")) == 122


def test_a_read_resumes_behind_every_page(sandbox: Sandbox, vendor: Simulator) -> None:
    source = _posthog(sandbox)
    for stream, key in zip(source.discover(), ("uuid", "id"), strict=True):
        pages = list(source.read(stream, {}))
        whole = [value for page in pages for value in page.records[key].to_pylist()]
        for stop in range(len(pages) - 1):
            before = [value for page in pages[: stop + 1] for value in page.records[key].to_pylist()]
            behind, _ = read(source, stream.name, json.loads(json.dumps(pages[stop].state)))
            assert before + [row[key] for row in behind] == whole


def test_persons_come_once_with_their_addresses(sandbox: Sandbox, vendor: Simulator) -> None:
    rows, _ = read(_posthog(sandbox), "persons")
    assert [row["id"] for row in rows] == [f"p{n}" for n in range(250)]
    assert (rows[3]["email"], rows[3]["distinct_ids"]) == ("person3@example.com", '["d3"]')


def test_a_link_to_another_host_is_not_followed(sandbox: Sandbox, vendor: Simulator) -> None:
    vendor.next_host = "https://elsewhere.example.com"
    with pytest.raises(SourceFailed, match="another host") as caught:
        read(_posthog(sandbox), "persons")
    assert caught.value.code == "foreign_link"


def test_a_repeated_page_raises(sandbox: Sandbox, vendor: Simulator) -> None:
    sandbox.fault("repeated_cursor", match="/persons/", after=1, times=100)
    with pytest.raises(SourceFailed, match="never end"):
        read(_posthog(sandbox), "persons")


@pytest.mark.parametrize("kind", ["rate_limited", "server_error", "reset", "truncated", "garbage"])
@pytest.mark.parametrize("stream", ["events", "persons"])
def test_a_passing_fault_loses_and_repeats_nothing(sandbox: Sandbox, vendor: Simulator, kind: str, stream: str) -> None:
    sandbox.fault(kind, match="/posthog/*", after=1, times=2)
    rows, _ = read(_posthog(sandbox), stream)
    assert len(rows) == (120 if stream == "events" else 250)


def test_trap_5_a_used_up_day_pauses_instead_of_spinning(sandbox: Sandbox, vendor: Simulator) -> None:
    sandbox.fault("daily_limit", times=100)
    sandbox.forget_requests()
    with pytest.raises(RetryLater):
        read(_posthog(sandbox), "events")
    assert len(sandbox.requests) == 1


def test_trap_11_no_failure_shows_the_key(sandbox: Sandbox, vendor: Simulator) -> None:
    source = _posthog(sandbox, api_key="canary-key")
    with pytest.raises(SourceFailed, match="refuses the credentials") as caught:
        read(source, "persons")
    assert leaks(caught.value, "canary-key", "@example.com") == []
    assert not source.check().ok
    found = _posthog(sandbox).check()
    assert found.ok and "250 persons" in found.sentence
