"""watch: keep a job in step with time until somebody stops it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from consentry.cli.output import Output, OutputOption, console, emit, errors
from consentry.cli.progress import Shown
from consentry.cli.running import JobArgument
from consentry.errors import ConsentryError
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.watch import Due, interval, patience, turns


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("watch")(watch_command)


def watch_command(
    job: JobArgument,
    once: Annotated[bool, typer.Option("--once", help="Do what is due now and stop; wait for nothing.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Run the job as often as its segments say with `refresh`, and in between let time change who is in them.

    A turn that fails is told and tried again later. Stop it with Ctrl-C or SIGTERM: what was sent is known.
    """
    interval(load_job(job))
    while True:
        try:
            _turns(job, output, once=once)
        except ConsentryError as error:
            if once:
                raise
            errors.print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ} {error}", style="red", markup=False)
            time.sleep(patience(error).total_seconds())
        if once:
            return


def _turns(job: Path, output: Output, *, once: bool) -> None:
    """Take turns by the job as its files are now; comes back when they changed, or after one turn."""
    plan = make_plan(load_job(job))
    with Shown(errors) as progress:
        for turn in turns(plan, progress if output is Output.text else Silent()):
            if not isinstance(turn, Due):
                emit(output, turn, partial(_tell, turn))
                if once or make_plan(load_job(job)).sha256 != plan.sha256:
                    return
            elif once and turn.at > datetime.now(UTC):
                emit(output, {"next": turn.work, "at": turn.at.isoformat()}, partial(_tell_due, turn))
                return
            else:
                if output is Output.text:
                    _tell_due(turn)
                time.sleep(max(0.0, (turn.at - datetime.now(UTC)).total_seconds()))


def _tell_due(due: Due) -> None:
    console.print(f"{due.at:%Y-%m-%d %H:%M:%SZ} next: {due.work}", markup=False)


# Summaries are plain JSON.
def _tell(told: dict[str, Any]) -> None:
    moved = {name: sync for name, sync in told["syncs"].items() if sync["adds"] or sync["updates"] or sync["removes"]}
    listed = [f"{name} +{sync['adds']:,} ~{sync['updates']:,} -{sync['removes']:,}" for name, sync in moved.items()]
    console.print(f"{told.get('work', 'run')} {told['run_id']}: {', '.join(listed) or 'nothing to send'}", markup=False)
