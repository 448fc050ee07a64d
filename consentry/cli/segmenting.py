"""segment: read, try, preview, compare and serve the segments of a job."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from consentry.cli.inspecting import JobArgument
from consentry.cli.options import HostOption, PortOption, listen
from consentry.cli.output import Output, OutputOption, console, emit, table
from consentry.errors import ConfigError
from consentry.pipeline import reasons, segmenting
from consentry.pipeline.load import load_job
from consentry.pipeline.lookup import Lookup
from consentry.pipeline.serving import lookup_server
from consentry.segments.format import format_rule
from consentry.segments.parse import parse
from consentry.segments.report import write_report
from consentry.segments.tree import to_tree

app = typer.Typer(help="Read, try, preview and compare the segments of a job.", no_args_is_help=True)
AtOption = Annotated[
    str | None, typer.Option(help="As of this day (its end) or instant, ISO 8601 with zone.", show_default=False)
]
SegmentOption = Annotated[str | None, typer.Option("--segment", help="Of this segment only.")]


@app.callback()
def segment() -> None:
    """Read, try, preview and compare the segments of a job."""


@app.command("lint")
def lint_command(
    job: JobArgument,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when there is a warning, too.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Name what is right by the language and probably not meant: dead rules, gaps of ladders, loose nots.

    Exits with 1 when there is an error.
    """
    found = segmenting.lint_segments(load_job(job))
    emit(output, {"remarks": found}, lambda: show_rows("Remarks", found, "nothing to remark"))
    grave = {"error", "warning"} if strict else {"error"}
    raise typer.Exit(1 if any(item["severity"] in grave for item in found) else 0)


@app.command("test")
def test_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """Decide the examples that segment files give; exit 1 when one comes out wrong."""
    loaded = load_job(job)
    found = segmenting.try_examples(loaded, loaded.job.as_of or datetime.now(UTC))
    wrong = [item for item in found if not item["passed"]]
    words = f"{len(found) - len(wrong)} of {len(found)} examples come out as they should."
    emit(output, {"ok": not wrong, "tests": found}, lambda: show_rows("Wrong examples", wrong, words))
    raise typer.Exit(1 if wrong else 0)


@app.command("preview")
def preview_command(job: JobArgument, only: SegmentOption = None, output: OutputOption = Output.text) -> None:
    """Count people before and after each gate: rule, group, consent, suppression, holdout. Nothing is published."""
    found = segmenting.preview_segments(load_job(job), only)
    emit(output, {"segments": found}, lambda: show_rows("People after each gate", found, "no segment"))


