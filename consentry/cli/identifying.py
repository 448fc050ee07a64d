"""identity: why records are one person, and what a steward decides otherwise."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from consentry.cli.inspecting import JobArgument
from consentry.cli.output import Output, OutputOption, console, emit, table
from consentry.errors import ConfigError
from consentry.pipeline import stewarding
from consentry.pipeline.erasing import erase_person
from consentry.pipeline.evaluating import evaluated, sampled
from consentry.pipeline.load import load_job

app = typer.Typer(help="See why records are one person, and decide otherwise.", no_args_is_help=True)
PersonArgument = Annotated[
    str, typer.Argument(help="A person id, an old one too, or one of their records.", show_default=False)
]
ByOption = Annotated[str, typer.Option("--by", help="Who decides this; stands in the audit log.", show_default=False)]
WhyOption = Annotated[str, typer.Option("--why", help="The reason; kept with the decision.", show_default=False)]
LATER = "The next run heeds it."


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.add_typer(app, name="identity")
    root.command("erase")(erase_command)


@app.callback()
def identity() -> None:
    """See why records are one person, and decide otherwise."""


@app.command("explain")
def explain_command(job: JobArgument, person: PersonArgument, output: OutputOption = Output.text) -> None:
    """Show what joined a person's records, step by step, and the link whose loss would break it."""
    found = stewarding.explained(load_job(job), person)
    emit(output, found, lambda: _show_person(found))


# Results are plain JSON.
def _show_person(found: dict[str, Any]) -> None:
    console.print(f"Person {found['person_id']}: {len(found['records'])} records", style="bold", highlight=False)
    shown = table("What joined them, the strongest first", "evidence", "value", "joined", "#groups left", "purposes")
    for step in found["steps"]:
        joined = ", ".join(step["joined"][:4]) + (" ..." if len(step["joined"]) > 4 else "")
        purposes = ", ".join(step["purposes"]) or "all"
        shown.add_row(step["kind"], step["value"], joined, str(step["left"]), purposes)
    console.print(shown)
    weakest = found["weakest"]
    if weakest:
        words = f"Without {weakest['type']} {weakest['value']} it would fall into {weakest['apart']} people."
        console.print(words, style="yellow", markup=False)
    for purpose, parts in found["parts"].items():
        named = "every other purpose" if purpose == "*" else purpose
        console.print(f"For {named} it falls into {parts} parts.", markup=False)
    for one in found["unused"]:
        console.print(f"Not used: {one['type']} on {one['records']} records ({one['reason']})", markup=False)
    for one in found["decisions"]:
        console.print(f"{one['decided_at'][:10]} {one['kind']} by {one['by']}: {one['why']}", markup=False)
    for event in found["events"]:
        console.print(f"{event['run_id']} {event['kind']}", markup=False, highlight=False)


