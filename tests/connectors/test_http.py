"""The HTTP client: patient, polite, and silent about what it carries."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from typing import Any

import httpx
import pytest

from consentry.connectors.http import AnswerLost, HttpClient, HttpFailed, RetryPolicy, failing_as
from consentry.connectors.quota import Limit, Quota
from consentry.connectors.retry import retry_after
from consentry.errors import RetryLater, SourceFailed

SECRET = "canary-secret-token"
_accounts = count()
Reply = httpx.Response | Exception


class Server:
    """Answers in the given order; the last answer stays. Notes the waits of the client instead of waiting."""

    def __init__(self, *replies: Reply) -> None:
        self.replies, self.seen, self.waits = list(replies), list[httpx.Request](), list[float]()
        self.now = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def _client(server: Server, account: str = "", **more: Any) -> HttpClient:
    return HttpClient(
        "https://api.example.com/base",
        vendor="Vendor",
        account=account or f"account-{next(_accounts)}",
        headers=lambda: {"Authorization": f"Bearer {SECRET}"},
        transport=httpx.MockTransport(server),
        sleep=server.sleep,
        clock=lambda: server.now,
        **more,
    )


def _ok() -> httpx.Response:
    return httpx.Response(200, json={"ok": True})


def _limited(value: str | None) -> httpx.Response:
    return httpx.Response(429, headers={} if value is None else {"Retry-After": value})


def test_half_a_character_costs_no_record() -> None:
    cut = b'{"name": "Ada \\ud83d", "whole": "\\ud83d\\ude00", "\\udc00": "a\\\\ud800", "n": 12345678901234567890}'
    told = _client(Server(httpx.Response(200, content=cut))).request("GET", "/x").body
    assert told == {"name": "Ada \ufffd", "whole": "\U0001f600", "\ufffd": "a\\ud800", "n": 12345678901234567890}


def test_an_answer_nested_without_end_is_no_answer() -> None:
    server = Server(httpx.Response(200, content=b"[" * 100_000 + b"]" * 100_000))
    with pytest.raises(HttpFailed, match="something else than was asked for"):
        _client(server).request("GET", "/x")


def test_trap_5_retry_after_in_seconds_is_waited_for_in_full() -> None:
    server = Server(_limited("7"), _ok())
    client = _client(server)
    assert client.request("GET", "/x").body == {"ok": True}
    assert sum(server.waits) == pytest.approx(7)
    assert client.calls == 2


def test_trap_5_retry_after_as_a_date_is_waited_for() -> None:
    at = datetime.now(UTC) + timedelta(seconds=40)
    server = Server(_limited(format_datetime(at, usegmt=True)), _ok())
    _client(server).request("GET", "/x")
    assert 35 < sum(server.waits) <= 41


@pytest.mark.parametrize("value", [None, "soon", "nan", "inf"])
def test_trap_5_an_absent_or_senseless_retry_after_backs_off_with_jitter(value: str | None) -> None:
    server = Server(_limited(value), _limited(value), _ok())
    _client(server).request("GET", "/x")
    assert 0 <= sum(server.waits) <= 4


def test_trap_5_an_absurd_retry_after_pauses_the_run() -> None:
    server = Server(_limited("3600"))
    with pytest.raises(RetryLater) as caught:
        _client(server).request("GET", "/x")
    assert caught.value.after == 3600
    assert len(server.seen) == 1 and not server.waits


def test_a_past_date_and_a_negative_number_mean_now() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT", now) == 0
    assert retry_after("-5", now) == 0


@pytest.mark.parametrize(
    "problem",
    [
        lambda: httpx.Response(503),
        lambda: httpx.Response(500),
        lambda: httpx.ReadTimeout("late"),
        lambda: httpx.ConnectError("no"),
        lambda: httpx.RemoteProtocolError("reset"),
        lambda: httpx.Response(200, content=b'{"cut off'),
    ],
)
def test_what_passes_is_tried_again(problem: Callable[[], Reply]) -> None:
    server = Server(problem(), problem(), _ok())
    assert _client(server).request("GET", "/x").body == {"ok": True}
    assert len(server.seen) == 3


def test_what_does_not_pass_ends_in_a_sentence() -> None:
    server = Server(httpx.Response(503))
    with pytest.raises(HttpFailed, match="Vendor answered 503 to GET /base/x, 6 times"):
        _client(server).request("GET", "/x")
    assert len(server.seen) == 6


@pytest.mark.parametrize("problem", [httpx.ReadTimeout("late"), httpx.Response(502), httpx.Response(200, text="{")])
def test_a_call_that_must_not_be_repeated_is_reported_as_lost(problem: Reply) -> None:
    server = Server(problem)
    with pytest.raises(AnswerLost, match="whether it took effect is not known"):
        _client(server).request("POST", "/x", body={})
    assert len(server.seen) == 1


@pytest.mark.parametrize("problem", [httpx.ConnectError("no"), httpx.Response(429)])
def test_a_call_that_never_took_effect_is_repeated_whatever_it_is(problem: Reply) -> None:
    server = Server(problem, _ok())
    assert _client(server).request("POST", "/x", body={}).status == 200


def test_refusals_are_not_tried_again_and_name_the_remedy() -> None:
    for status, words in ((401, "refuses the credentials"), (403, "does not allow"), (404, "nothing at"), (400, "400")):
        server = Server(httpx.Response(status, json={"category": "VALIDATION_ERROR", "message": "canary@example.com"}))
        with pytest.raises(HttpFailed, match=words) as caught:
            _client(server).request("GET", "/x")
        assert len(server.seen) == 1
        assert "canary" not in str(caught.value)


def _everything(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield f"{error!r} {error} {error.__dict__}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "reply", [httpx.Response(400, text="canary"), httpx.ReadTimeout("canary"), httpx.Response(500, text="canary")]
)
def test_trap_11_no_token_query_or_body_stands_in_any_error_repr_or_log(
    reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = _client(Server(reply))
    with pytest.raises(HttpFailed) as caught:
        client.request("POST", "/x", params={"key": "canary"}, body={"email": "canary@example.com"}, repeatable=True)
    assert "canary" not in "".join(_everything(caught.value)) + repr(client) + caplog.text


def test_an_answer_beyond_the_limit_is_cut_off() -> None:
    server = Server(httpx.Response(200, content=b"[" + b"1," * 1000 + b"1]"))
    with pytest.raises(HttpFailed, match="more than 100 bytes"):
        _client(server, max_bytes=100).request("GET", "/x")


def test_trap_20_a_next_link_to_another_host_is_refused() -> None:
    client = _client(Server(_ok()))
    assert client.next_path("https://api.example.com/base/y?c=1") == ("/y", {"c": "1"})
    for link in ("https://evil.example.net/base/y", "http://api.example.com/base/y", "//evil.example.net/base"):
        with pytest.raises(HttpFailed, match="another host"):
            client.next_path(link)


def test_a_redirect_is_not_followed_with_the_token() -> None:
    server = Server(httpx.Response(302, headers={"Location": "https://evil.example.net/"}))
    with pytest.raises(HttpFailed, match="302"):
        _client(server).request("GET", "/x")
    assert len(server.seen) == 1


def test_clients_of_one_account_share_its_quota() -> None:
    server = Server(_ok())
    limits = {"": (Limit(5, 1.0),)}
    clients = [_client(server, "shared", limits=limits) for _ in range(3)]
    for number in range(30):
        clients[number % 3].request("GET", "/x")
    assert server.now == pytest.approx(5.0)


def test_a_quota_holds_in_every_window() -> None:
    quota, now, taken = Quota([Limit(3, 1.0), Limit(10, 10.0)]), 0.0, list[float]()
    for _ in range(40):
        now += quota.reserve(now) + 0.05
        taken.append(now - 0.05)
    for limit, seconds in ((3, 1.0), (10, 10.0)):
        assert all(b - a >= seconds - 1e-9 for a, b in zip(taken, taken[limit:], strict=False))


def test_a_429_makes_every_client_of_the_account_wait() -> None:
    limited = Server(_limited("9"), _ok())
    other = Server(_ok())
    _client(limited, "held").request("GET", "/x")
    other.now = 0.0
    _client(other, "held").request("GET", "/x")
    assert sum(other.waits) == pytest.approx(9)


def test_the_caller_chooses_the_kind_of_the_error() -> None:
    with pytest.raises(SourceFailed, match="credentials") as caught, failing_as(SourceFailed):
        _client(Server(httpx.Response(401))).request("GET", "/x")
    assert caught.value.code == "unauthorized"


def test_a_policy_may_be_less_patient() -> None:
    server = Server(httpx.Response(503))
    with pytest.raises(HttpFailed, match="2 times"):
        _client(server, policy=RetryPolicy(attempts=2)).request("GET", "/x")


class _BrokenOff(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield b"one\ntw"
        raise httpx.RemoteProtocolError("peer closed connection")


def test_a_long_answer_goes_to_a_file_whole_or_not_at_all() -> None:
    server = Server(httpx.Response(200, stream=_BrokenOff()), httpx.Response(200, content=b"one\ntwo\n"))
    with tempfile.TemporaryFile() as file:
        assert _client(server, max_bytes=4).request("GET", "/export", into=file).body is None
        assert file.read() == b"one\ntwo\n"


def test_a_form_is_sent_as_one() -> None:
    server = Server(_ok())
    _client(server).request("POST", "/token", form={"a": "b c"})
    assert server.seen[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert server.seen[0].content == b"a=b+c"
