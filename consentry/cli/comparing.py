"""diff: what two snapshots of a table differ in."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from consentry.cli.output import Output, OutputOption, console, emit, errors, table
from consentry.cli.progress import Shown
from consentry.pipeline.comparing import ENOUGH, Wanted, compare_snapshots
from consentry.pipeline.job import MEMORY
from consentry.pipeline.load import load_job
from consentry.pipeline.progress import Silent
from consentry.validation.diff_html import diff_html
from consentry.validation.snapshot_diff import ASIDE, CELLS

KeyOption = Annotated[
    list[str] | None, typer.Option("--key", help="The column that names a row; more than once for a longer key.")
]
JobOption = Annotated[
    Path | None, typer.Option(help="The job of a source.stream; its clean rows, its key and its contract are taken.")
]
IgnoreOption = Annotated[
    list[str] | None, typer.Option("--ignore", help="A column that is not compared; more than once for more.")
]
ToleranceOption = Annotated[
    list[str] | None, typer.Option("--tolerance", help="By how much numbers may differ: 0.01, or price=0.01.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("diff")(diff_command)


def diff_command(
    old: Annotated[str, typer.Argument(help="The snapshot as it was: a file, or source.stream.", show_default=False)],
    new: Annotated[
        str, typer.Argument(help="The snapshot as it is now: a file, or source.stream.", show_default=False)
    ],
    key: KeyOption = None,
    contract: Annotated[str | None, typer.Option(help="The contract that reads both: a file, or module:Class.")] = None,
    job: JobOption = None,
    ignore: IgnoreOption = None,
    tolerance: ToleranceOption = None,
    keys: Annotated[int, typer.Option(min=0, help="Show so many keys of each kind. Personal data, maybe.")] = 0,
    show: Annotated[
        int, typer.Option(min=0, help="Show so many changed rows, cell by cell. Personal data, maybe.")
    ] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Write the numbers there, as one HTML page.")] = None,
    format: Annotated[str | None, typer.Option(help="The format of files whose name does not tell it.")] = None,
    encoding: Annotated[str | None, typer.Option(help="The encoding of text files, when it is not UTF-8.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="What parts the cells of CSV files.")] = None,
    memory_limit: Annotated[
        str, typer.Option(help="What the comparison may take; beyond that it uses the disk.")
    ] = ENOUGH,
    detailed_exitcode: Annotated[bool, typer.Option(help="Exit with 2 when the snapshots differ.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Compare two snapshots of a table by key, row by row and cell by cell; tell numbers, and no value unasked.

    A snapshot is a file (CSV, JSON lines, Parquet), files by a pattern, or with --job what is clean of a stream.
    """
    if not re.search(MEMORY, memory_limit):
        raise typer.BadParameter("Write it as 512MB or 2GB.", param_hint="--memory-limit")
    files = {"format": format, "encoding": encoding, "delimiter": delimiter}
    wanted = Wanted(
        old,
        new,
        loaded=load_job(job) if job else None,
        key=tuple(key or ()),
        contract=contract,
        file={name: value for name, value in files.items() if value is not None},
        ignore=tuple(ignore or ()),
        tolerance=dict(map(_tolerance, tolerance or ())),
        keys=keys,
        rows=show,
        memory=memory_limit,
    )
    with Shown(errors) as progress:
        found = compare_snapshots(wanted, progress if output is Output.text else Silent())
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(diff_html(found), encoding="utf-8")
    emit(output, {**found, "file": str(out) if out else None}, lambda: _show(found, out))
    raise typer.Exit(2 if found["differs"] and detailed_exitcode else 0)


def _tolerance(text: str) -> tuple[str, float]:
    column, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter("Write a number of 0 or more, as 0.01 or price=0.01.", param_hint="--tolerance")
    return column, value


# Results are plain JSON.
def _show(found: dict[str, Any], out: Path | None) -> None:
    console.print(_rows(found))
    if cells := _cells(found):
        console.print(cells)
    for verb, names in (("came", found["columns_added"]), ("went", found["columns_removed"])):
        if names:
            _say(f"Columns that {verb}: {', '.join(names)}.")
    for side in (found["old"], found["new"]):
        if side["first_malformed"]:
            _say(f"The first line of {side['label']} that is no record: record {side['first_malformed']:,}.")
    for kind, listed in found.get("keys", {}).items():
        for row in listed:
            _say(f"{kind}: {_key(row)}")
    for row in found.get("rows", ()):
        _say(_key(row["key"]))
        for column, (before, after) in row["cells"].items():
            _say(f"    {column}: {_value(before)} -> {_value(after)}")
    if not found["differs"]:
        console.print("Both say the same.", style="green")
    if out is not None:
        _say(f"The report is in {out}.")


def _rows(found: dict[str, Any]) -> Any:
    old, new = found["old"], found["new"]
    shown = table(f"Rows by {escape(', '.join(found['key']))}", "", *(f"#{escape(it['label'])}" for it in (old, new)))
    shown.add_row("all", f"{old['rows']:,}", f"{new['rows']:,}")
    for name, words in ASIDE.items():
        if old[name] or new[name]:
            shown.add_row(f"[yellow]{words}[/yellow]", f"{old[name]:,}", f"{new[name]:,}")
    shown.add_row("removed", f"{found['removed']:,}", "")
    shown.add_row("added", "", f"{found['added']:,}")
    for name in ("changed", "same"):
        shown.add_row(name, f"{found[name]:,}", f"{found[name]:,}")
    return shown


def _cells(found: dict[str, Any]) -> Any:
    """Draw the columns in which anything is not the same, and what became of their cells; None when there are none."""
    told = [it for it in found["columns"] if it["types"] or any(it["unreadable"]) or any(it[name] for name in CELLS)]
    heads = {name: words for name, words in CELLS.items() if any(it[name] for it in told)}
    beside = {"unreadable": "#unreadable", "types": "type"}
    more = [name for name in beside if any(any(it[name] or ()) for it in told)]
    shown = table(
        "Cells of rows in both", "column", *(f"#{words}" for words in heads.values()), *(beside[name] for name in more)
    )
    for it in told:
        numbers = [f"{it[name]:,}" if it[name] else "" for name in heads]
        pairs = [" -> ".join(map(str, it[name])) if any(it[name] or ()) else "" for name in more]
        shown.add_row(escape(it["column"]), *numbers, *pairs)
    return shown if told else None


def _say(sentence: str) -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _key(key: list[str]) -> str:
    """Write a key; one that would move the cursor, or worse, as Python would."""
    return ", ".join(part if part.isprintable() else repr(part) for part in key)


def _value(value: str | None) -> str:
    return "(missing)" if value is None else repr(value)
