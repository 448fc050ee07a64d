"""audit: check the log of decisions, offline."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from consentry.audit import Flow, flows, verify
from consentry.audit.read import lines
from consentry.audit.verify import UNREADABLE
from consentry.cli.output import Output, OutputOption, console, emit, table
from consentry.pipeline.load import load_job

app = typer.Typer(help="Check the log of everything that was decided.", no_args_is_help=True)


@app.callback()
def audit() -> None:
    """Check the log of everything that was decided."""


@app.command("verify")
def verify_command(
    place: Annotated[Path, typer.Argument(help="The log's folder, a job's state folder, or a job file.")],
    expect: Annotated[
        str | None, typer.Option(help="SIZE:HASH as noted earlier; shows whether the log's end was cut off.")
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Check that the log is the one that was written: exit 0 ok, 2 tampered, 3 gap or truncation, 5 unreadable."""
    noted = _noted(expect)
    verdict = verify(_folder(place), expect=noted)
    result = {
        "ok": verdict.ok,
        "exit_code": verdict.code,
        "events": verdict.events,
        "head": verdict.head,
        "event": verdict.event,
        "sentence": verdict.sentence,
    }
    colour = "green" if verdict.ok else "red"
    emit(
        output,
        result,
        lambda: console.print(
            f"{verdict.sentence}\nhead {verdict.events}:{verdict.head}", style=colour, soft_wrap=True
        ),
    )
    raise typer.Exit(verdict.code)


@app.command("flows")
def flows_command(
    place: Annotated[Path, typer.Argument(help="The log's folder, a job's state folder, or a job file.")],
    purpose: Annotated[str | None, typer.Option(help="Only what served this purpose.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Tell what data was read, used and sent for which purpose, by whom, how often and when last.

    Nothing but the log is needed, which `audit verify` checks. An event of several purposes counts under each.
    """
    folder = _folder(place)
    found = [flow for flow in flows(folder) if purpose in (None, flow.purpose)]
    if not found and not any(lines(folder)):
        console.print(f"There is no audit log in {folder}.", style="red")
        raise typer.Exit(UNREADABLE)
    emit(output, {"flows": [asdict(flow) for flow in found]}, lambda: _show_flows(found))


def _show_flows(found: list[Flow]) -> None:
    shown = table("Data flows", "purpose", "action", "of", "actor", "#events", "last")
    for flow in found:
        purpose = f"{flow.purpose or 'not stated'}{' (derived)' if flow.derived else ''}"
        shown.add_row(purpose, flow.action, flow.of or "", flow.actor, f"{flow.events:,}", f"{flow.last[:19]}Z")
    console.print(shown)


def _folder(place: Path) -> Path:
    if place.is_file():
        return load_job(place).state / "audit"
    return place / "audit" if (place / "audit").is_dir() else place


def _noted(expect: str | None) -> tuple[int, str] | None:
    if expect is None:
        return None
    size, _, head = expect.partition(":")
    if not size.isdigit() or len(head) != 64:
        console.print("--expect takes SIZE:HASH, as `audit verify` prints it.", style="red")
        raise typer.Exit(UNREADABLE)
    return int(size), head
