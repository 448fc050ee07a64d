"""Faults on request: which request goes wrong, how, and how often; the same order gives the same faults."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from email.utils import formatdate
from fnmatch import fnmatchcase
from time import time
from typing import Literal, get_args

from pydantic import Field

from consentry.config import Model

Kind = Literal[
    "rate_limited",  # 429 of a short window; `retry_after` says what the header holds
    "daily_limit",  # 429 of the day's budget: waiting does not help
    "server_error",  # `status` 500, 502, 503 ...
    "reset",  # the connection is closed without an answer; nothing took effect
    "delay",  # the ordinary answer, `seconds` late
    "lost_answer",  # the request takes effect, the answer never comes: closed after `seconds`
    "truncated",  # the ordinary answer breaks off in the middle of its body
    "expired_token",  # 401 as for a token that ran out
    "revoked_scope",  # 403: the credentials are right, and may not do this any more
    "repeated_cursor",  # the next page is said to be this one
    "garbage",  # 200 with a body that is not JSON
    "refused_batch",  # 400 for the whole request
    "partial",  # `rows` of the request fail, the others succeed
]
KINDS: tuple[str, ...] = get_args(Kind)


class Fault(Model):
    """One thing that goes wrong.

    match: a glob over the path with the vendor in front (`/hubspot/*`); without `*` a part of the path.
    after: how many matching requests go well before. times: how many then fail.
    retry_after: for rate_limited; seconds as text (`"2"`, the absurd `"3600"`), `"date"` for an HTTP date
    `seconds` ahead, None for no header at all. rows: positions in the request, for partial.
    """

    kind: Kind
    match: str = "*"
    method: str = ""
    times: int = Field(default=1, ge=0)
    after: int = Field(default=0, ge=0)
    retry_after: str | None = "1"
    status: int = Field(default=503, ge=500, le=599)
    seconds: float = Field(default=1.0, ge=0)
    rows: tuple[int, ...] = (0,)

    def retry_after_header(self) -> dict[str, str]:
        """Return the Retry-After header as asked for, or nothing."""
        if self.retry_after is None:
            return {}
        date = formatdate(time() + self.seconds, usegmt=True)
        return {"Retry-After": date if self.retry_after == "date" else self.retry_after}

    def concerns(self, method: str, path: str) -> bool:
        """Tell whether a request is one of those this fault waits for."""
        if self.method and self.method.upper() != method:
            return False
        return fnmatchcase(path, self.match) if "*" in self.match else self.match in path


class Faults:
    """The faults that are planned; every request asks once."""

    def __init__(self) -> None:
        self._planned: list[tuple[Fault, int]] = []  # with how many requests it has met
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Plan a fault behind those that are planned already."""
        with self._lock:
            self._planned.append((fault, 0))

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets, if any: the first planned wins, every match is counted."""
        with self._lock:
            chosen: Fault | None = None
            for place, (fault, met) in enumerate(self._planned):
                if fault.concerns(method, path):
                    self._planned[place] = fault, met + 1
                    if chosen is None and fault.after <= met < fault.after + fault.times:
                        chosen = fault
            return chosen

    def planned(self) -> Sequence[Fault]:
        """List the faults, spent ones too."""
        with self._lock:
            return [fault for fault, _ in self._planned]

    def clear(self) -> None:
        """Let everything go well from here on."""
        with self._lock:
            self._planned.clear()
