"""The one HTTP client: pooled, patient, polite to quotas, and silent about what it carries.

A connector says what to ask and whether asking twice does harm; the client does the waiting. Nothing of a
request but its method and path, and nothing of an answer but its status and reason code, gets into an error:
queries, headers and bodies hold tokens and personal data.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import httpx
from pydantic import AfterValidator
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from consentry.connectors.json_text import read_json
from consentry.connectors.quota import Limit, slots
from consentry.connectors.retry import TRANSIENT, TURNED_AWAY, AsAsked, RetryPolicy, Transient, retry_after
from consentry.connectors.room import Room, hold_off
from consentry.connectors.turns import Turns
from consentry.errors import ConsentryError, RetryLater, StopRun

MAX_BYTES = 64_000_000
MAX_FILE_BYTES = 8_000_000_000  # of an answer that goes to a file; some exports give 4 GB
# Calls of one account under way at once; Mailchimp and GA4 refuse the eleventh.
AT_ONCE = 8
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

# httpx logs each URL with its query, and queries hold e-mails and keys.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).addFilter(lambda _: False)


class HttpFailed(ConsentryError):
    """A call that failed for good. status: of the answer, None when there was none; code: the vendor's, or ours."""

    def __init__(self, message: str, *, status: int | None = None, code: str = "http_failed") -> None:
        super().__init__(message, code=code)
        self.status = status


