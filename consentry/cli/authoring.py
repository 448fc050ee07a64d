"""connectors new, connectors describe: write a connector of your own, and read about those there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consentry.cli.output import Output, OutputOption, console, emit
from consentry.connectors.pages import described, page
from consentry.connectors.registry import connector
from consentry.connectors.template import write_package


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the group `connectors`."""
    app.command("new")(new_command)
    app.command("describe")(describe_command)


def new_command(
    name: Annotated[str, typer.Argument(help="What jobs will call it: lower-case letters, digits, '_'.")],
    folder: Annotated[Path, typer.Option(help="Where its package goes.")] = Path(),
    output: OutputOption = Output.text,
) -> None:
    """Write a source of your own: a package that works, with its test."""
    files = write_package(name, folder)
    words = f"Wrote {', '.join(file.name for file in files)} to {files[0].parent}. Install it with pip, and run pytest."
    emit(output, {"type": name, "files": [str(file) for file in files]}, lambda: console.print(words, markup=False))


def describe_command(
    name: Annotated[str, typer.Argument(help="The connector's type.")], output: OutputOption = Output.text
) -> None:
    """Print a connector's settings, options, capabilities and proof level."""
    kind = connector(name)
    emit(output, described(name, kind), lambda: console.print(page(name, kind), markup=False, highlight=False))
