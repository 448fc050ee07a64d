"""What the simulator of one vendor is: its operations, its way to refuse, its state."""

from __future__ import annotations

import json
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from consentry.testing.sandbox.faults import Fault
from consentry.testing.sandbox.limits import Limit, Limiter, Window, exceeded

# Bodies of requests and answers are JSON of any shape until a handler has looked at them.
Json = Any


class Refused(Exception):
    """The vendor says no: a status, its machine-readable code and a sentence; `at` names the place at fault."""

    def __init__(self, status: int, code: str, detail: str, *, at: str = "", more: Mapping[str, Json] | None = None):
        super().__init__(detail)
        self.status, self.code, self.detail, self.at = status, code, detail, at
        self.more = dict(more or {})
        self.headers: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Call:
    """One request as a handler sees it."""

    request: Request
    body: bytes
    fault: Fault | None = None

    def path(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])

    def query(self, name: str, default: str = "") -> str:
        """Return a query parameter."""
        return self.request.query_params.get(name, default)

    def header(self, name: str) -> str:
        """Return a header, empty when absent."""
        return self.request.headers.get(name, "")

    def failing_rows(self) -> frozenset[int]:
        """Return the positions that a planned fault lets fail in this request."""
        return frozenset(self.fault.rows) if self.fault and self.fault.kind == "partial" else frozenset()

    def repeats_cursor(self) -> bool:
        """Tell whether a planned fault makes the vendor name the cursor of this page as the next."""
        return self.fault is not None and self.fault.kind == "repeated_cursor"


Handler = Callable[[Call], Response]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the vendor's API; operations with the same `quota` count together."""

    method: str
    path: str
    handler: Handler
    limits: tuple[Limit, ...] = ()
    quota: str = ""
    aliases: tuple[str, ...] = field(default=())


class Vendor(ABC):
    """Base of the simulators. State is in memory; `lock` guards it, since tests look at it from another thread.

    With `enforce_limits` a request above a limit gets the vendor's 429; without, limits are only counted in
    the headers, so that a test or a benchmark is not made to wait.
    """

    name: ClassVar[str]
    token: ClassVar[str]
    data_file: ClassVar[str | None] = None
    media_type: ClassVar[str] = "application/json"

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.limiter = Limiter()
        self.enforce_limits = False
        self._serial = 0
        self.reset()

    @abstractmethod
    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything: the state of a new account."""

    @abstractmethod
    def members(self) -> dict[str, list[str]]:
        """Return the members' ids of every list, by the list's name."""

    @abstractmethod
    def authenticate(self, call: Call) -> None:
        """Raise Refused unless the request is logged in and carries the headers the vendor asks for."""

    @abstractmethod
    def problem(self, refused: Refused) -> Response:
        """Write a refusal the way the vendor does."""

    @abstractmethod
    def fault_refusal(self, fault: Fault) -> Refused | None:
        """Return the refusal that a planned fault asks for, None when the fault is of another kind."""

    @abstractmethod
    def limit_headers(self, windows: list[Window]) -> dict[str, str]:
        """Return the rate headers of an ordinary answer."""

    @abstractmethod
    def limit_refusal(self, window: Window) -> Refused:
        """Return the refusal for an exceeded limit."""

    def load(self, path: Path) -> int:
        """Load the vendor's data from a file and return how many records; a vendor without data refuses."""
        raise ValueError(f"The {self.name} simulator takes no data file.")

    def environment(self, base_url: str) -> dict[str, str]:
        """Return the environment variables with which a job finds this simulator."""
        prefix = self.name.upper()
        return {f"{prefix}_BASE_URL": base_url, f"{prefix}_TOKEN": self.token}

    def routes(self) -> list[Route]:
        """Return the Starlette routes of all operations."""
        return [
            Route(path, self._endpoint(operation), methods=[operation.method])
            for operation in self.operations()
            for path in (operation.path, *operation.aliases)
        ]

    def answer(self, operation: Operation, call: Call) -> Response:
        """Answer one request as the vendor would, a planned fault included."""
        with self.lock:
            headers: dict[str, str] = {}
            try:
                self.authenticate(call)
                headers = self._count(operation)
                if call.fault and (refusal := self.fault_refusal(call.fault)):
                    raise refusal
                response = operation.handler(call)
            except Refused as refused:
                response = self.problem(refused)
                headers = refused.headers if refused.status == 429 else headers | refused.headers
        response.headers.update(headers)
        return response

    def json(self, content: Json, status: int = 200) -> Response:
        """Return a JSON answer in the vendor's media type."""
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        return Response(body, status, media_type=self.media_type)

    def next_id(self) -> int:
        """Return the next number; ids made from it are the same in every run."""
        self._serial += 1
        return self._serial

    def correlation_id(self) -> str:
        """Return an id for an error, the same in every run."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.name}-{self.next_id()}"))

    def _count(self, operation: Operation) -> dict[str, str]:
        if not operation.limits:
            return {}
        windows = self.limiter.take(operation.quota or f"{operation.method} {operation.path}", operation.limits)
        spent = exceeded(windows)
        if spent and self.enforce_limits:
            raise self.limit_refusal(spent)
        if not self.enforce_limits:
            # A client believes a header that says that nothing is left, and waits.
            windows = [replace(window, remaining=max(1, window.remaining)) for window in windows]
        return self.limit_headers(windows)

    def _endpoint(self, operation: Operation) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            fault = request.scope.get("consentry.fault")
            return self.answer(operation, Call(request, await request.body(), fault))

        return endpoint


# Records that a handler makes get times a millisecond apart, from a fixed start: two runs look alike.
START = datetime(2026, 1, 1, tzinfo=UTC)


def instant(serial: int, start: datetime = START) -> str:
    """Return the time of the n-th change in a simulator, ISO 8601 with milliseconds."""
    return (start + timedelta(milliseconds=serial)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole_number(text: str, *, least: int, most: int) -> int | None:
    """Return the number a query parameter holds when it lies in the range, else None."""
    return int(text) if text.isascii() and text.isdigit() and least <= int(text) <= most else None
