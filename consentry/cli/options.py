"""Options that several commands share: an identifier, which is never printed, and where a server listens."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
import uvicorn
from starlette.applications import Starlette

ByOption = Annotated[str, typer.Option("--by", help="The type of the identifier, e.g. email.")]
ValueOption = Annotated[str, typer.Option("--value", help="The identifier; `-` reads it from standard input.")]
RegionOption = Annotated[str | None, typer.Option(help="Country of a phone number without its country code.")]

HostOption = Annotated[str, typer.Option(help="Where to listen; put TLS before anything but this machine.")]
PortOption = Annotated[int, typer.Option(help="The port.")]


def value_of(value: str) -> str:
    """Return an identifier as it was given, or read it from standard input, so that no shell remembers it."""
    return sys.stdin.readline().strip() if value == "-" else value


def listen(app: Starlette, *, host: str, port: int) -> None:
    """Serve until it is stopped. What is asked stands in no log: paths and headers can name people."""
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False, server_header=False)
