"""experiment: what came of experiments, and how segments fare from day to day."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from consentry.cli.inspecting import JobArgument
from consentry.cli.output import Output, OutputOption, console, emit
from consentry.cli.segmenting import show_rows
from consentry.pipeline import experimenting
from consentry.pipeline.load import load_job

app = typer.Typer(help="Judge experiments inside segments, and follow segments by day.", no_args_is_help=True)
ExperimentOption = Annotated[str | None, typer.Option("--experiment", help="This experiment only.")]
Told = dict[str, Any]  # plain JSON


@app.callback()
def experiment() -> None:
    """Judge experiments inside segments, and follow segments by day."""


@app.command("report")
def report_command(job: JobArgument, only: ExperimentOption = None, output: OutputOption = Output.text) -> None:
    """Compare the arms of each experiment; exit 1 when a split is not what it should be, whose result means nothing."""
    found = experimenting.report_experiments(load_job(job), only)
    emit(output, {"experiments": found}, lambda: _show(found))
    raise typer.Exit(1 if any(told["mismatch"] for told in found) else 0)


@app.command("update")
def update_command(job: JobArgument, only: ExperimentOption = None, output: OutputOption = Output.text) -> None:
    """Give the arms of bandits the weights that they have earned since the last update."""
    found = experimenting.update_bandits(load_job(job), only)
    rows = [
        {"experiment": told["experiment"], "arm": arm, "weight": f"{weight:.1%}", "people": told["people"][arm]}
        for told in found
        for arm, weight in told["weights"].items()
    ]
    emit(output, {"experiments": found}, lambda: show_rows("Weights", rows, "no bandit"))


@app.command("kpis")
def kpis_command(
    job: JobArgument,
    days: Annotated[int, typer.Option(help="Of the last whole days.", min=1, max=400)] = 35,
    members_of_now: Annotated[
        bool, typer.Option("--members-of-now", help="Look at today's members on every day, not at those of the day.")
    ] = False,
    output: OutputOption = Output.text,
) -> None:
    """Keep the figures of each segment and day, and tell which fall."""
    found = experimenting.update_kpis(load_job(job), days=days, members_of_now=members_of_now)
    emit(output, found, lambda: _show_kpis(found))


@app.command("cohorts")
def cohorts_command(
    job: JobArgument,
    segment: Annotated[str, typer.Argument(help="A segment.", show_default=False)],
    event: Annotated[str, typer.Argument(help="An event of the catalogue.", show_default=False)],
    months: Annotated[int, typer.Option(help="How many months after the first.", min=1, max=60)] = 12,
    output: OutputOption = Output.text,
) -> None:
    """Tell which share of a segment's members came back, month by month after their first event."""
    found = experimenting.cohorts_of(load_job(job), segment, event, months=months)
    rows = [
        {"cohort": told["cohort"], "people": told["people"]}
        | {f"+{n}": f"{share:.0%}" for n, share in enumerate(told["came_back"]) if n}
        for told in found
    ]
    emit(output, {"cohorts": found}, lambda: show_rows(f"{event} by the members of {segment}", rows, "no cohort"))


def _show(found: list[Told]) -> None:
    for told in found:
        rows = list(_bandit_rows(told) if told["bandit"] else _rows(told))
        show_rows(f"{told['experiment']}: {told['description']}", rows, f"{told['experiment']}: nobody took part yet.")
        if told["mismatch"]:
            words = f"The sizes of the arms are no chance (p = {told['ratio_p']:.1g}): the result means nothing."
            console.print(words, style="red", markup=False)


def _rows(told: Told) -> Iterator[Told]:
    for metric in told["metrics"]:
        for arm, own in metric["arms"].items():
            against = metric["against_control"].get(arm)
            yield {
                "metric": metric["metric"],
                "arm": arm,
                "people": own["people"],
                "value": None if own["value"] is None else f"{own['value']:.4g}",
                "difference": against and f"{against['arm'] - against['control']:+.4g}",
                "whenever you look": against and f"{against['low']:+.4g} to {against['high']:+.4g}",
                "p of one look": against and f"{against['p']:.3g}",
                "sure": against and against["sure"],
            }


def _bandit_rows(told: Told) -> Iterator[Told]:
    for arm, weight in (told["weights"] or {}).items():
        people, held = told["people"][arm], told["held"][arm]
        rate = f"{held / people:.2%}" if people else None
        yield {"arm": arm, "weight": f"{weight:.1%}", "people": people, told["bandit"]: rate}


def _show_kpis(found: Told) -> None:
    show_rows("Figures by day", found["kpis"], "No day has members yet; --members-of-now looks at today's.")
    for sentence in found["alarms"]:
        console.print(sentence, style="red", markup=False, highlight=False, soft_wrap=True)
