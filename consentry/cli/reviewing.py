"""identity review: the queue of what only a steward can decide."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from consentry.cli.identifying import app
from consentry.cli.inspecting import JobArgument
from consentry.cli.output import Output, OutputOption, console, emit
from consentry.identity.review import PAGE
from consentry.pipeline.load import load_job
from consentry.pipeline.stewarding import queue


def register(root: typer.Typer) -> None:
    """Add the command to the group `identity`, which stands already."""
    del root
    app.command("review")(review_command)


def review_command(
    job: JobArgument,
    kind: Annotated[str | None, typer.Option("--kind", help="Of this kind alone, such as close_call.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at a time.")] = PAGE,
    after: Annotated[str | None, typer.Option("--after", help="Go on behind the page that ended so.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """List people, pairs and values of which the rules alone cannot be sure, with the commands that decide."""
    found = queue(load_job(job), str(job), code=kind, after=after, limit=limit)
    emit(output, found, lambda: _show(found))


# Results are plain JSON.
def _show(found: dict[str, Any]) -> None:
    if not found["counts"]:
        console.print("Nothing is in doubt.", style="green")
        return
    for case in found["review"]:
        _show_case(case)
    total = sum(found["counts"].values())
    listed = ", ".join(f"{count:,} {code}" for code, count in found["counts"].items())
    _line(f"{len(found['review']):,} shown; open are {total:,}: {listed}.")
    if found["next"]:
        _line(f"Go on with --after {found['next']}")


def _show_case(case: dict[str, Any]) -> None:
    _line(f"{case['code']}: {case['sentence']}", style="bold")
    for name in (*case["people"], *case["records"]):
        _line(f"  {name}", style="dim")
    width = max((len(one["name"]) for one in case["evidence"]), default=0)
    for one in case["evidence"]:
        bits = "" if one["bits"] is None else f" ({one['bits']:+.1f} bits)"
        _line(f"  {one['name']:<{width}}  {one['one'] or '-'} | {one['other'] or '-'}  {one['level']}{bits}")
    weakest = case["weakest"]
    if weakest:
        _line(f"  Without {weakest['type']} {weakest['value']} it would fall into {weakest['apart']} people.")
    for said, command in case["next"].items():
        _line(f"  {said}: {command}", style="cyan")
    console.print()


def _line(words: str, style: str | None = None) -> None:
    """Print a line whole: ids and commands are there to be copied."""
    console.print(words, style=style, markup=False, highlight=False, soft_wrap=True)
