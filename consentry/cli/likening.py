"""identity train: weights of likeness from the job's own records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consentry.cli.identifying import app
from consentry.cli.inspecting import JobArgument
from consentry.cli.output import Output, OutputOption, console, emit
from consentry.pipeline.likening import train_model
from consentry.pipeline.load import load_job


def register(root: typer.Typer) -> None:
    """Add the command to the group `identity`, which stands already."""
    del root
    app.command("train")(train_command)


def train_command(
    job: JobArgument,
    seed: Annotated[int, typer.Option("--seed", help="Of the random pairs; the same seed, the same model.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", help="File to write; by default in the state folder.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Train the weights of likeness on the job's own records, without labels."""
    found = train_model(load_job(job), seed=seed, out=out)
    emit(
        output,
        found,
        lambda: console.print(
            f"Trained on {found['records']:,} records. To use it, set identity.similar.model: {found['model']}",
            markup=False,
            highlight=False,
        ),
    )
