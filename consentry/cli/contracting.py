"""contract: draft, compare and try the contracts of streams."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from consentry.cli.inspecting import JobArgument
from consentry.cli.output import Output, OutputOption, console, emit, table
from consentry.config import Faults
from consentry.errors import ConfigError
from consentry.pipeline.drafting import draft
from consentry.validation.contract import Contract, read_contract
from consentry.validation.contract_diff import Change, contract_diff
from consentry.validation.contract_test import Tried, try_examples
from consentry.validation.json_schema import from_json_schema
from consentry.validation.write import yaml_text

app = typer.Typer(help="Draft, compare and try contracts.", no_args_is_help=True)


@app.callback()
def contract() -> None:
    """Draft, compare and try contracts."""


@app.command("infer")
def infer_command(
    job: JobArgument,
    stream: Annotated[str, typer.Argument(help="The stream, as source.stream.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; it must not exist yet.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Draft a contract from the data of a stream, for you to read and tighten."""
    _write(draft(job, stream), out, output)


@app.command("from-schema")
def from_schema_command(
    schema: Annotated[Path, typer.Argument(help="A JSON Schema file of one record.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; it must not exist yet.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Turn a JSON Schema into a contract; refuse what a contract cannot say the same way."""
    faults = Faults()
    name = re.sub(r"[^a-z0-9_]+", "_", schema.name.split(".")[0].lower()).strip("_") or "records"
    found = from_json_schema(schema, faults, name=name)
    faults.check()
    _write(found or {}, out, output)


# A contract file is plain YAML.
def _write(found: dict[str, Any], out: Path | None, output: Output) -> None:
    text = yaml_text(found)
    if out is not None:
        if out.exists():
            raise ConfigError(f"{out} exists already. Name another file, or remove it.")
        out.write_text(text, encoding="utf-8")
    words = text if out is None else f"{len(found['columns'])} columns written to {out}. Read every line of it."
    emit(output, {"contract": found, "file": str(out) if out else None}, lambda: typer.echo(words))


@app.command("diff")
def diff_command(
    old: Annotated[str, typer.Argument(help="The contract as it was: a file, or module:Class.", show_default=False)],
    new: Annotated[str, typer.Argument(help="The contract as it is now.", show_default=False)],
    output: OutputOption = Output.text,
) -> None:
    """Name what two contracts ask differently, and whether the second one is stricter."""
    found = contract_diff(_read(old), _read(new))
    emit(output, {"changes": [asdict(change) for change in found]}, lambda: _show_diff(found))


def _show_diff(found: list[Change]) -> None:
    if not found:
        console.print("Both ask the same.", style="green")
        return
    shown = table("Changes", "where", "before", "after", "effect")
    for change in found:
        before, after = ("" if value is None else str(value) for value in (change.before, change.after))
        shown.add_row(change.where, before, after, change.effect)
    console.print(shown, markup=False)


@app.command("test")
def test_command(
    file: Annotated[str, typer.Argument(help="The contract: a file, or module:Class.", show_default=False)],
    output: OutputOption = Output.text,
) -> None:
    """Try the examples that stand in a contract under `tests`; exit 1 when one does not come out as expected."""
    found = try_examples(_read(file))
    ok = all(tried.ok for tried in found)
    emit(output, {"ok": ok, "tests": [asdict(tried) for tried in found]}, lambda: _show_tests(found))
    raise typer.Exit(0 if ok else 1)


def _show_tests(found: list[Tried]) -> None:
    if not found:
        console.print("The contract has no 'tests'.", style="yellow")
    for tried in found:
        mark, style = ("ok  ", "green") if tried.ok else ("FAIL", "red")
        console.print(f"{mark} {tried.name}: {tried.sentence}", style=style, markup=False, highlight=False)


# A contract is read alone here, without its job.
def _read(name: str) -> Contract:
    faults = Faults()
    found = read_contract(Path(name) if name.endswith((".yaml", ".yml")) else name, faults)
    faults.check()
    assert found is not None
    return found
