"""The demo: the quickstart job on two days against simulators on this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from consentry.audit import verify
from consentry.cli.output import Output, console, emit, errors, table
from consentry.cli.progress import Shown
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import EXIT_CODES, run
from consentry.testing.sandbox.server import Sandbox

JOB = Path(str(resources.files("consentry.configs"))) / "quickstart" / "job.yaml"


# The days are run summaries: plain JSON.
def run_demo(output: Output, days: list[dict[str, Any]], keep: Path | None) -> int:
    """Run both days, add their summaries to `days`, and return the exit code.

    The code is that of the worse day, or 1 when the audit log does not verify.
    """
    with ExitStack() as closing:
        home = keep or Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="consentry-demo-")))
        sandbox = closing.enter_context(Sandbox())
        for day in ("day1", "day2"):
            if output is Output.text:
                console.rule("Day 1: everybody's choices so far" if day == "day1" else "Day 2: some people withdraw")
            with _environment({**sandbox.environment(), "CONSENTRY_HOME": str(home), "QUICKSTART_DAY": day}):
                summary = _one_day(output)
                days.append(summary)
                verdict = verify(load_job(JOB).state / "audit")
            summary["audit"] = {"ok": verdict.ok, "sentence": verdict.sentence, "head": verdict.head}
            emit(output, summary, lambda: None)
    return max(*(EXIT_CODES[day["status"]] for day in days), 0 if _all_proven(days) else 1)


def _all_proven(days: list[dict[str, Any]]) -> bool:
    return all(day["audit"]["ok"] for day in days)


def _one_day(output: Output) -> dict[str, Any]:
    if output is Output.json:
        return run(make_plan(load_job(JOB)), Silent())
    with Shown(errors) as progress:
        return run(make_plan(load_job(JOB)), progress)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def show_demo(days: list[dict[str, Any]]) -> None:
    """Print both days beside each other, line by line."""
    shown = table("What happened", "what", "#day 1", "#day 2")
    for title, values in _lines(days):
        shown.add_row(title, *values)
    console.print()
    console.print(shown)
    for day in days:
        console.print(f"audit verify: {day['audit']['sentence']}", style="green" if day["audit"]["ok"] else "red")
    console.print("Next: read README.md, then copy a job of your own with `consentry init`.")


def _lines(days: list[dict[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    yield "rows in", [f"{day['rows']['extracted']:,}" for day in days]
    yield "rows quarantined", [f"{day['rows']['quarantined']:,}" for day in days]
    yield from _by_key("  ", days, lambda day: day["quarantine_reasons"])
    yield "cells imputed", [f"{day['imputed_cells']:,}" for day in days]
    yield "people", [f"{day['persons']:,}" for day in days]
    yield "records merged", [f"{day['merged_records']:,}" for day in days]
    yield from _by_key("segment ", days, lambda day: day["segments"])
    for name in days[0]["syncs"]:
        yield f"[bold]sync {name}[/bold]", ["", ""]
        for key, title in (("adds", "sent"), ("updates", "updated"), ("removes", "removed"), ("rejected", "rejected")):
            yield f"  {title}", [f"{day['syncs'][name][key]:,}" for day in days]
        yield from _by_key("  refused: ", days, lambda day, name=name: day["syncs"][name]["refused"])
        yield "  API calls made", [f"{day['syncs'][name]['api_calls']:,}" for day in days]
    yield "seconds", [str(day["duration_s"]) for day in days]


def _by_key(prefix: str, days: list[dict[str, Any]], part: Any) -> Iterator[tuple[str, list[str]]]:
    for key in sorted({key for day in days for key in part(day)}):
        yield f"{prefix}{key}", [f"{part(day).get(key, 0):,}" for day in days]
