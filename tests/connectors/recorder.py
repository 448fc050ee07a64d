"""A transport that passes requests on and keeps them, and a server that keeps what a vendor's own client sends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, TypeVar

import httpx

from consentry.connectors.base import Outcome, Pending
from consentry.model.batch import Batch, Operation, Row
from consentry.testing.sandbox import Sandbox

V = TypeVar("V")

_accounts = count()


def account() -> str:
    """Return the name of an account that no other test uses, so that quotas are not shared."""
    return f"account-{next(_accounts)}"


def played(sandbox: Sandbox, kind: type[V]) -> V:
    """Return the simulator of one vendor."""
    return next(vendor for vendor in sandbox.vendors.values() if isinstance(vendor, kind))


def batch(audience: str, *rows: Row, operation: Operation = "add") -> Batch:
    """Return a batch without a seal, as a connector sees it."""
    return Batch(f"b{next(_accounts)}", "there", audience, "news", operation, rows)


def person(number: int, remote_id: str | None = None, **fields: Any) -> Row:
    """Return the row of a generated person."""
    return Row(f"p{number}", {"email": f"person{number}@example.com"}, fields, remote_id)


def through(destination: Any, sent: Batch) -> list[Outcome]:
    """Hand a batch over and ask what became of it until everything is applied."""
    outcomes = list(destination.remove(sent) if sent.operation == "remove" else destination.write(sent))
    for job in dict.fromkeys(one.job for one in outcomes if isinstance(one, Pending)):
        places = [place for place, one in enumerate(outcomes) if one == Pending(job)]
        asked = replace(sent, rows=tuple(replace(sent.rows[place], fields={}) for place in places))
        found = next(found for _ in range(50) if (found := destination.poll(job, asked)) is not None)
        for place, outcome in zip(places, found, strict=True):
            outcomes[place] = outcome
    return outcomes


class Recorder(httpx.BaseTransport):
    """Passes requests on and keeps them."""

    def __init__(self) -> None:
        self.inner, self.seen = httpx.HTTPTransport(), list[httpx.Request]()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self.inner.handle_request(request)

    def close(self) -> None:
        self.inner.close()

    def bodies(self, part: str) -> list[Any]:
        """Return the JSON bodies of the requests whose path holds a part."""
        return [json.loads(one.content) for one in self.seen if part in one.url.path and one.content]


@dataclass
class Heard:
    """What reached the server: method, path, headers in lower case, body."""

    url: str
    answer: Any
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)


@contextmanager
def listening(answer: Any) -> Iterator[Heard]:
    """Listen on a free port and answer everything with the same JSON."""

    class Handler(BaseHTTPRequestHandler):
        def _keep(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            heard.requests.append((self.command, self.path, headers, json.loads(raw) if raw else None))
            body = json.dumps(heard.answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _keep

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    heard = Heard(f"http://127.0.0.1:{server.server_address[1]}", answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        server.server_close()
