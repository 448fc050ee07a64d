"""What a command prints: text for people, one JSON object a line for programs, errors on stderr."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from consentry.errors import ConfigError, ConsentryError

console = Console()
errors = Console(stderr=True)


class Output(StrEnum):
    """How a command answers."""

    text = "text"
    json = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text for people, json for programs.")]


# A result is whatever JSON can hold.
def emit(output: Output, result: Mapping[str, Any], show: Callable[[], None]) -> None:
    """Print a result: as one line of JSON, or as `show` draws it."""
    if output is Output.json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        show()


def table(title: str, *columns: str) -> Table:
    """Make a table; a column whose name begins with '#' holds numbers. What is too wide goes on in the next line."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold", expand=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.startswith("#") else "left"
        made.add_column(column.removeprefix("#"), justify=justify, overflow="fold")
    return made


def report(error: ConsentryError, output: Output) -> int:
    """Print an error and return the exit code of the command."""
    faults = list(error.faults) if isinstance(error, ConfigError) else [str(error)]
    if output is Output.json:
        sys.stderr.write(json.dumps({"error": error.code, "exit_code": error.exit_code, "faults": faults}) + "\n")
    else:
        for fault in faults:
            errors.print(fault, style="red", markup=False, highlight=False, soft_wrap=True)
    return error.exit_code


def report_fault_of_ours(error: BaseException, *, debug: bool) -> int:
    """Print an error that nobody foresaw: its kind and place only, since its text may quote personal data."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "consentry" in f.filename] or frames
    place = f"{ours[-1].filename.rsplit('/', 2)[-1]}:{ours[-1].lineno}" if ours else "an unknown place"
    errors.print(
        f"consentry failed in a way it did not foresee ({type(error).__name__} at {place}). Nothing more was sent. "
        "Set CONSENTRY_DEBUG=1 to see the whole path; it may quote data.",
        style="red",
        markup=False,
        soft_wrap=True,
    )
    if debug:
        traceback.print_exception(error)
    return 1
