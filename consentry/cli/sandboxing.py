"""sandbox, demo: try everything on this machine, with no account."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from consentry.cli.demo import run_demo, show_demo
from consentry.cli.output import Output, OutputOption, console, emit, table
from consentry.testing.sandbox.server import PORT, serve


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("sandbox")(sandbox_command)
    app.command("demo")(demo_command)


def sandbox_command(
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.", min=0, max=65535)] = PORT,
    data: Annotated[
        Path | None, typer.Option(help="A folder with crm_contacts.jsonl; the quickstart's if absent.")
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Play the vendors' APIs on 127.0.0.1 until Ctrl-C."""

    def announce(environment: Mapping[str, str]) -> None:
        emit(output, {"environment": dict(environment)}, lambda: _show_environment(environment))

    serve(port, data, announce)


def _show_environment(environment: Mapping[str, str]) -> None:
    shown = table("The vendors are played here; these are also the quickstart's defaults", "variable", "value")
    for name, value in environment.items():
        shown.add_row(name, value)
    console.print(shown)
    console.print("Now, in another terminal: consentry run configs/quickstart/job.yaml\nCtrl-C ends it.")


def demo_command(
    output: OutputOption = Output.text,
    keep: Annotated[Path | None, typer.Option(help="Keep the state of the demo in this folder.")] = None,
) -> None:
    """Run the quickstart on two days: sync, let some people withdraw, see exactly those removed, prove it."""
    days: list[dict[str, Any]] = []
    code = run_demo(output, days, keep)
    if output is Output.text:
        show_demo(days)
    raise typer.Exit(code)