@app.command("merge")
def merge_command(
    job: JobArgument,
    people: Annotated[
        list[str],
        typer.Argument(help="People or record ids; of one person alone: all its records.", show_default=False),
    ],
    by: ByOption,
    why: WhyOption,
    force: Annotated[bool, typer.Option("--force", help="Though their unique identifiers differ.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Declare people or records to be one person, and to stay so if they are."""
    found = stewarding.merge(load_job(job), people, by=by, why=why, force=force)
    emit(output, found, lambda: _show_decision(found))


@app.command("split")
def split_command(
    job: JobArgument,
    person: PersonArgument,
    record: Annotated[list[str], typer.Option("--record", help="A record to take out; may be repeated.")],
    by: ByOption,
    why: WhyOption,
    output: OutputOption = Output.text,
) -> None:
    """Declare some records of a person to be somebody else."""
    found = stewarding.split(load_job(job), person, record, by=by, why=why)
    emit(output, found, lambda: _show_decision(found))


@app.command("not-same")
def not_same_command(
    job: JobArgument,
    one: Annotated[str, typer.Argument(help="A person, or a record id.", show_default=False)],
    other: Annotated[str, typer.Argument(help="Another one.", show_default=False)],
    by: ByOption,
    why: WhyOption,
    output: OutputOption = Output.text,
) -> None:
    """Declare two people or records never to be the same."""
    found = stewarding.not_same(load_job(job), one, other, by=by, why=why)
    emit(output, found, lambda: _show_decision(found))


@app.command("revert")
def revert_command(
    job: JobArgument,
    decision: Annotated[str, typer.Argument(help="The decision, as `identity decisions` names it.")],
    by: ByOption,
    why: WhyOption,
    output: OutputOption = Output.text,
) -> None:
    """Take a decision back."""
    found = stewarding.revert(load_job(job), decision, by=by, why=why)
    emit(output, found, lambda: _show_decision(found))


def _show_decision(found: dict[str, Any]) -> None:
    words = f"Decision {found['decision_id']} ({found['kind']}) is kept. {LATER}"
    console.print(words, style="green", markup=False, highlight=False)


@app.command("decisions")
def decisions_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """List what stewards decided, oldest first."""
    found = stewarding.decided(load_job(job))
    emit(output, found, lambda: _show_decisions(found["decisions"]))


def _show_decisions(found: list[dict[str, Any]]) -> None:
    if not found:
        console.print("Nobody has decided anything.", style="green")
        return
    for one in found:
        ended = "" if one["holds"] else ", no longer"
        words = f"{one['decision_id']}  {one['kind']} by {one['by']} on {one['decided_at'][:10]}{ended}: {one['why']}"
        _line(words)


def _line(words: str, style: str | None = None) -> None:
    """Print a line whole: ids are there to be copied."""
    console.print(words, style=style, markup=False, highlight=False, soft_wrap=True)


@app.command("override")
def override_command(
    job: JobArgument,
    person: PersonArgument,
    field: Annotated[str, typer.Option(help="The field of the golden record.", show_default=False)],
    by: ByOption,
    why: WhyOption,
    value: Annotated[str | None, typer.Option(help="The value; `-` reads it from standard input.")] = None,
    end: Annotated[bool, typer.Option("--end", help="Let the records decide again.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Set a field of a golden record by hand; it stays with the person through every later run."""
    if end == (value is not None):
        raise ConfigError("Give either --value, or --end.")
    told = sys.stdin.readline().strip() if value == "-" else value
    found = stewarding.set_field(load_job(job), person, field, told, by=by, why=why)
    words = f"The records decide over {field} again." if end else f"{field} is set by hand."
    emit(output, found, lambda: console.print(f"{words} {LATER}", style="green", markup=False))


@app.command("overrides")
def overrides_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """List the fields that were set by hand, without their values."""
    found = stewarding.fields_set(load_job(job))
    emit(output, found, lambda: _show_overrides(found["overrides"]))


def _show_overrides(found: list[dict[str, Any]]) -> None:
    for one in found:
        words = f"{one['person_id']}  {one['field']} by {one['said_by']} on {one['decided_at'][:10]}: {one['why']}"
        _line(words)
    if not found:
        console.print("No field is set by hand.", style="green")


@app.command("changes")
def changes_command(
    job: JobArgument,
    since: Annotated[str | None, typer.Option(help="The last event that was read, or a run.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 1000,
    output: OutputOption = Output.text,
) -> None:
    """List what happened to people since an event: created, merged, split, erased, decided."""
    found = stewarding.changes(load_job(job), since, limit)
    emit(output, found, lambda: _show_changes(found))


def _show_changes(found: dict[str, Any]) -> None:
    for one in found["changes"]:
        other = f" and {one['other_person_id']}" if one["other_person_id"] else ""
        _line(f"{one['event_id']}  {one['kind']}: {one['person_id'] or 'a value'}{other}")
    _line(f"Go on with --since {found['next']}" if found["next"] else "Nothing has happened.")


@app.command("resolve")
def resolve_command(job: JobArgument, person: PersonArgument, output: OutputOption = Output.text) -> None:
    """Say under which id a person is kept today."""
    found = stewarding.resolved(load_job(job), person)
    emit(output, found, lambda: console.print(found["person_id"], markup=False, highlight=False))


@app.command("evaluate")
def evaluate_command(
    job: JobArgument,
    labels: Annotated[Path | None, typer.Option(help="Who is who: CSV or JSON lines of record_id, person.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write an HTML page to this file.")] = None,
    sample: Annotated[
        Path | None, typer.Option(help="Draw people for a clerk into this CSV file instead; --labels reads it back.")
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="With --sample: how many people to draw.")] = 200,
    seed: Annotated[int, typer.Option(help="With --sample: the same seed draws the same people.")] = 1,
    output: OutputOption = Output.text,
) -> None:
    """Say how good the people are: against labels, and by sizes, conflicts, churn and order without any."""
    loaded = load_job(job)
    if sample:
        drawn = sampled(loaded, sample, size=size, seed=seed)
        words = f"{drawn['draws']} people with {drawn['records']} records stand in {sample}. Fill in the column person."
        emit(output, drawn, lambda: console.print(words, markup=False, highlight=False))
        return
    found = evaluated(loaded, labels, out)
    emit(output, found, lambda: _show_evaluation(found))


def _show_evaluation(found: dict[str, Any]) -> None:
    scored = found.get("labels", {})
    shown = table("Against labels", "measure", "#precision", "#recall", "#F1")
    for name in ("pairwise", "b_cubed", "exact_clusters"):
        if name in scored:
            shown.add_row(name, *(f"{scored[name][key]:.4f}" for key in ("precision", "recall", "f1")))
    if shown.row_count:
        console.print(shown)
    for name, one in scored.get("intervals", {}).items():
        words = f"{name}: {one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f}, of {one['of']:,})"
        console.print(words, highlight=False)
    conflicts, order = found["conflicts"], found["order"]
    console.print(f"{found['records']:,} records are {found['people']:,} people.")
    console.print(f"{conflicts['conflicting']:,} people hold conflicting unique ids ({conflicts['rate']:.2%}).")
    differ = f"{order['differ']:,} records have other companions." if order["checked"] else order["why"]
    console.print(f"In another order: {differ}")
    for row in found["churn"][-3:]:
        console.print(f"{row['run_id']}: the person of {row['changed']:,} records changed ({row['rate']:.2%}).")


def erase_command(
    job: JobArgument,
    approved_by: Annotated[str, typer.Option(help="Who decided it; stands in the audit log.", show_default=False)],
    person: Annotated[str | None, typer.Option(help="The person's id.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="With --value: the identifier type, e.g. email.")] = None,
    value: Annotated[str | None, typer.Option(help="The identifier; `-` reads it from standard input.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Erase a person: suppress their identifiers, delete their records; destinations follow with the next run."""
    if not person and not (by and value):
        raise ConfigError("Say whom: --person ID, or --by TYPE --value VALUE.")
    told = sys.stdin.readline().strip() if value == "-" else value
    found = erase_person(load_job(job), person=person, kind=by or "", value=told or "", by=approved_by)
    words = (
        f"Person {found['person_id']} is erased: {found['records']:,} records, {found['rows']:,} landed rows, "
        f"{found['suppressed']:,} identifiers suppressed. Run the job: destinations follow."
    )
    emit(output, found, lambda: console.print(words, markup=False, highlight=False))
