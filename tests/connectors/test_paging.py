"""Pages: in their order, fetched ahead, never round in circles, never more at once than the account bears."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.connectors.http import HttpClient
from consentry.connectors.paging import Cursors, ahead, in_order
from consentry.connectors.room import hold_off
from consentry.errors import RetryLater, SourceFailed

_accounts = count()


@settings(max_examples=30, deadline=None)
@given(keys=st.lists(st.integers(), max_size=20), at_once=st.integers(1, 5))
def test_pages_fetched_at_once_keep_their_order(keys: list[int], at_once: int) -> None:
    assert list(in_order(lambda key: key * 2, keys, at_once=at_once)) == [key * 2 for key in keys]


def test_as_many_pages_are_under_way_as_asked_for_and_no_more() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def fetch(key: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1
        return key

    assert list(in_order(fetch, range(20), at_once=3)) == list(range(20))
    assert most == 3


@settings(max_examples=30, deadline=None)
@given(length=st.integers(0, 6), bad=st.integers(0, 6))
def test_an_error_comes_at_its_place(length: int, bad: int) -> None:
    def fetch(key: int) -> int:
        if key == bad:
            raise SourceFailed("It broke off.")
        return key

    def numbers() -> Iterator[int]:
        yield from (fetch(key) for key in range(length))

    for pages in (in_order(fetch, range(length)), ahead(numbers())):
        got: list[int] = []
        with suppress(SourceFailed):
            for page in pages:
                got.append(page)
        assert got == list(range(min(length, bad)))


def test_no_more_is_read_ahead_than_asked_for_and_a_reader_that_stops_ends_it() -> None:
    made: list[int] = []
    closed = threading.Event()

    def numbers() -> Iterator[int]:
        try:
            for number in count():
                made.append(number)
                yield number
        finally:
            closed.set()

    pages = ahead(numbers(), depth=2)
    assert next(pages) == 0
    time.sleep(0.05)
    assert len(made) <= 4
    pages.close()  # type: ignore[attr-defined]  # a generator
    assert closed.wait(2)


def test_a_repeated_cursor_raises() -> None:
    cursors = Cursors("Vendor")
    assert [cursors.follow(one) for one in ("a", 2, "b")] == ["a", "2", "b"]
    with pytest.raises(SourceFailed, match="Vendor gave the same page again") as caught:
        cursors.follow("a")
    assert caught.value.code == "repeated_cursor"


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, 0),
        ({"ratelimit-remaining": "3", "ratelimit-reset": "20"}, 0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "20"}, 20),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1780000030"}, 30),
        ({"x-hubspot-ratelimit-remaining": "0", "x-hubspot-ratelimit-interval-milliseconds": "10000"}, 10),
        ({"x-hubspot-ratelimit-daily-remaining": "0"}, 3600),
        ({"x-ratelimit-remaining": "none"}, 0),
    ],
)
def test_a_used_up_quota_is_read_from_the_headers(headers: dict[str, str], wait: float) -> None:
    assert hold_off(headers, 1_780_000_000.0) == wait


def _client(answer: httpx.Response, slept: list[float]) -> HttpClient:
    def reply(request: httpx.Request) -> httpx.Response:
        return answer

    return HttpClient(
        "https://api.example.com", vendor="Vendor", account=f"paging-{next(_accounts)}", headers=dict,
        transport=httpx.MockTransport(reply), sleep=slept.append, clock=lambda: sum(slept),
    )  # fmt: skip


def test_a_client_waits_when_an_answer_says_that_nothing_is_left() -> None:
    slept: list[float] = []
    headers = {"RateLimit-Remaining": "0", "RateLimit-Reset": "7"}
    client = _client(httpx.Response(200, json={}, headers=headers), slept)
    client.request("GET", "/a")
    assert slept == []
    client.request("GET", "/b")
    assert slept == [7.0]


def test_a_used_up_day_pauses_the_run_before_the_vendor_refuses() -> None:
    slept: list[float] = []
    headers = {"X-HubSpot-RateLimit-Daily-Remaining": "0"}
    client = _client(httpx.Response(200, json={}, headers=headers), slept)
    client.request("GET", "/a")
    with pytest.raises(RetryLater) as caught:
        client.request("GET", "/b")
    assert caught.value.after == 3600 and client.calls == 1


def test_the_clients_of_an_account_have_so_many_calls_under_way_and_no_more() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def reply(request: httpx.Request) -> httpx.Response:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1
        return httpx.Response(200, json={})

    account = f"paging-{next(_accounts)}"
    clients = [
        HttpClient(
            "https://api.example.com", vendor="Vendor", account=account, headers=dict,
            transport=httpx.MockTransport(reply), at_once=2,
        )
        for _ in range(3)
    ]  # fmt: skip
    with ThreadPoolExecutor(9) as pool:
        answers = list(pool.map(lambda n: clients[n % 3].request("GET", "/x").status, range(18)))
    assert answers == [200] * 18 and most == 2
    assert sum(client.calls for client in clients) == 18
