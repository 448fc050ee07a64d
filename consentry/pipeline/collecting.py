"""Take in what people do, as websites, servers and apps tell it over HTTP, and keep it for the jobs that read it.

    POST /v1/track, /v1/page, /v1/screen, /v1/identify, /v1/group, /v1/alias    one call
    POST /v1/batch, /v1/import    many, as {"batch": [...]}

Addresses, login (the write key as user name) and calls are those of Segment's HTTP API (its documentation and the
sources of its libraries, read on 2026-11-23), so that the libraries which speak it need another host and nothing else.
A message is answered with 200 once the disk has it; all that came while the disk was busy waits for it together.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from consentry.connectors.event_log import EventLog
from consentry.connectors.segment_calls import CALLS, MAX_BATCH, Malformed, lines_of
from consentry.pipeline.over_http import body_of, refused

# What all messages under way may take in memory before others are asked to come again.
ROOM = 64 * 1024 * 1024
BODY_S = 30.0
_TICK_S = 1.0
# Segment's library for Ruby sends its batches to the second.
_PATHS = {**{call: call for call in CALLS}, "batch": None, "import": None}


def collector(log: EventLog, *, key: bytes, tell: Callable[[str], None]) -> Starlette:
    """Return the application, which closes the log when it ends.

    key: the write key that senders have to know. tell: is given a sentence when the log cannot be written, and when it
    can again.
    """
    user = key + b":"
    writer = _Writer(log, tell)
    intake = _Intake(writer)

    def route(path: str, kind: str | None) -> Route:
        async def take(request: Request) -> Response:
            if not hmac.compare_digest(_login(request)[: len(user)], user):
                sentence = "The header Authorization does not hold the write key as the user name of Basic."
                return refused(401, "not_allowed", sentence, **{"WWW-Authenticate": 'Basic realm="consentry"'})
            return await intake.take(request, kind)

        return Route(f"/v1/{path}", take, methods=["POST"])

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with writer.running():
            yield

    return Starlette(routes=[route(path, kind) for path, kind in _PATHS.items()], lifespan=lifespan)


def _login(request: Request) -> bytes:
    scheme, _, code = request.headers.get("Authorization", "").partition(" ")
    try:
        return base64.b64decode(code, validate=True) if scheme.lower() == "basic" else b""
    except ValueError:
        return b""


class _NoRoom(Exception):
    """More is under way than memory is set aside for."""


class _Intake:
    """Keeps each message whole, or refuses it whole."""

    def __init__(self, writer: _Writer) -> None:
        self._writer = writer
        self._room = ROOM

    async def take(self, request: Request, kind: str | None) -> Response:
        """Answer a message. kind: of the one call that it is, None for a batch."""
        size = _size(request)
        if size > MAX_BATCH:
            return _too_long()
        try:
            with self._holding(size):
                return await self._answer(request, kind)
        except _NoRoom:
            return _again("busy", "Too much comes at once.", after=1)
        except TimeoutError:
            return _again("too_slow", f"The body did not come within {BODY_S:g} seconds.", after=1)
        except Malformed as error:
            return refused(400, "malformed", f"{error} Nothing of this message was kept.")
        except OSError:
            return _again("not_kept", "Nothing can be kept now.", after=10)

    async def _answer(self, request: Request, kind: str | None) -> Response:
        async with asyncio.timeout(BODY_S):
            body = await body_of(request, MAX_BATCH)
        if body is None:
            return _too_long()
        await self._writer.keep(lines_of(_unpacked(body, request), kind, now=datetime.now(UTC)))
        return JSONResponse({"success": True})

    @contextmanager
    def _holding(self, size: int) -> Iterator[None]:
        if size > self._room:
            raise _NoRoom
        self._room -= size
        try:
            yield
        finally:
            self._room += size


class _Writer:
    """Has the log keep what comes, a group of messages at a time."""

    def __init__(self, log: EventLog, tell: Callable[[str], None]) -> None:
        self._log, self._tell = log, tell
        self._waiting: list[tuple[list[bytes], asyncio.Future[None]]] = []
        self._came = asyncio.Event()
        self._ends = self._fails = False

    async def keep(self, lines: list[bytes]) -> None:
        """Return when the disk has the lines. Raises OSError when it does not take them."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((lines, kept))
        self._came.set()
        await kept

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write what comes; in the end write what is left, and close the log."""
        writing = asyncio.create_task(self._write())
        try:
            yield
        finally:
            self._ends = True
            self._came.set()
            await writing

    async def _write(self) -> None:
        while not self._ends or self._waiting:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), _TICK_S)
            self._came.clear()
            group, self._waiting = self._waiting, []
            failure = await run_in_threadpool(self._tried, [line for lines, _ in group for line in lines])
            # Whoever went away in the meantime is answered no more.
            for kept in (kept for _, kept in group if not kept.done()):
                kept.set_exception(failure) if failure else kept.set_result(None)
        # What cannot be closed now is closed by the next writer.
        with suppress(OSError):
            await run_in_threadpool(self._log.close)

    def _tried(self, lines: list[bytes]) -> OSError | None:
        """Have the lines kept; return why they are not."""
        try:
            if lines:
                self._log.append(lines)
            self._log.close_if_due()
        except OSError as error:
            if not self._fails:
                why = f"Nothing can be written to {self._log.folder} ({error.strerror})"
                self._tell(f"{why}; what is sent is answered with 503 until that is mended.")
            self._fails = True
            return error
        if lines and self._fails:
            self._tell(f"{self._log.folder} can be written to again.")
            self._fails = False
        return None


def _size(request: Request) -> int:
    """Return how long the body of a request may be, unpacked."""
    length = int(request.headers.get("Content-Length", MAX_BATCH))
    return max(length, MAX_BATCH) if "Content-Encoding" in request.headers else length


def _unpacked(body: bytes, request: Request) -> bytes:
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise Malformed("A body is sent as it is, or with 'Content-Encoding: gzip'.")
    unpacking = zlib.decompressobj(wbits=31)
    try:
        plain = unpacking.decompress(body, MAX_BATCH)
    except zlib.error:
        plain = b""
    if not unpacking.eof or unpacking.unused_data:
        raise Malformed(f"The body is no whole gzip of at most {MAX_BATCH:,} bytes.")
    return plain


def _again(code: str, sentence: str, *, after: int) -> Response:
    # Not 408 or 429: all libraries send again what is answered with 503, and not all of them what is with those.
    return refused(503, code, f"{sentence} Send this again.", **{"Retry-After": str(after)})


def _too_long() -> Response:
    # Segment's API answers so, and its libraries send again what is refused in another way.
    return refused(400, "too_long", f"A body has at most {MAX_BATCH:,} bytes. Nothing of this message was kept.")
