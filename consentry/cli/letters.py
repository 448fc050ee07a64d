"""dlq: rows that a destination refused, or of which nobody knows what became."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from consentry.cli.inspecting import JobArgument
from consentry.cli.output import Output, OutputOption, console, emit, table
from consentry.pipeline.letters import discard_letters, list_letters, replay_letters, show_letter
from consentry.pipeline.load import load_job

app = typer.Typer(help="See what destinations refused, and decide what becomes of it.", no_args_is_help=True)
SyncOption = Annotated[str, typer.Option("--sync", help="The sync's name.", show_default=False)]
PeopleOption = Annotated[
    list[str] | None, typer.Option("--person", help="A person id; may be repeated. Without it: all of the sync.")
]


@app.callback()
def dlq() -> None:
    """See what destinations refused, and decide what becomes of it."""


@app.command("list")
def list_command(
    job: JobArgument,
    sync: Annotated[str | None, typer.Option("--sync", help="Of this sync only.")] = None,
    discarded: Annotated[bool, typer.Option("--discarded", help="Also those that were discarded.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """List the rows that wait, oldest first. No personal value is shown."""
    found = list_letters(load_job(job), sync=sync, discarded=discarded)
    emit(output, {"letters": found}, lambda: _show_list(found))


# Letters are plain JSON.
def _show_list(found: list[dict[str, Any]]) -> None:
    if not found:
        console.print("No dead letters.", style="green")
        return
    shown = table("Dead letters", "sync", "person", "operation", "code", "field", "state", "#attempts", "since")
    for item in found:
        words = [item[key] or "" for key in ("sync", "person_id", "operation", "code", "field", "state")]
        shown.add_row(*words, str(item["attempts"]), item["first_at"])
    console.print(shown)


@app.command("show")
def show_command(
    job: JobArgument,
    sync: SyncOption,
    person: Annotated[str, typer.Option("--person", help="The person id.", show_default=False)],
    output: OutputOption = Output.text,
) -> None:
    """Say why one row waits, and what will become of it."""
    found = show_letter(load_job(job), sync, person)
    emit(output, found, lambda: _show_letter(found))


def _show_letter(found: dict[str, Any]) -> None:
    for key in ("sync", "person_id", "operation", "code", "field", "state", "attempts", "first_at", "last_at"):
        console.print(f"{key:<10} {'' if found[key] is None else found[key]}", markup=False, highlight=False)
    console.print("\n".join(found["sentences"]), markup=False, highlight=False)


@app.command("replay")
def replay_command(
    job: JobArgument, sync: SyncOption, person: PeopleOption = None, output: OutputOption = Output.text
) -> None:
    """Let the next run send rows again; the consent gate decides each of them anew."""
    number = replay_letters(load_job(job), sync, person or [])
    words = f"{number:,} rows of {sync} go out with the next run, if consent still allows it."
    emit(output, {"sync": sync, "replayed": number}, lambda: console.print(words, markup=False))


@app.command("discard")
def discard_command(
    job: JobArgument, sync: SyncOption, person: PeopleOption = None, output: OutputOption = Output.text
) -> None:
    """Leave rows unsent and list them no more; a rejected row whose payload changes is sent all the same."""
    number = discard_letters(load_job(job), sync, person or [])
    words = f"{number:,} rows of {sync} are left unsent."
    emit(output, {"sync": sync, "discarded": number}, lambda: console.print(words, markup=False))
