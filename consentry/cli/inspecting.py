"""validate, check, discover, connectors: look before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from consentry.cli.output import Output, OutputOption, console, emit, table
from consentry.connectors.pages import roles
from consentry.connectors.registry import connectors
from consentry.pipeline.inspect import check_job, discover_job
from consentry.pipeline.load import load_job
from consentry.pipeline.schema import job_schema

connectors_app = typer.Typer(help="See which connectors are installed.", no_args_is_help=True)
JobArgument = Annotated[Path, typer.Argument(help="The job's YAML file.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("validate")(validate_command)
    app.command("check")(check_command)
    app.command("discover")(discover_command)


def validate_command(
    job: Annotated[Path | None, typer.Argument(help="The job's YAML file.", show_default=False)] = None,
    schema: Annotated[bool, typer.Option(help="Print the JSON Schema of job files instead, for editors.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Read a job and everything it names; show every fault with its file and line. Nothing is called."""
    if schema:
        typer.echo(job_schema())
        return
    if job is None:
        raise typer.BadParameter("Name a job file, or ask for --schema.")
    loaded = load_job(job)
    result = {
        "job": loaded.job.job,
        "ok": True,
        "sources": list(loaded.job.sources),
        "segments": [segment.name for segment in loaded.segments],
        "syncs": list(loaded.job.syncs),
        "sha256": loaded.sha256,
    }
    counted = {"sources": loaded.job.sources, "segments": loaded.segments, "syncs": loaded.job.syncs}
    words = f"{job} is valid: " + ", ".join(f"{len(found)} {what}" for what, found in counted.items()) + "."
    emit(output, result, lambda: console.print(words, style="green", markup=False))


def check_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """Log in to every source and destination, and say what may be read and written."""
    found = check_job(load_job(job))
    emit(output, {"ok": all(item["ok"] for item in found), "connections": found}, lambda: _show_checks(found))
    raise typer.Exit(0 if all(item["ok"] for item in found) else 1)


# Results are plain JSON.
def _show_checks(found: list[dict[str, Any]]) -> None:
    shown = table("Connections", "kind", "name", "type", "ok", "what")
    for item in found:
        mark = "[green]yes[/green]" if item["ok"] else "[red]no[/red]"
        shown.add_row(item["kind"], item["name"], item["type"], mark, item["sentence"])
    console.print(shown)


def discover_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """List the streams of every source, with their keys and columns."""
    found = discover_job(load_job(job))
    emit(output, {"streams": found}, lambda: _show_streams(found))


def _show_streams(found: list[dict[str, Any]]) -> None:
    shown = table("Streams", "source", "stream", "primary key", "cursor", "columns")
    for item in found:
        units = {name: f" ({unit})" for name, unit in item["units"].items()}
        columns = ", ".join(f"{name} {kind}{units.get(name, '')}" for name, kind in item["columns"].items())
        shown.add_row(item["source"], item["stream"], ", ".join(item["primary_key"]), item["cursor"] or "", columns)
    console.print(shown)


@connectors_app.callback()
def connectors_group() -> None:
    """See which connectors are installed."""


@connectors_app.command("list")
def list_command(output: OutputOption = Output.text) -> None:
    """List the connectors that a job can name, ours and yours."""
    found = [_described(name, kind) for name, kind in sorted(connectors().items())]
    emit(output, {"connectors": found}, lambda: _show_connectors(found))


def _described(name: str, kind: type) -> dict[str, Any]:
    first = (kind.__doc__ or "").strip().splitlines()
    return {
        "type": name,
        "roles": roles(kind),
        "description": first[0] if first else "",
        "class": f"{kind.__module__}:{kind.__qualname__}",
    }


def _show_connectors(found: list[dict[str, Any]]) -> None:
    shown = table("Connectors", "type", "as", "what")
    for item in found:
        shown.add_row(item["type"], ", ".join(item["roles"]), item["description"])
    console.print(shown)
