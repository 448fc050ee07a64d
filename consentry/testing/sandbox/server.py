"""Start and stop the sandbox: in a thread for tests and the demo, or until it is told to end."""

from __future__ import annotations

import errno
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn

from consentry.errors import ConfigError, StopRun
from consentry.testing.sandbox.app import Seen, build, reset
from consentry.testing.sandbox.faults import Fault, Faults
from consentry.testing.sandbox.hubspot import HubSpot
from consentry.testing.sandbox.klaviyo import Klaviyo
from consentry.testing.sandbox.vendors import VENDORS

HOST = "127.0.0.1"
PORT = 8731
QUICKSTART = Path(str(resources.files("consentry.configs"))) / "quickstart" / "data"
# A list of 2,000 properties makes a long request line; h11 would drop it before the vendor could say 414.
_HEAD_MAX = 1 << 20


class Sandbox:
    """The vendors' simulators on a local port.

        with Sandbox() as sandbox:
            sandbox.fault("rate_limited", match="/hubspot/*", retry_after="date")
            run(environment=sandbox.environment())
            assert sandbox.klaviyo.members() == {"Newsletter": [...]}

    port: 0 for any free one. data_folder: where the vendors' files lie; the quickstart's when absent.
    Raises ConfigError when the port is taken.
    """

    def __init__(self, port: int = 0, *, data_folder: Path | None = None, enforce_limits: bool = False) -> None:
        self._port = port
        self._data_folder = data_folder
        self.vendors = {vendor.name: vendor() for vendor in VENDORS}
        self.faults = Faults()
        self._guard = build(self.vendors, self.faults)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.enforce_limits(enforce_limits)
        self.load()

    @property
    def hubspot(self) -> HubSpot:
        """The state of the HubSpot simulator."""
        vendor = self.vendors["hubspot"]
        assert isinstance(vendor, HubSpot)
        return vendor

    @property
    def klaviyo(self) -> Klaviyo:
        """The state of the Klaviyo simulator."""
        vendor = self.vendors["klaviyo"]
        assert isinstance(vendor, Klaviyo)
        return vendor

    @property
    def requests(self) -> list[Seen]:
        """The requests that reached a vendor, in order."""
        return list(self._guard.seen)

    @property
    def app(self) -> Any:  # an ASGI application; starlette's own type is a bare callable
        """The application itself, for a client that needs no socket."""
        return self._guard

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    def url(self, vendor: str) -> str:
        """Return the base URL under which a vendor is played."""
        return f"http://{HOST}:{self._port}/{vendor}"

    def environment(self) -> dict[str, str]:
        """Return the environment variables with which a job uses the sandbox in place of the vendors."""
        named = (vendor.environment(self.url(name)) for name, vendor in self.vendors.items())
        return {key: value for variables in named for key, value in variables.items()}

    def fault(self, kind: str, **how: Any) -> None:  # the values of Fault's fields, which it checks
        """Plan a fault; see `Fault` for what can be said."""
        self.faults.add(Fault.model_validate({"kind": kind, **how}))

    def clear_faults(self) -> None:
        """Let everything go well from here on."""
        self.faults.clear()

    def forget_requests(self) -> None:
        """Begin a new list of requests."""
        self._guard.seen.clear()

    def enforce_limits(self, on: bool = True) -> None:
        """Answer 429 above the vendors' limits, or only count."""
        for vendor in self.vendors.values():
            vendor.enforce_limits = on

    def reset(self) -> None:
        """Return to the state at the start: the data loaded, nothing written."""
        reset(self.vendors, self.faults, self._guard)
        self.load()

    def load(self) -> None:
        """Load each vendor's file of the data folder, where there is one."""
        folder = self._data_folder or QUICKSTART
        files = {vendor: folder / vendor.data_file for vendor in self.vendors.values() if vendor.data_file}
        there = {vendor: file for vendor, file in files.items() if file.is_file()}
        if self._data_folder and not there:
            wanted = " or ".join(file.name for file in files.values())
            raise ConfigError(f"The folder {folder} holds no {wanted}. Name a folder that does.", code="no_data")
        for vendor, file in there.items():
            vendor.load(file)

    def start(self) -> Sandbox:
        """Begin to listen; returns when requests are answered."""
        listener = _listen(self._port)
        self._port = listener.getsockname()[1]
        self._guard.closing = False
        server = uvicorn.Server(_settings(self._guard))
        self._server = server
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        self._await_start(server, self._thread)
        return self

    def stop(self) -> None:
        """Stop listening; requests under way are cut off."""
        if self._server is None or self._thread is None:
            return
        self._guard.closing = True
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._server = self._thread = None

    def _await_start(self, server: uvicorn.Server, thread: threading.Thread) -> None:
        end = time.monotonic() + 10
        while not server.started:
            if not thread.is_alive() or time.monotonic() > end:
                raise StopRun("The sandbox did not start. Try another port.", code="sandbox")
            time.sleep(0.005)

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(
    port: int = PORT,
    data_folder: Path | None = None,
    announce: Callable[[Mapping[str, str]], None] = lambda environment: None,
) -> None:
    """Run the sandbox until the process is told to end (Ctrl-C or SIGTERM).

    announce: called once requests are answered, with the environment variables a job needs.
    """
    ended = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    try:
        with Sandbox(port, data_folder=data_folder) as sandbox:
            announce(sandbox.environment())
            while not ended.wait(0.2):
                pass
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)


def _settings(app: Any) -> uvicorn.Config:  # an ASGI application, see Sandbox.app
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        http="h11",
        ws="none",
        h11_max_incomplete_event_size=_HEAD_MAX,
        timeout_graceful_shutdown=1,
    )


def _listen(port: int) -> socket.socket:
    # asyncio switches Nagle's algorithm off only for sockets that say that they are TCP; with it on, every
    # answer waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(512)
    except OverflowError:
        listener.close()
        raise ConfigError(
            f"{port} is no port. Choose one from 1 to 65535, or 0 for any free one.", code="port"
        ) from None
    except OSError as error:
        listener.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        message = f"Port {port} on {HOST} {reason}. End the program that listens there, or choose another port."
        raise ConfigError(message, code="port_in_use") from None
    return listener