@app.command("explain")
def explain_command(
    job: JobArgument,
    person: Annotated[str, typer.Argument(help="A person id.", show_default=False)],
    at: AtOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Say for every segment whether a person is in it, and which condition decides. It shows personal values.

    With --at: whether they were in it then, since when and by which run, and what its conditions come to as of then.
    Attributes are those of then where the job keeps them (`keep_earlier`), else those of now; what disagrees is told.
    """
    loaded = load_job(job)
    if at is None:
        found = reasons.explain_member(loaded, person)
        emit(output, {"person_id": person, "segments": found}, lambda: _show_reasons(found))
        return
    instant = reasons.instant_asked(at, loaded.catalog.zone())
    if instant is None:
        raise ConfigError("--at is a day, such as 2026-01-31, or an instant with a zone, such as 2026-01-31T12:00:00Z.")
    told = reasons.explain_past(loaded, person, instant)
    emit(output, told, lambda: _show_past(told))


@app.command("overlap")
def overlap_command(
    job: JobArgument,
    threshold: Annotated[float | None, typer.Option(help="Pairs from this Jaccard index on, 0 to 1.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Compare every pair of segments exactly, and say which to merge or prune."""
    found = segmenting.overlap_of(load_job(job), threshold)
    emit(output, {"pairs": found}, lambda: show_rows("Segments that are alike", found, "No two segments are alike."))


@app.command("history")
def history_command(job: JobArgument, only: SegmentOption = None, output: OutputOption = Output.text) -> None:
    """List the sizes of segments, run by run."""
    found = segmenting.history_of(load_job(job), only)
    emit(output, {"history": found}, lambda: show_rows("Sizes", found, "no history"))


@app.command("diff")
def diff_command(
    job: JobArgument,
    run: Annotated[str | None, typer.Option(help="A run id; the last evaluation when not given.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Count who came into each segment and who left it."""
    found = segmenting.diff_of(load_job(job), run)
    emit(output, {"segments": found}, lambda: show_rows("Changes", found, "Nobody came or left."))


@app.command("refresh")
def refresh_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """Let people enter and leave by time alone, as of now; nothing is pulled and nothing sent."""
    found = segmenting.refresh_segments(load_job(job))
    rows = [
        {"segment": name, "members": n, "entered": found["entered"].get(name, 0), "left": found["left"].get(name, 0)}
        for name, n in sorted(found["members"].items())
    ]
    emit(output, found, lambda: show_rows("Refreshed", rows, "no segment"))


@app.command("format")
def format_command(
    rule: Annotated[str, typer.Argument(help="A rule, in quotes.", show_default=False)],
    tree: Annotated[bool, typer.Option("--tree", help="As a tree of plain data, for visual builders.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Write a rule in its one spelling, or as a tree."""
    text = format_rule(rule)
    result = {"rule": text, "tree": to_tree(parse(rule))}
    words = json.dumps(result["tree"], indent=2) if tree else text
    emit(output, result, lambda: console.print(words, markup=False, highlight=False, soft_wrap=True))


@app.command("report")
def report_command(
    job: JobArgument,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("segments.html"),
    output: OutputOption = Output.text,
) -> None:
    """Write one HTML page: sizes over time, an overlap heat map, and who moved between stages."""
    page = segmenting.report_of(load_job(job))
    write_report(page, out)
    emit(output, {"file": str(out)}, lambda: console.print(f"Wrote {out}.", style="green", markup=False))


@app.command("serve")
def serve_command(
    job: JobArgument,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8742,
    secret: Annotated[
        str, typer.Option("--secret-variable", help="The environment variable with the secret of whoever asks.")
    ] = "CONSENTRY_LOOKUP_SECRET",
) -> None:
    """Answer over HTTP whether a sync may know one person as a member, as last published and as consent stands now."""
    with closing(Lookup(load_job(job))) as lookup:
        served = lookup_server(lookup, variable=secret)
        console.print(f"Answering on http://{host}:{port}/people/; Ctrl-C ends it.", highlight=False)
        listen(served, host=host, port=port)


# Rows are plain JSON.
def show_rows(title: str, rows: list[dict[str, Any]], nothing: str) -> None:
    """Draw a table of rows, or say that there is none."""
    if not rows:
        console.print(nothing, markup=False)
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    shown = table(title, *columns)
    for row in rows:
        shown.add_row(*(_cell(row.get(name)) for name in columns))
    console.print(shown)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value).replace("[", "\\[")


def _show_past(told: dict[str, Any]) -> None:
    evaluation = told["evaluation"]
    lines = [f"As of the evaluation of {evaluation['at']}, run {evaluation['run_id']}.", *told["notes"]]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    _show_reasons(told["segments"])


def _show_reasons(found: list[dict[str, Any]]) -> None:
    for item in found:
        style = "bold" if item["member"] else "dim"
        console.print(_standing(item), style=style, markup=False, highlight=False, soft_wrap=True)
        if "remark" in item:
            console.print(f"  {item['remark']}", markup=False, highlight=False, soft_wrap=True)
        for reason in item["reasons"]:
            values = ", ".join(f"{name} = {value}" for name, value in reason["values"].items())
            line = f"  {'yes' if reason['holds'] else 'no '} {reason['condition']}"
            console.print(f"{line}  ({values})" if values else line, markup=False, highlight=False, soft_wrap=True)


def _standing(item: dict[str, Any]) -> str:
    text = f"{item['segment']}: {'in' if item['member'] else 'out'}"
    if "run_id" in item:
        text += f" since {item['since']}" if item["member"] else f", left {item['left']}"
        text += f" (run {item['run_id']})"
    return text
