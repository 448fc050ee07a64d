"""The sandbox as one Starlette application: the vendors under their names, the controls under `/_sandbox`."""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consentry.testing.sandbox.faults import Fault, Faults
from consentry.testing.sandbox.vendor import Vendor

CONTROLS = "/_sandbox"
GARBAGE = b"<html><body>Please come back later</body></html>"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that reached a vendor: never its query or body, which may hold personal values."""

    method: str
    path: str


class Guard:
    """The outermost layer: notes each request, and does to the connection what a planned fault asks for."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self.app = app
        self.faults = faults
        self.seen: deque[Seen] = deque(maxlen=100_000)
        self.closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROLS):
            return await self.app(scope, receive, send)
        method, path = scope["method"], scope["path"]
        self.seen.append(Seen(method, path))
        fault = self.faults.take(method, path)
        if fault is None:
            return await self.app(scope, receive, send)
        return await self._fail(fault, {**scope, "consentry.fault": fault}, receive, send)

    async def _fail(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.kind:
            case "reset":
                _hang_up(send)
            case "delay":
                await self._wait(fault.seconds)
                await self.app(scope, receive, send)
            case "lost_answer":
                await self._capture(scope, receive)
                await self._wait(fault.seconds)
                _hang_up(send)
            case "truncated":
                await self._truncate(scope, receive, send)
            case "garbage":
                await Response(GARBAGE, media_type="text/html")(scope, receive, send)
            case _:
                await self.app(scope, receive, send)

    async def _capture(self, scope: Scope, receive: Receive) -> list[Message]:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app(scope, receive, keep)
        return messages

    async def _truncate(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, *bodies = await self._capture(scope, receive)
        body = b"".join(message.get("body", b"") for message in bodies)
        await send(start)  # its Content-Length announces the whole body
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await asyncio.sleep(0.01)  # the half must be on its way before the connection goes
        _hang_up(send)

    async def _wait(self, seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        while clock() < end and not self.closing:
            await asyncio.sleep(min(0.02, max(0.0, end - clock())))


def _hang_up(send: Send) -> None:
    """Close the connection without a further word. ASGI has no message for it: uvicorn's own transport is asked."""
    cycle = getattr(send, "__self__", None)
    if cycle is None or not hasattr(cycle, "transport"):
        raise ConnectionResetError("The sandbox closed the connection, as a planned fault asked for.")
    cycle.transport.close()
    # uvicorn writes an error page for a request without answer unless it knows that nobody listens.
    cycle.disconnected = True


def build(vendors: Mapping[str, Vendor], faults: Faults) -> Guard:
    """Put the vendors and the controls together."""
    controls = Controls(vendors, faults)
    mounts = [
        Mount(f"/{name}", app=Router(vendor.routes(), redirect_slashes=False)) for name, vendor in vendors.items()
    ]
    guard = Guard(Starlette(routes=[Mount(CONTROLS, routes=controls.routes()), *mounts]), faults)
    controls.guard = guard
    return guard


class Controls:
    """The controls over HTTP, for a sandbox that runs as a process of its own."""

    guard: Guard

    def __init__(self, vendors: Mapping[str, Vendor], faults: Faults) -> None:
        self.vendors, self.faults = vendors, faults

    def routes(self) -> list[Route]:
        """List the controls."""
        table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("GET", "/health", self.health),
            ("POST", "/reset", self.reset),
            ("POST", "/load/{vendor}", self.load),
            ("GET", "/members/{vendor}", self.members),
            ("GET", "/requests", self.requests),
            ("DELETE", "/requests", self.forget_requests),
            ("GET", "/faults", self.list_faults),
            ("POST", "/faults", self.add_fault),
            ("DELETE", "/faults", self.clear_faults),
            ("POST", "/limits/{switch}", self.limits),
        ]
        return [Route(path, endpoint, methods=[method]) for method, path, endpoint in table]

    async def health(self, request: Request) -> Response:
        """Say that the sandbox runs, and which vendors it plays."""
        return JSONResponse({"vendors": sorted(self.vendors)})

    async def reset(self, request: Request) -> Response:
        """Forget all state, faults and requests."""
        reset(self.vendors, self.faults, self.guard)
        return Response(status_code=204)

    async def load(self, request: Request) -> Response:
        """Load the body, a data file of the vendor, into its state."""
        vendor = self._vendor(request)
        if vendor is None:
            return _unknown(request)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data.jsonl"
            path.write_bytes(await request.body())
            try:
                return JSONResponse({"loaded": vendor.load(path)})
            except ValueError as error:
                return JSONResponse({"message": str(error)}, 400)

    async def members(self, request: Request) -> Response:
        """Return who is in which list of a vendor."""
        vendor = self._vendor(request)
        return JSONResponse(vendor.members()) if vendor else _unknown(request)

    async def requests(self, request: Request) -> Response:
        """List the requests that reached the vendors."""
        return JSONResponse([asdict(seen) for seen in self.guard.seen])

    async def forget_requests(self, request: Request) -> Response:
        """Begin a new list of requests."""
        self.guard.seen.clear()
        return Response(status_code=204)

    async def list_faults(self, request: Request) -> Response:
        """List the planned faults."""
        return JSONResponse([fault.model_dump(mode="json") for fault in self.faults.planned()])

    async def add_fault(self, request: Request) -> Response:
        """Plan the fault in the body."""
        try:
            self.faults.add(Fault.model_validate_json(await request.body()))
        except ValidationError as error:
            return JSONResponse({"message": str(error)}, 400)
        return Response(status_code=204)

    async def clear_faults(self, request: Request) -> Response:
        """Let everything go well from here on."""
        self.faults.clear()
        return Response(status_code=204)

    async def limits(self, request: Request) -> Response:
        """Switch the enforcing of rate limits `on` or `off`."""
        for vendor in self.vendors.values():
            vendor.enforce_limits = request.path_params["switch"] == "on"
        return Response(status_code=204)

    def _vendor(self, request: Request) -> Vendor | None:
        return self.vendors.get(request.path_params["vendor"])


def reset(vendors: Mapping[str, Vendor], faults: Faults, guard: Guard) -> None:
    """Forget all state, faults and requests."""
    faults.clear()
    guard.seen.clear()
    for vendor in vendors.values():
        with vendor.lock:
            vendor.limiter.clear()
            vendor.reset()


def _unknown(request: Request) -> Response:
    body: dict[str, Any] = {"message": f"The sandbox does not play {request.path_params['vendor']!r}."}
    return JSONResponse(body, 404)
