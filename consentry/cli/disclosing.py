"""consent access, policy register: what is told to a person who asks, and to an authority that asks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from consentry.cli.inspecting import JobArgument
from consentry.cli.options import ByOption, RegionOption, ValueOption, value_of
from consentry.cli.output import Output, OutputOption, console, emit, table
from consentry.errors import ConfigError
from consentry.pipeline.access import access
from consentry.pipeline.load import load_job
from consentry.pipeline.register import register


def access_command(
    job: JobArgument,
    by: ByOption,
    value: ValueOption,
    out: Annotated[Path, typer.Option(help="The file to write, readable by you alone; it must not be there yet.")],
    region: RegionOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Write all that the job holds of one person, and who was given it, as JSON: for that person."""
    found = access(load_job(job), by, value_of(value), region)
    _write_private(out, json.dumps(found, ensure_ascii=False, indent=2, default=str))
    told = {"file": str(out), "people": len(found["people"])}
    emit(output, told, lambda: console.print(f"Written to {out}.", markup=False, highlight=False))


def register_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """Render the register of processing (GDPR Art. 30) from the policy and the job."""
    found = register(load_job(job))
    emit(output, found, lambda: _show_register(found))


def _show_register(found: dict[str, Any]) -> None:
    named = found["controller"]
    words = f"{named['name']}, {named['contact']}" if named else "The policy names no controller."
    console.print(words, markup=False, highlight=False)
    shown = table("Processing", "purpose", "basis", "recipient", "role", "transfer", "data")
    for one in found["processing"]:
        basis = ", ".join(f"{regime}: {what}" for regime, what in one["basis"].items())
        for to in one["recipients"] or [{"name": "-", "role": "-", "transfer": {}, "identifiers": {}, "fields": {}}]:
            data = ", ".join([*to["identifiers"], *to["fields"]])
            shown.add_row(one["purpose"], basis, to["name"], to["role"], to["transfer"].get("mechanism", "-"), data)
    console.print(shown)


def _write_private(path: Path, text: str) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: The file cannot be made ({error.strerror}). Name one that is not there.") from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text + "\n")
