"""Google Analytics 4 as a source, against the sandbox and Google's discovery document."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from described import Described
from reading import Wire, account, leaks, read, rows_by

from consentry.connectors.ga4 import GA4, GA4Config, GA4Stream
from consentry.connectors.registry import connector
from consentry.errors import ConfigError, RetryLater, SourceFailed
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.ga4 import GA4 as Simulator
from consentry.testing.sandbox.ga4 import PROPERTY, Visit

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
CHANNELS = ("Direct", "Organic Search", "Email")
KEY = ("date", "sessionDefaultChannelGroup")


@pytest.fixture
def vendor(sandbox: Sandbox) -> Iterator[Simulator]:
    found = sandbox.vendors["ga4"]
    assert isinstance(found, Simulator)
    found.visits = [_visit(date(2026, 3, day), channel) for day in range(1, 32) for channel in CHANNELS]
    yield found


def _visit(day: date, channel: str, sessions: int = 10) -> Visit:
    return Visit(f"{day:%Y%m%d}", {"sessionDefaultChannelGroup": channel}, {"sessions": sessions, "activeUsers": 5})


def _ga4(sandbox: Sandbox, *, now: datetime = NOON, wire: Wire | None = None, **more: Any) -> GA4:
    vendor = sandbox.vendors["ga4"]
    assert isinstance(vendor, Simulator)
    values = {
        "property_id": PROPERTY,
        "credentials": vendor.service_account(sandbox.url("ga4")),
        "base_url": sandbox.url("ga4"),
        "start_date": "2026-03-01",
        **more,
    }
    options = GA4Stream(dimensions=("sessionDefaultChannelGroup",), metrics=("sessions",))
    return GA4(
        GA4Config.model_validate(values),
        streams={"channels": options},
        account=account(),
        transport=wire,
        sleep=lambda seconds: None,
        now=lambda: now,
    )


def _sessions_by_day(rows: list[dict[str, Any]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in rows_by(rows, *KEY).values():
        found[row["date"]] += int(row["sessions"])
    return found


def test_every_day_that_is_over_comes_once(sandbox: Sandbox, vendor: Simulator) -> None:
    rows, state = read(_ga4(sandbox, page_rows=7, window_days=5), "channels")
    assert len(rows) == 19 * 3 == len(rows_by(rows, *KEY))
    assert (rows[0]["date"], rows[0]["sessions"], state["until"]) == ("2026-03-01", "10", "2026-03-19")
    assert connector("ga4") is GA4
    assert vendor.logins == 1


def test_trap_18_late_figures_replace_earlier_ones_without_double_counting(sandbox: Sandbox, vendor: Simulator) -> None:
    first, state = read(_ga4(sandbox), "channels")
    # Two days on, ten sessions of the 18th have moved from Direct, which is gone, to Email.
    moved = f"{date(2026, 3, 18):%Y%m%d}"
    vendor.visits = [v for v in vendor.visits if (v.date, v.dimensions[KEY[1]]) != (moved, "Direct")]
    vendor.visits.append(_visit(date(2026, 3, 18), "Email"))
    sandbox.forget_requests()
    second, state = read(_ga4(sandbox, now=NOON + timedelta(days=2)), "channels", state)
    assert min(row["date"] for row in second) == "2026-03-17"
    assert _sessions_by_day(first + second) == Counter({f"2026-03-{day:02d}": 30 for day in range(1, 22)})
    gone = [row for row in second if row["withdrawn"]]
    assert [(row["date"], row[KEY[1]], row["sessions"]) for row in gone] == [("2026-03-18", "Direct", "0")]
    third, _ = read(_ga4(sandbox, now=NOON + timedelta(days=3)), "channels", state)
    assert _sessions_by_day(first + second + third)["2026-03-18"] == 30


def test_trap_18_days_are_those_of_the_property(sandbox: Sandbox, vendor: Simulator) -> None:
    vendor.time_zone = "Pacific/Auckland"
    # 12:00 UTC on the 20th is already the 21st there: the 20th is over.
    _, state = read(_ga4(sandbox), "channels")
    assert state["until"] == "2026-03-20"
    vendor.time_zone = "America/Los_Angeles"
    _, state = read(_ga4(sandbox, now=datetime(2026, 3, 20, 3, tzinfo=UTC)), "channels")
    assert state["until"] == "2026-03-18"


def test_a_read_resumes_behind_every_page(sandbox: Sandbox, vendor: Simulator) -> None:
    source = _ga4(sandbox, page_rows=13, window_days=10)
    stream = source.discover()[0]
    _, done = read(_ga4(sandbox, now=NOON - timedelta(days=5)), "channels")
    for start in ({}, done):
        pages = list(source.read(stream, start))
        whole = [row for page in pages for row in page.records.to_pylist()]
        for stop, page in enumerate(pages):
            before = [row for one in pages[: stop + 1] for row in one.records.to_pylist()]
            state = json.loads(json.dumps(page.state))
            behind = [] if stop == len(pages) - 1 else read(source, "channels", state)[0]
            assert before + behind == whole


def test_rows_that_move_between_pages_begin_the_window_anew(sandbox: Sandbox, vendor: Simulator) -> None:
    source = _ga4(sandbox, page_rows=7)
    pages = source.read(source.discover()[0], {})
    rows = next(pages).records.to_pylist()
    vendor.visits.insert(0, _visit(date(2026, 3, 1), "Affiliates"))
    rows += [row for page in pages for row in page.records.to_pylist()]
    assert len(rows_by(rows, *KEY)) == 19 * 3 + 1


def test_trap_19_what_is_incomplete_stands_beside_each_row_and_is_said(sandbox: Sandbox, vendor: Simulator) -> None:
    vendor.other_row = vendor.thresholded = True
    vendor.sampling = (5_000, 20_000)
    source = _ga4(sandbox)
    rows, _ = read(source, "channels")
    flags = ("other_row", "thresholded", "sampled", "samples_read", "sampling_space", "time_zone", "currency")
    assert {tuple(row[name] for name in flags) for row in rows} == {
        (True, True, True, 5_000, 20_000, "Europe/Berlin", "EUR")
    }
    said = " ".join(source.remarks())
    assert "(other)" in said and "thresholding" in said and "5,000 of 20,000" in said
    checked = _ga4(sandbox).check()
    assert checked.ok and said in checked.sentence and "never merge profiles" in checked.sentence


def test_trap_19_quota_counters_pause_the_read_before_google_refuses(sandbox: Sandbox, vendor: Simulator) -> None:
    sandbox.enforce_limits()
    vendor.left["tokensPerProjectPerHour"] = 45
    source = _ga4(sandbox, window_days=1)
    rows: list[dict[str, Any]] = []
    state: Any = {}
    with pytest.raises(RetryLater, match="tokensPerProjectPerHour") as caught:
        for page in source.read(source.discover()[0], {}):
            rows, state = rows + page.records.to_pylist(), page.state
    assert (caught.value.after, caught.value.exit_code) == (3600.0, 4)
    assert vendor.left["tokensPerProjectPerHour"] == 5  # four were asked for, none refused
    vendor.left["tokensPerProjectPerHour"] = 14_000
    behind, _ = read(_ga4(sandbox, window_days=1), "channels", json.loads(json.dumps(state)))
    assert _sessions_by_day(rows + behind) == Counter({f"2026-03-{day:02d}": 30 for day in range(1, 20)})


@pytest.mark.parametrize(("left", "after"), [({"tokensPerDay": 5}, 86_400.0), ({"tokensPerHour": 5}, 3_600.0)])
def test_trap_5_a_used_up_quota_pauses_instead_of_spinning(
    sandbox: Sandbox, vendor: Simulator, left: dict[str, int], after: float
) -> None:
    sandbox.enforce_limits()
    vendor.left |= left
    sandbox.forget_requests()
    with pytest.raises(RetryLater) as caught:
        read(_ga4(sandbox), "channels")
    assert caught.value.after == after
    assert len([seen for seen in sandbox.requests if seen.path.endswith("runReport")]) == 1


@pytest.mark.parametrize("kind", ["rate_limited", "server_error", "reset", "truncated", "expired_token"])
def test_a_passing_fault_loses_and_repeats_nothing(sandbox: Sandbox, vendor: Simulator, kind: str) -> None:
    sandbox.fault(kind, match="runReport", after=2, times=1)
    rows, _ = read(_ga4(sandbox, page_rows=7), "channels")
    assert len(rows) == 19 * 3 == len(rows_by(rows, *KEY))


def test_an_unknown_dimension_is_a_sentence(sandbox: Sandbox, vendor: Simulator) -> None:
    source = GA4(
        GA4Config.model_validate(_ga4(sandbox)._config.model_dump()),
        streams={"channels": GA4Stream(dimensions=("userMail",))},
        account=account(),
        now=lambda: NOON,
    )
    with pytest.raises(SourceFailed, match="INVALID_ARGUMENT"):
        read(source, "channels")


def test_trap_11_no_failure_shows_the_key(sandbox: Sandbox, vendor: Simulator) -> None:
    with pytest.raises(ConfigError, match="not a service account's JSON key") as caught:
        _ga4(sandbox, credentials='{"private_key": "canary-key"}')
    assert leaks(caught.value, "canary-key") == []
    foreign = json.loads(vendor.service_account(sandbox.url("ga4"))) | {"client_email": "other@example.com"}
    source = _ga4(sandbox, credentials=json.dumps(foreign))
    found = source.check()
    assert not found.ok and "refuses the login" in found.sentence
    with pytest.raises(SourceFailed) as failed:
        read(source, "channels")
    assert leaks(failed.value, foreign["private_key"][40:80], "other@example.com") == []
    assert foreign["private_key"][40:80] not in repr(source) + repr(source._config)


def test_requests_and_answers_fit_the_discovery_document(sandbox: Sandbox, vendor: Simulator) -> None:
    described = Described("google/analyticsdata.v1beta.converted.openapi.json")
    vendor.other_row = vendor.thresholded = True
    vendor.sampling = (5_000, 20_000)
    wire = Wire()
    read(_ga4(sandbox, wire=wire, page_rows=20), "channels")
    reports = [one for one in wire.passed if one[0].url.path.endswith(":runReport")]
    for request, answer in reports:
        described.check(request, answer, "/v1beta/properties/{propertiesId}:runReport")
    assert len(reports) == 4
