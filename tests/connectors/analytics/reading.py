"""Read a source the way the landing does, and note what went over the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from typing import Any

import httpx

from consentry.connectors.base import Source, State

_numbers = count()


def account() -> str:
    """Name an account that no other test has used, so that quotas do not mix."""
    return f"analytics-{next(_numbers)}"


def read(source: Source, stream: str, state: State | None = None) -> tuple[list[dict[str, Any]], State]:
    """Return the rows of a read and the state behind it, which went through JSON as in the warehouse."""
    found = next(one for one in source.discover() if one.name == stream)
    rows: list[dict[str, Any]] = []
    last: State = state or {}
    for page in source.read(found, last):
        rows += page.records.to_pylist()
        last = json.loads(json.dumps(page.state))
    return rows, last


class Wire(httpx.BaseTransport):
    """A real transport that keeps the requests and answers that passed it."""

    def __init__(self) -> None:
        self._wire = httpx.HTTPTransport()
        self.passed: list[tuple[httpx.Request, httpx.Response]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        answer = self._wire.handle_request(request)
        content = answer.read()
        answer.close()
        headers = {k: v for k, v in answer.headers.items() if k not in ("content-encoding", "content-length")}
        kept = httpx.Response(answer.status_code, headers=headers, content=content, request=request)
        self.passed.append((request, kept))
        return httpx.Response(answer.status_code, headers=headers, content=content, request=request)

    def close(self) -> None:
        self._wire.close()


def leaks(error: BaseException, *secrets: str) -> list[str]:
    """Return those of the secrets that show in an error, its causes and its context."""
    shown: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        shown += [repr(seen), str(seen), repr(getattr(seen, "__dict__", {}))]
        seen = seen.__cause__ or seen.__context__
    return [secret for secret in secrets if any(secret in text for text in shown)]


def rows_by(rows: list[dict[str, Any]], *key: str) -> Mapping[tuple[Any, ...], dict[str, Any]]:
    """Return the rows as a table keeps them: a later one of the same key replaces an earlier one."""
    return {tuple(row[name] for name in key): row for row in rows}
