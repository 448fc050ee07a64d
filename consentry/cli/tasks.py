"""tasks: what somebody must do by hand, and until when."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from consentry.cli.inspecting import JobArgument
from consentry.cli.output import Output, OutputOption, console, emit, table
from consentry.pipeline.load import load_job
from consentry.pipeline.tasks import finish_task, list_tasks

app = typer.Typer(help="See what somebody must do by hand, and until when.", no_args_is_help=True)


@app.callback()
def tasks() -> None:
    """See what somebody must do by hand, and until when."""


@app.command("list")
def list_command(
    job: JobArgument,
    closed: Annotated[bool, typer.Option("--closed", help="Also those that are closed.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """List the people whom no call can take out of an audience, the most urgent first."""
    found = list_tasks(load_job(job), closed=closed)
    emit(output, {"tasks": found}, lambda: show_tasks(found))


# Tasks are plain JSON.
def show_tasks(found: list[dict[str, Any]]) -> None:
    """Print tasks as a table."""
    if not found:
        console.print("Nothing is to be done by hand.", style="green")
        return
    shown = table("To be taken out by hand", "task", "destination", "audience", "person", "state", "until")
    for item in found:
        until = f"{item['due_at'][:10]} [red](overdue)[/red]" if item["overdue"] else item["due_at"][:10]
        words = [item[key] for key in ("task_id", "destination", "audience", "person_id", "state")]
        shown.add_row(*words, until)
    console.print(shown)


@app.command("done")
def done_command(
    job: JobArgument,
    task: Annotated[str, typer.Argument(help="The task, as `tasks list` names it.", show_default=False)],
    by: Annotated[str | None, typer.Option(help="Who did it; stands in the audit log.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Note that a person was taken out by hand."""
    found = finish_task(load_job(job), task, by=by)
    words = f"Person {found['person_id']} is out of {found['audience']} of {found['destination']}."
    emit(output, found, lambda: console.print(words, markup=False))
