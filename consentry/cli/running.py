"""plan, run, apply, status, explain: work out a job, do it, and say what came of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from consentry.cli.output import Output, OutputOption, console, emit, errors, table
from consentry.cli.progress import Shown
from consentry.cli.summaries import show_summary
from consentry.cli.tasks import show_tasks
from consentry.pipeline.apply import apply
from consentry.pipeline.explain import explain_person, explain_plan
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import EXIT_CODES, pending, run
from consentry.pipeline.status import status_of

JobArgument = Annotated[Path, typer.Argument(help="The job's YAML file.", show_default=False)]
AllowOption = Annotated[
    list[str] | None, typer.Option("--allow", help="Waive a guard for this run, by the name its message gives.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("plan")(plan_command)
    app.command("run")(run_command)
    app.command("apply")(apply_command)
    app.command("status")(status_command)
    app.command("explain")(explain_command)


def plan_command(
    job: JobArgument,
    output: OutputOption = Output.text,
    detailed_exitcode: Annotated[bool, typer.Option(help="Exit with 2 when there is something to send.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write the plan, sealed, to a file for `apply`.")] = None,
    allow: AllowOption = None,
) -> None:
    """Pull, check, merge, decide and segment; say what would be sent. No destination is called."""
    plan = make_plan(load_job(job))
    with Shown(errors) as progress:
        shown = progress if output is Output.text else Silent()
        planned = pending(plan, shown, allow=frozenset(allow or ()), out=out)
    emit(output, planned, lambda: _show_plan(planned))
    changes = any(sum(sync[key] for key in ("adds", "updates", "removes")) for sync in planned["syncs"].values())
    raise typer.Exit(2 if changes and detailed_exitcode else 0)


# Results are plain JSON.
def _show_plan(planned: dict[str, Any]) -> None:
    shown = table("What a run would send", "sync", "segment", "destination", "#adds", "#updates", "#removes", "refused")
    for name, sync in planned["syncs"].items():
        refused = ", ".join(f"{reason} {n}" for reason, n in sync["refused"].items())
        numbers = [f"{sync[key]:,}" for key in ("adds", "updates", "removes")]
        shown.add_row(name, sync["segment"], sync["destination"], *numbers, refused)
        if sync.get("sentence"):
            console.print(sync["sentence"], style="yellow", markup=False)
    console.print(shown)


def run_command(job: JobArgument, output: OutputOption = Output.text, allow: AllowOption = None) -> None:
    """Run the whole job; a run that was cut off is taken up where it stopped."""
    plan = make_plan(load_job(job))
    with Shown(errors) as progress:
        summary = run(plan, progress if output is Output.text else Silent(), allow=frozenset(allow or ()))
    emit(output, summary, lambda: show_summary(summary))
    raise typer.Exit(EXIT_CODES[summary["status"]])


def apply_command(
    plan: Annotated[Path, typer.Argument(help="A plan that `consentry plan --out` wrote.", show_default=False)],
    approved_by: Annotated[str | None, typer.Option(help="Who said yes; stands in the audit log.")] = None,
    max_age: Annotated[str, typer.Option(help="The oldest plan to take: 90m, 24h, 7d.")] = "24h",
    job: Annotated[Path | None, typer.Option(help="The job file, when it has moved since.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Send exactly what a plan says, once; refuse one that is stale, edited, drifted or applied already."""
    age = _span(max_age)
    with Shown(errors) as progress:
        shown = progress if output is Output.text else Silent()
        summary = apply(plan, shown, approved_by=approved_by, max_age=age, job=job)
    emit(output, summary, lambda: show_summary(summary))
    raise typer.Exit(EXIT_CODES[summary["status"]])


def _span(text: str) -> timedelta:
    units = {"m": "minutes", "h": "hours", "d": "days"}
    if not (text[:-1].isdecimal() and len(text) < 8 and text[-1] in units):
        raise typer.BadParameter("Write the age as 90m, 24h or 7d.", param_hint="--max-age")
    return timedelta(**{units[text[-1]]: int(text[:-1])})


def status_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """Say how the last runs ended, and what each destination holds."""
    found = status_of(load_job(job))
    emit(output, found, lambda: _show_status(found))


def _show_status(found: dict[str, Any]) -> None:
    runs = table(f"Runs of {found['job']}", "run", "status", "started", "#sent", "#removed")
    for item in found["runs"]:
        syncs = (item["summary"] or {}).get("syncs", {}).values()
        sent = sum(sync["adds"] + sync["updates"] for sync in syncs)
        removed = sum(sync["removes"] for sync in syncs)
        runs.add_row(item["run_id"], item["status"], item["started_at"], f"{sent:,}", f"{removed:,}")
    console.print(runs)
    held = table("What destinations hold", "sync", "#acknowledged", "#dead letters")
    for name, sync in found["syncs"].items():
        held.add_row(name, f"{sync['acknowledged']:,}", f"{sync['dead_letters']:,}")
    console.print(held)
    if found["tasks"]:
        show_tasks(found["tasks"])


def explain_command(
    job: JobArgument,
    person: Annotated[str | None, typer.Option(help="A person id, to explain one person.")] = None,
    by: Annotated[str | None, typer.Option(help="With --value: the identifier type, e.g. email.")] = None,
    value: Annotated[str | None, typer.Option(help="With --by: the identifier to look up.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Print the plan of a job, or why one person is where they are."""
    loaded = load_job(job)
    if person or (by and value):
        found = explain_person(loaded, person=person, by=by, value=value)
    else:
        found = explain_plan(make_plan(loaded))
    emit(output, found, lambda: console.print("\n".join(found["sentences"]), markup=False, highlight=False))
