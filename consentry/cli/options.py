"""Options that several commands share: an identifier, which is never printed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

ByOption = Annotated[str, typer.Option("--by", help="The type of the identifier, e.g. email.")]
ValueOption = Annotated[str, typer.Option("--value", help="The identifier; `-` reads it from standard input.")]
RegionOption = Annotated[str | None, typer.Option(help="Country of a phone number without its country code.")]


def value_of(value: str) -> str:
    """Return an identifier as it was given, or read it from standard input, so that no shell remembers it."""
    return sys.stdin.readline().strip() if value == "-" else value
