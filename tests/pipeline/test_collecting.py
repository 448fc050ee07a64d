"""Events over HTTP: what is answered with 200 is kept; what is refused is refused whole, and told why."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from consentry.connectors.event_log import EventLog
from consentry.connectors.segment_calls import CALLS, MAX_BATCH
from consentry.pipeline import collecting
from consentry.pipeline.collecting import collector

KEY = "an-0penly-known-write-key-of-the-tests-9c1d"
CALL = {"messageId": "m-1", "userId": "10001", "event": "Order Completed", "traits": {"email": "canary@example.com"}}
Body = bytes | dict[str, Any] | AsyncIterator[bytes]
Post = Callable[..., Coroutine[Any, Any, httpx.Response]]


@asynccontextmanager
async def posting(folder: Path) -> AsyncIterator[Post]:
    """Post to a collector without a socket; in the end it closes its files."""
    app = collector(EventLog(folder, max_age_s=3_600), key=KEY.encode(), tell=print)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", auth=(KEY, "")) as client,
    ):

        async def post(path: str, body: Body, **more: Any) -> httpx.Response:
            content = json.dumps(body).encode() if isinstance(body, dict) else body
            return await client.post(f"/v1/{path}", content=content, **more)

        yield post


def posted(folder: Path, path: str, body: Body, **more: Any) -> httpx.Response:
    """Post one message and end the collector."""

    async def once() -> httpx.Response:
        async with posting(folder) as post:
            return await post(path, body, **more)

    return asyncio.run(once())


def kept(folder: Path) -> list[dict[str, Any]]:
    """Return the calls in closed files."""
    files = sorted(folder.glob("events-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def ids(folder: Path) -> list[str]:
    return [call["messageId"] for call in kept(folder)]


def calls(numbers: Iterable[int]) -> dict[str, Any]:
    """Return a batch of calls with these numbers in their ids."""
    return {"batch": [CALL | {"type": "track", "messageId": f"m-{number}"} for number in numbers]}


@pytest.mark.parametrize("kind", CALLS)
def test_each_call_has_its_address(kind: str, tmp_path: Path) -> None:
    answer = posted(tmp_path, kind, CALL)
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert [(call["type"], call["messageId"]) for call in kept(tmp_path)] == [(kind, "m-1")]


@pytest.mark.parametrize("path", ["batch", "import"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_batch_is_kept_in_its_order_packed_or_not(path: str, packed: bool, tmp_path: Path) -> None:
    body = json.dumps(calls(range(9))).encode()
    headers = {"Content-Encoding": "gzip"} if packed else {}
    assert posted(tmp_path, path, gzip.compress(body) if packed else body, headers=headers).status_code == 200
    assert ids(tmp_path) == [f"m-{number}" for number in range(9)]


PACKED = gzip.compress(json.dumps(calls([1])).encode())
LONG = b'{"batch":[]' + b" " * MAX_BATCH + b"}"


@pytest.mark.parametrize(
    ("path", "body", "encoding", "code"),
    [
        ("track", b"{", None, "malformed"),
        ("track", CALL | {"userId": None}, None, "malformed"),
        ("track", CALL | {"event": None}, None, "malformed"),
        ("track", CALL | {"properties": {"x": "y" * 33_000}}, None, "malformed"),
        ("batch", CALL, None, "malformed"),
        ("batch", {"batch": [CALL | {"type": "track"}, {"userId": "canary@example.com"}]}, None, "malformed"),
        ("batch", LONG, None, "too_long"),
        ("batch", b"canary@example.com", "gzip", "malformed"),
        ("batch", PACKED[:-1], "gzip", "malformed"),
        ("batch", PACKED + b"x", "gzip", "malformed"),
        ("batch", gzip.compress(LONG * 200), "gzip", "malformed"),
        ("batch", PACKED, "canary", "malformed"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused_whole_and_quoted_nowhere(
    path: str, body: Body, encoding: str | None, code: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = posted(tmp_path, path, body, headers={"Content-Encoding": encoding} if encoding else {})
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["message"].endswith("Nothing of this message was kept.")
    assert kept(tmp_path) == []
    assert "canary" not in answer.text + caplog.text


def login(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "header",
    ["", KEY, f"Bearer {KEY}", login(""), login(":"), login(KEY), login(f":{KEY}"), login(f"{KEY[:-1]}:"),
     login(f"{KEY}x:"), "Basic " + KEY, "Basic é", "Basic"],
)  # fmt: skip
def test_without_the_write_key_nothing_is_kept(header: str, tmp_path: Path) -> None:
    answer = posted(tmp_path, "track", CALL, headers={"Authorization": header.encode("latin-1")}, auth=lambda r: r)
    assert (answer.status_code, answer.json()["code"]) == (401, "not_allowed")
    assert kept(tmp_path) == []


def test_no_page_of_another_site_may_read_or_send(tmp_path: Path) -> None:
    answer = posted(tmp_path, "track", CALL, headers={"Origin": "https://example.org"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_posts_that_come_while_the_disk_is_busy_wait_for_it_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (waits.append(handle), sync(handle))[1])

    async def many() -> list[httpx.Response]:
        async with posting(tmp_path) as post:
            return await asyncio.gather(*(post("batch", calls([number])) for number in range(200)))

    assert {answer.status_code for answer in asyncio.run(many())} == {200}
    assert sorted(ids(tmp_path)) == sorted(f"m-{number}" for number in range(200))
    assert len(waits) < 50


def test_what_is_more_than_memory_is_set_aside_for_is_asked_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (json.dumps(calls(numbers)).encode() for numbers in (range(3), range(3, 6)))
    monkeypatch.setattr(collecting, "ROOM", len(first) + len(second) - 1)
    going_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield first[:100]
        await going_on.wait()
        yield first[100:]

    async def both() -> list[httpx.Response]:
        async with posting(tmp_path) as post:
            slow = asyncio.create_task(post("batch", slowly(), headers={"Content-Length": str(len(first))}))
            await asyncio.sleep(0.01)
            answers = [await post("batch", second)]
            going_on.set()
            return [*answers, await slow, await post("batch", second)]

    refused, *taken = asyncio.run(both())
    assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (503, "busy", "1")
    assert [answer.status_code for answer in taken] == [200, 200]
    assert ids(tmp_path) == [f"m-{number}" for number in range(6)]


def test_a_body_that_dawdles_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "BODY_S", 0.02)

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    answer = posted(tmp_path, "track", never())
    assert (answer.status_code, answer.json()["code"]) == (503, "too_slow")
