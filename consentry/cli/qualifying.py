"""quality: how good the data is, over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from consentry.cli.inspecting import JobArgument
from consentry.cli.output import Output, OutputOption, console, emit, table
from consentry.pipeline.load import load_job
from consentry.pipeline.quality import quality_metrics, quality_of, quality_page

app = typer.Typer(help="See how good the data is, over time.", no_args_is_help=True)


@app.callback()
def quality() -> None:
    """See how good the data is, over time."""


@app.command("report")
def report_command(
    job: JobArgument,
    out: Annotated[Path | None, typer.Option("--out", help="Write the report there, as one HTML page.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Show scores, broken rules and alarms of every stream; with --out as a page with charts."""
    found = quality_of(load_job(job))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(quality_page(found), encoding="utf-8")
    emit(output, {**found, "file": str(out) if out else None}, lambda: _show(found, out))


# Results are plain JSON.
def _show(found: dict[str, Any], out: Path | None) -> None:
    shown = table(f"Quality of {found['job']}", "stream", "#score", "weakest", "#broke the contract", "alarms")
    for stream in found["streams"]:
        now = {name: value for name, value in (stream["scores"] or [{}])[-1].items() if name != "scored_at"}
        score = f"{now.pop('overall'):.1f}" if now else ""
        weakest = min(now, key=lambda name: now[name], default="")
        last = stream["loads"][-1] if stream["loads"] else None
        bad = f"{last['quarantined']:,} of {last['rows']:,}" if last else "no load yet"
        alarms = ", ".join(sorted({item["kind"] for item in stream["findings"]}))
        shown.add_row(stream["stream"], score, f"{weakest} {now[weakest]:.1f}" if weakest else "", bad, alarms)
    console.print(shown)
    if out is not None:
        console.print(f"The report is in {out}.", markup=False)


@app.command("metrics")
def metrics_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """Print the numbers as Prometheus reads them, for its textfile collector or an OpenTelemetry collector."""
    text = quality_metrics(quality_of(load_job(job)))
    emit(output, {"metrics": text}, lambda: typer.echo(text, nl=False))
