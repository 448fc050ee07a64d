"""quarantine: rows that broke their contract, and what becomes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from consentry.cli.inspecting import JobArgument
from consentry.cli.output import Output, OutputOption, console, emit, table
from consentry.errors import ConfigError
from consentry.pipeline.load import load_job
from consentry.pipeline.quarantine import (
    Choice,
    discard_quarantine,
    erase_quarantined,
    export_quarantine,
    list_quarantine,
    replay_quarantine,
    show_quarantine,
)

app = typer.Typer(help="See the rows that broke their contract, and decide what becomes of them.", no_args_is_help=True)
StreamOption = Annotated[str | None, typer.Option("--stream", help="Of this stream only, as source.stream.")]
OneStreamOption = Annotated[str, typer.Option("--stream", help="The stream, as source.stream.", show_default=False)]
CodeOption = Annotated[str | None, typer.Option("--code", help="Only rows with a reason of this code.")]
RowOption = Annotated[list[int] | None, typer.Option("--row", help="A row's number; may be repeated.")]
RawOption = Annotated[bool, typer.Option("--raw", help="With the rows' content: personal data. The log notes it.")]


@app.callback()
def quarantine() -> None:
    """See the rows that broke their contract, and decide what becomes of them."""


@app.command("list")
def list_command(job: JobArgument, stream: StreamOption = None, output: OutputOption = Output.text) -> None:
    """Count what is in quarantine, by stream and reason."""
    found = list_quarantine(load_job(job), Choice(stream))
    emit(output, {"quarantine": found}, lambda: _show_list(found))


# Results are plain JSON.
def _show_list(found: list[dict[str, Any]]) -> None:
    if not found:
        console.print("Nothing is in quarantine.", style="green")
        return
    others = ("replayed", "superseded", "trimmed", "discarded", "erased")
    names = ["open", *(name for name in others if any(item[name] for item in found))]
    shown = table("Quarantine", "stream", *(f"#{name}" for name in names))
    reasons = table("Reasons of the open rows", "stream", "reason", "#rows")
    for item in found:
        shown.add_row(item["stream"], *(f"{item[name]:,}" for name in names))
        for code, rows in item["reasons"].items():
            reasons.add_row(item["stream"], code, f"{rows:,}")
    console.print(shown)
    if reasons.rows:
        console.print(reasons)


@app.command("show")
def show_command(
    job: JobArgument,
    stream: StreamOption = None,
    code: CodeOption = None,
    row: RowOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many rows.")] = 20,
    raw: RawOption = False,
    output: OutputOption = Output.text,
) -> None:
    """Show rows with all their reasons, oldest first."""
    choice = Choice(stream, code, tuple(row or ()))
    found = show_quarantine(load_job(job), choice, raw=raw, limit=limit)
    emit(output, {"rows": found}, lambda: _show_rows(found))


def _show_rows(found: list[dict[str, Any]]) -> None:
    if not found:
        console.print("No such rows.", style="green")
    for item in found:
        console.print(f"{item['stream']} row {item['_rid']}, first seen {item['first_seen']}", style="bold")
        for reason in item["reasons"]:
            line = f"  {reason['code']:<16} {reason['sentence']} ({reason['rule_id']})"
            console.print(line, markup=False, highlight=False)
        if "payload" in item:
            console.print("  " + json.dumps(item["payload"], ensure_ascii=False), markup=False, highlight=False)


@app.command("export")
def export_command(
    job: JobArgument,
    out: Annotated[Path, typer.Option("--out", help="The file to write, one JSON object a line.", show_default=False)],
    stream: StreamOption = None,
    code: CodeOption = None,
    raw: RawOption = False,
    output: OutputOption = Output.text,
) -> None:
    """Write rows with their reasons to a file; with --raw it can be corrected and replayed."""
    rows = export_quarantine(load_job(job), Choice(stream, code), out, raw=raw)
    words = f"{rows:,} rows written to {out}."
    emit(output, {"rows": rows, "file": str(out), "raw": raw}, lambda: console.print(words, markup=False))


@app.command("replay")
def replay_command(
    job: JobArgument,
    stream: StreamOption = None,
    code: CodeOption = None,
    fixes: Annotated[
        Path | None, typer.Option(help="Corrections, one JSON object a line: an export --raw, corrected.")
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Judge rows again, after the contract changed or with corrections; the next run takes what passes."""
    found = replay_quarantine(load_job(job), Choice(stream, code), fixes)
    emit(output, {"streams": found}, lambda: _show_replay(found))


def _show_replay(found: list[dict[str, Any]]) -> None:
    shown = table("Judged again", "stream", "#judged", "#mended", "#clean now", "#still in quarantine")
    for item in found:
        shown.add_row(item["stream"], *(f"{item[key]:,}" for key in ("judged", "mended", "clean", "quarantined")))
    console.print(shown)


@app.command("discard")
def discard_command(
    job: JobArgument,
    stream: OneStreamOption,
    why: Annotated[str, typer.Option("--why", help="The reason, for the audit log.", show_default=False)],
    code: CodeOption = None,
    row: RowOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Every open row of the stream.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Take rows out for good, content and all; they stay counted as discarded."""
    if not (code or row or everything):
        raise typer.BadParameter("Say which rows: --code, --row or --all.")
    done = discard_quarantine(load_job(job), Choice(stream, code, tuple(row or ())), why)
    words = f"{done:,} rows of {stream} discarded."
    emit(output, {"stream": stream, "discarded": done}, lambda: console.print(words, markup=False))


@app.command("erase")
def erase_command(
    job: JobArgument,
    identifiers: Annotated[
        Path, typer.Option(help='A JSON file: {"email": ["..."], "phone": ["..."]}.', show_default=False)
    ],
    output: OutputOption = Output.text,
) -> None:
    """Erase every quarantined row that holds one of a person's identifiers, and the row it was landed as."""
    done = erase_quarantined(load_job(job), _identifiers(identifiers))
    emit(output, {"erased": done}, lambda: console.print(f"{done:,} rows erased."))


def _identifiers(path: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: The file cannot be read ({type(error).__name__}).") from None
    if not isinstance(found, dict) or not all(isinstance(values, list) for values in found.values()):
        raise ConfigError(f'{path}: The file must look like {{"email": ["..."], "phone": ["..."]}}.')
    return {kind: [str(value) for value in values] for kind, values in found.items()}
