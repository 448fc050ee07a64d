"""An account that refuses is called more slowly, by everybody, and slowly faster again."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.connectors.http import HttpClient
from consentry.connectors.pace import CUT, LEAST, Pace
from consentry.connectors.quota import Limit, Quota
from consentry.connectors.retry import RetryPolicy
from consentry.errors import RetryLater


def rate(quota: Quota, start: float, seconds: float) -> float:
    """Return how many calls a second a quota lets through from `start` on."""
    now, calls = start, 0
    while (now := now + quota.reserve(now)) < start + seconds:
        calls += 1
    return calls / seconds


def test_a_refusal_slows_the_account_down_and_clean_windows_bring_it_back() -> None:
    quota = Quota([Limit(10, 1.0)])
    assert rate(quota, 0, 10) == pytest.approx(10, rel=0.2)
    quota.refused(100.0)
    assert rate(quota, 100, 2) == pytest.approx(7, rel=0.2)
    assert rate(quota, 103, 2) == pytest.approx(8, rel=0.2)
    assert rate(quota, 120, 10) == pytest.approx(10, rel=0.2)


def test_refusals_of_one_burst_count_as_one() -> None:
    pace = Pace(1.0)
    assert pace.refused(5.0)
    assert not any(pace.refused(5.0 + n / 10) for n in range(10))
    assert pace.share == pytest.approx(CUT)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 5)), max_size=60))
def test_a_pace_stays_between_its_least_and_all_of_the_limit(steps: list[tuple[bool, float]]) -> None:
    pace, now = Pace(1.0), 0.0
    for refused, wait in steps:
        now += wait
        if refused:
            pace.refused(now)
        assert LEAST <= pace.at(now) <= 1


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 0.5)), max_size=80))
def test_no_window_ever_holds_more_than_its_limit_whatever_was_refused(steps: list[tuple[bool, float]]) -> None:
    quota, now, taken = Quota([Limit(3, 1.0)]), 0.0, list[float]()
    for refused, wait in steps:
        now += wait
        if refused:
            quota.refused(now)
        now += quota.reserve(now)
        taken.append(now)
    assert all(later - first >= 1 - 1e-9 for first, later in zip(taken, taken[3:], strict=False))


def test_an_account_without_declared_limits_learns_one_from_its_refusals() -> None:
    quota = Quota([])
    for n in range(40):
        assert quota.reserve(n / 8) == 0
    quota.refused(5.0)
    assert rate(quota, 5.0, 20) == pytest.approx(40 * CUT / 10, rel=0.3)
    assert quota.reserve(1000.0) == 0


def test_one_refused_call_alone_teaches_nothing() -> None:
    quota = Quota([])
    quota.reserve(0.0)
    quota.refused(0.0)
    assert [quota.reserve(n / 100) for n in range(1, 20)] == [0] * 19


def client(server: httpx.MockTransport, clock: list[float], account: str) -> HttpClient:
    def sleep(seconds: float) -> None:
        clock[0] += seconds

    return HttpClient(
        "https://api.example.com",
        vendor="Test",
        account=account,
        headers=dict,
        policy=RetryPolicy(attempts=2, max_wait=60),
        transport=server,
        sleep=sleep,
        clock=lambda: clock[0],
    )


def test_when_the_wait_exceeds_the_budget_no_other_sync_of_the_account_calls_either() -> None:
    calls = list[httpx.Request]()

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return httpx.Response(429, headers={"Retry-After": "3600"})

    clock = [0.0]
    for sync in range(2):
        with pytest.raises(RetryLater) as caught:
            client(httpx.MockTransport(answer), clock, "used-up").request("GET", "/x")
        assert caught.value.after == pytest.approx(3600), sync
    assert len(calls) == 1