class AnswerLost(HttpFailed):
    """A call whose answer did not arrive: nobody knows whether it took effect."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: its status, its headers (names in lower case), and its JSON body, None when there was no body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    # JSON is of any shape until the connector reads it.
    body: Any = field(repr=False)


# What a vendor's error says: seconds to wait, or None for the common reading.
Pause = Callable[[int, Mapping[str, str], Any], float | None]
# Whether an answer means "too many calls" although its status is not 429: status, headers, body.
TurnedAway = Callable[[int, Mapping[str, str], Any], bool]


def _only_safe(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError("a base URL begins with https://; plain http:// is for this machine only")
    if not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("a base URL has a host, a path, and nothing else")
    return url.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_only_safe)]


class HttpClient:
    """Calls to one account of one vendor.

    vendor: its name in sentences. headers: made anew for every call, so that a token may change. renew: called
    with the headers of a call that was refused with 401; True when `headers` gives others now, and the call is sent
    once more (see `consentry.connectors.tokens`). limits: the account's quota, by operation; "" is for calls that
    name none. `calls` counts what was sent.
    at_once: calls of the account that may be under way at the same time. max_bytes: of an answer.
    turned_away: tells an answer that is a rate limit under another status, as some vendors' 403 is.
    room: reads from an answer's headers how long to wait before the next call.
    transport, sleep, clock: for tests; clock gives seconds of any fixed origin.
    """

    def __init__(
        self,
        base_url: str,
        *,
        vendor: str,
        account: str,
        headers: Callable[[], Mapping[str, str]],
        renew: Callable[[Mapping[str, str]], bool] | None = None,
        limits: Mapping[str, Sequence[Limit]] | None = None,
        policy: RetryPolicy | None = None,
        pause: Pause | None = None,
        turned_away: TurnedAway | None = None,
        room: Room = hold_off,
        max_bytes: int = MAX_BYTES,
        at_once: int = AT_ONCE,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.base_url, self.vendor, self.account = base_url.rstrip("/"), vendor, account
        self.calls = 0
        self._slots, self._counting = slots(f"{vendor}/{account}", at_once), threading.Lock()
        self._turns = Turns(f"{vendor}/{account}", limits or {}, room=room, clock=clock)
        self._headers, self._renew, self._max_bytes, self._sleep = headers, renew, max_bytes, sleep
        self._policy = policy or RetryPolicy()
        self._pause = pause or _as_headers_say
        self._turned_away = turned_away or (lambda status, headers, body: False)
        self._client = httpx.Client(transport=transport, timeout=TIMEOUT, follow_redirects=False)
        # Connections are let go with the client, also when nobody closes it.
        weakref.finalize(self, self._client.close)

    def __repr__(self) -> str:
        return f"HttpClient({self.vendor}, {urlsplit(self.base_url).hostname})"

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        form: Mapping[str, str] | None = None,
        into: BinaryIO | None = None,
        repeatable: bool | None = None,
        operation: str = "",
    ) -> Answer:
        """Call, and return the answer of a 2xx.

        path: below the base URL. body: sent as JSON, bytes as the CSV that they are; form: sent as a web form instead.
        into: an empty file that takes a success's body as it is, whole (after an error it is of no use). repeatable:
        whether the call may be sent twice; by default all may but POST and PATCH. operation: the quota it counts
        against.
        Raises RetryLater when the server asks for a wait beyond the policy, AnswerLost when a call that is not
        repeatable may have taken effect, HttpFailed for every other failure.
        """
        safe = method not in ("POST", "PATCH") if repeatable is None else repeatable
        called = urlsplit(self.base_url + path).path
        call = _Call(method, self.base_url + path, called, params, body, safe, operation, form=form, into=into)
        failure: Transient | RetryLater | None = None
        doubtful = False

        def once() -> Answer:
            nonlocal doubtful
            try:
                return self._once(call)
            except Transient as transient:
                doubtful = doubtful or transient.doubtful
                raise

        try:
            return self._tries()(once)
        except (Transient, RetryLater) as problem:
            failure = problem
        # Raised here and not above, so that the error's context does not hold the request.
        if doubtful and method != "GET":
            raise AnswerLost(self._lost_sentence(call, "gave no clear answer"), code="answer_lost")
        raise failure if isinstance(failure, RetryLater) else self._given_up(call, failure)

    def next_path(self, link: str) -> tuple[str, dict[str, str]]:
        """Turn a link of an answer to its next page into a path and a query.

        Raises HttpFailed when it leads to another host: a token must not follow it there.
        """
        here, there = urlsplit(self.base_url), urlsplit(urljoin(self.base_url + "/", link))
        if (there.scheme, there.netloc) != (here.scheme, here.netloc) or not there.path.startswith(here.path):
            message = f"{self.vendor} gave a next page on another host, which is not followed. Check the base URL."
            raise HttpFailed(message, code="foreign_link")
        return there.path[len(here.path) :], dict(httpx.QueryParams(there.query))

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _tries(self) -> Retrying:
        return Retrying(
            stop=stop_after_attempt(self._policy.attempts),
            wait=AsAsked(self._policy),
            retry=retry_if_exception_type(Transient),
            sleep=self._sleep,
            reraise=True,
        )

    def _once(self, call: _Call) -> Answer:
        headers = dict(self._headers())
        sent = self._sent(call, headers)
        # A token may run out at any time, also while a 429 is waited for (airbyte #13660).
        if sent[0] == 401 and self._renew and self._renew(headers):
            sent = self._sent(call, dict(self._headers()))
        return self._read(call, *sent)

    def _sent(self, call: _Call, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        self._await_quota(call.operation)
        with self._counting:
            self.calls += 1
        sent: tuple[int, dict[str, str], bytes] | None = None
        problem: Exception = Transient("sent nothing")
        try:
            with self._slots:
                sent = self._send(call, headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            problem = Transient("cannot be reached")
        except httpx.TimeoutException:
            problem = self._lost(call, "did not answer in time")
        except httpx.RequestError:
            problem = self._lost(call, "broke the connection off")
        if sent is None:
            raise problem
        self._turns.listen(call.operation, sent[1])
        return sent

    def _await_quota(self, operation: str) -> None:
        wait = self._turns.take(operation)
        if wait > self._policy.max_wait:
            raise self._later(wait)
        if wait > 0:
            self._sleep(wait)

    def _send(self, call: _Call, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        content, kind = _content(call.body)
        if content is not None:
            headers.setdefault("Content-Type", kind)
        request = self._client.build_request(
            call.method, call.url, params=call.params, content=content, data=call.form, headers=headers
        )
        answer = self._client.send(request, stream=True)
        try:
            headers_back = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status_code, headers_back, self._received(call, answer)
        finally:
            answer.close()

    def _received(self, call: _Call, answer: httpx.Response) -> bytes:
        """Take the body in; it goes to the call's file, if that has one, when the answer is a success."""
        file = call.into if answer.is_success else None
        if file:
            file.seek(0)
            file.truncate()
        kept, size, most = bytearray(), 0, MAX_FILE_BYTES if file else self._max_bytes
        for chunk in answer.iter_bytes():
            size += len(chunk)
            if size > most:
                message = f"{self.vendor} answered {call} with more than {most:,} bytes. Ask for less."
                raise HttpFailed(message, status=answer.status_code, code="answer_too_large")
            if file:
                file.write(chunk)
            else:
                kept += chunk
        if file:
            file.seek(0)
        return bytes(kept)

    def _read(self, call: _Call, status: int, headers: Mapping[str, str], raw: bytes) -> Answer:
        readable, body = _parsed(raw)
        if 200 <= status < 300:
            if not readable or (call.into and "html" in headers.get("content-type", "")):
                raise self._lost(call, "sent something else than was asked for")
            return Answer(status, headers, body)
        full = status == 429 or self._turned_away(status, headers, body)
        away = full or status in TURNED_AWAY
        if full or status in TRANSIENT:
            after = self._pause(status, headers, body)
            if full:
                self._turns.slow_down(call.operation, after)
            if after is not None and after > self._policy.max_wait:
                raise self._later(after)
            if not away and not call.repeatable and after is None:
                raise AnswerLost(self._lost_sentence(call, f"answered {status}"), status=status, code="answer_lost")
            raise Transient(f"answered {status}", status=status, after=after, doubtful=not away, turned_away=full)
        raise self._refused(call, status, body)

    def _lost(self, call: _Call, reason: str) -> Exception:
        if call.repeatable:
            return Transient(reason, doubtful=True)
        return AnswerLost(self._lost_sentence(call, reason), code="answer_lost")

    def _lost_sentence(self, call: _Call, reason: str) -> str:
        return f"{self.vendor} {reason} to {call}; whether it took effect is not known."

    def _later(self, after: float) -> RetryLater:
        message = f"{self.vendor} asks to wait {after:.0f} seconds. Run again then; the run goes on where it stopped."
        return RetryLater(message, after=after, code="quota")

    def _given_up(self, call: _Call, failure: Transient) -> ConsentryError:
        if failure.turned_away:
            return self._later(failure.after or self._policy.cap)
        message = f"{self.vendor} {failure.reason} to {call}, {self._policy.attempts} times. Run again later."
        if failure.reason == "cannot be reached":
            host = urlsplit(self.base_url).netloc
            message = f"{self.vendor} cannot be reached at {host}. Check base_url and the network, then run again."
        return HttpFailed(message, status=failure.status, code="unreachable" if not failure.status else "server_error")

    def _refused(self, call: _Call, status: int, body: Any) -> HttpFailed:
        code = vendor_code(body)
        said = f" ({code})" if code else ""
        match status:
            case 401:
                return HttpFailed(
                    f"{self.vendor} refuses the credentials (401). Check the token in the environment.",
                    status=status,
                    code="unauthorized",
                )
            case 403:
                return HttpFailed(
                    f"{self.vendor} does not allow {call} to these credentials (403). Give them the scope it needs.",
                    status=status,
                    code="forbidden",
                )
            case 404:
                message = f"{self.vendor} has nothing at {call} (404). Check the names and ids in the job."
                return HttpFailed(message, status=status, code="not_found")
        message = f"{self.vendor} refused {call} with {status}{said}. Check the settings of this connector."
        return HttpFailed(message, status=status, code=code or f"http_{status}")


