"""model and score: train, judge, list and use the models of a job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from consentry.cli.inspecting import JobArgument
from consentry.cli.output import Output, OutputOption, console, emit, errors
from consentry.cli.progress import Shown
from consentry.cli.segmenting import show_rows
from consentry.pipeline import modelling
from consentry.pipeline.load import load_job
from consentry.segments.models.page import write_page

app = typer.Typer(help="Train, judge, list and use the models of a job.", no_args_is_help=True)
ModelOption = Annotated[str | None, typer.Option("--model", help="This model only.")]
DueOption = Annotated[bool, typer.Option("--due", help="Only what is due by its schedule.")]


def register(app: typer.Typer) -> None:
    """Add `score` to the application."""
    app.command("score")(score_command)


@app.callback()
def model() -> None:
    """Train, judge, list and use the models of a job."""


@app.command("train")
def train_command(
    job: JobArgument, only: ModelOption = None, due: DueOption = False, output: OutputOption = Output.text
) -> None:
    """Train models from the profile that the last run left; a new version is used when it is better."""
    with Shown(errors) as progress:
        found = modelling.train_models(load_job(job), progress, only=only, only_due=due)
    rows = [
        {
            "model": told["model"],
            "version": told["version"],
            "in use": told["promoted"],
            "people": told.get("people"),
            "quality": _quality(told),
            "why": told["sentence"],
        }
        for told in found
    ]
    emit(output, {"models": found}, lambda: show_rows("Trained", rows, "Nothing is due."))
    raise typer.Exit(1 if any(told["version"] is None for told in found) else 0)


# A result is plain JSON.
def _quality(told: dict[str, Any]) -> str:
    """Say the figure by which a model of its kind is judged first."""
    if "roc_auc" in told:
        return f"ROC-AUC {told['roc_auc']:.3f} ± {told['spread']:.3f}"
    return f"{told['clusters']} clusters" if "clusters" in told else ""


@app.command("list")
def list_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """List the models: versions, which is in use, what is due, and where people moved since the training."""
    found = modelling.list_models(load_job(job))
    names = ("model", "kind", "versions", "in_use", "training_due", "scored_at")
    rows = [{**{name: told[name] for name in names}, "moved": ", ".join(told["moved"])} for told in found]
    emit(output, {"models": found}, lambda: show_rows("Models", rows, "The job has no model."))


@app.command("promote")
def promote_command(
    job: JobArgument,
    model: Annotated[str, typer.Argument(help="A model.", show_default=False)],
    version: Annotated[int, typer.Argument(help="Its version.", show_default=False)],
    output: OutputOption = Output.text,
) -> None:
    """Put a version into use, such as one that was held back, or an older one again."""
    found = modelling.promote_model(load_job(job), model, version)
    words = f"Version {version} of {model} is in use. Score with it: consentry score {job}"
    emit(output, found, lambda: console.print(words, markup=False, highlight=False, soft_wrap=True))


@app.command("report")
def report_command(
    job: JobArgument,
    only: ModelOption = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("models.html"),
    output: OutputOption = Output.text,
) -> None:
    """Write one HTML page with the card of each model: quality, calibration, lift, importance, clusters, drift."""
    loaded = load_job(job)
    cards = modelling.cards_of(loaded, only)
    write_page(f"Models of {loaded.job.job}", cards, out, shown_from=loaded.job.segment_limits.shown_from)
    emit(output, {"file": str(out), "models": cards}, lambda: console.print(f"Wrote {out}.", style="green"))


def score_command(
    job: JobArgument, only: ModelOption = None, due: DueOption = False, output: OutputOption = Output.text
) -> None:
    """Score everybody with the models in use; rules see the scores at the next evaluation."""
    with Shown(errors) as progress:
        found = modelling.score_people(load_job(job), progress, only=only, only_due=due)
    rows = [{name: told[name] for name in ("model", "version", "people", "sentence")} for told in found]
    emit(output, {"models": found}, lambda: show_rows("Scored", rows, "Nothing is due."))
    raise typer.Exit(1 if any(told["version"] is None for told in found) else 0)
