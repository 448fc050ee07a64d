"""init: begin a job of your own."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from consentry.cli.output import Output, OutputOption, console, emit
from consentry.errors import ConfigError

# What has to run beside a template's job.
BESIDE = {
    "quickstart": "consentry sandbox   (in another terminal)",
    "tracking": "consentry collect serve {folder}/events   (in another terminal; see docs/collecting.md)",
}
TEMPLATES = Path(str(resources.files("consentry.configs")))


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("init")(init_command)


def init_command(
    folder: Annotated[Path, typer.Argument(help="Where the job is written; a new or empty folder.")],
    template: Annotated[str, typer.Option(help="Which example to begin from.")] = "quickstart",
    output: OutputOption = Output.text,
) -> None:
    """Write a job with its contracts, policy and segments, to change into your own."""
    source = TEMPLATES / template
    if not (source / "job.yaml").is_file():
        known = ", ".join(sorted(path.parent.name for path in TEMPLATES.glob("*/job.yaml")))
        raise ConfigError(f"There is no template {template!r}. There are: {known}.")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty. Name a new folder.")
    shutil.copytree(source, folder, dirs_exist_ok=True)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    emit(output, {"folder": str(folder), "files": files}, lambda: _show(folder, files, BESIDE[template]))


def _show(folder: Path, files: list[str], beside: str) -> None:
    console.print(f"Wrote {len(files)} files to {folder}. Next:", markup=False)
    for command in (f"consentry validate {folder}/job.yaml", beside.format(folder=folder)):
        console.print(f"  {command}", markup=False, soft_wrap=True)
    console.print(f"  consentry run {folder}/job.yaml", markup=False)