@contextmanager
def failing_as(error: type[StopRun]) -> Iterator[None]:
    """Raise what the client raises for good as the caller's own error, sentence and code kept."""
    failed: HttpFailed | None = None
    try:
        yield
    except HttpFailed as refusal:
        failed = refusal
    if failed:
        raise error(str(failed), code=failed.code)


def vendor_code(body: Any) -> str | None:
    """Return the reason code in an error body, as the common vendors write it; never free text."""
    if isinstance(body, list):
        body = body[0] if body else None
    if not isinstance(body, Mapping):
        return None
    first = body.get("errors")
    nested = first[0] if isinstance(first, list) and first and isinstance(first[0], Mapping) else {}
    inner = body["error"] if isinstance(body.get("error"), Mapping) else {}
    places = (nested.get("code"), body.get("category"), body.get("code"), body.get("errorCode"), body.get("error"))
    for found in (*places, inner.get("status"), inner.get("type")):
        if isinstance(found, str) and _CODE.fullmatch(found):
            return found
    return None


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    url: str
    path: str
    params: Mapping[str, str] | None
    body: object
    repeatable: bool
    operation: str
    form: Mapping[str, str] | None = None
    into: BinaryIO | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    __repr__ = __str__


def _content(body: object) -> tuple[bytes | None, str]:
    """Return what is sent of a body, and what it is."""
    if isinstance(body, bytes):
        return body, "text/csv; charset=UTF-8"
    return None if body is None else json.dumps(body, separators=(",", ":")).encode(), "application/json"


def _as_headers_say(_status: int, headers: Mapping[str, str], _body: Any) -> float | None:
    return retry_after(headers.get("retry-after"), datetime.now(UTC))


def _parsed(raw: bytes) -> tuple[bool, Any]:
    if not raw.strip():
        return True, None
    try:
        return True, read_json(raw)
    except (ValueError, RecursionError):
        return False, None
