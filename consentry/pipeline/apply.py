"""Carry out a plan that somebody approved: that one, as it was, or nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from consentry.delivery.diff import difference
from consentry.errors import Blocked
from consentry.pipeline import runs
from consentry.pipeline.approval import check_seal, content, read_plan
from consentry.pipeline.context import Context, opened
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import Plan, make_plan
from consentry.pipeline.progress import Progress
from consentry.pipeline.run import deliver_all, facts, noted

MAX_AGE = timedelta(hours=24)


# The plan file and the summary are plain JSON.
def apply(
    path: Path,
    progress: Progress,
    *,
    approved_by: str | None = None,
    max_age: timedelta = MAX_AGE,
    job: Path | None = None,
) -> dict[str, Any]:
    """Deliver what a plan file says, from the data it was worked out on; return the summary of the run.

    approved_by: who said yes; goes into the audit log. job: the job file, when it lies elsewhere than the plan says.
    A run of it that was cut off or paused goes on. Raises Blocked, with nothing sent, when the plan was edited, is
    older than `max_age`, was applied before, or is not any more what a run would send.
    """
    started = time.monotonic()
    found = read_plan(path)
    plan = make_plan(load_job(job or Path(found["job_file"])))
    with opened(plan.loaded, progress, allow=frozenset(found.get("allow", ()))) as context:
        check_seal(context.keyring, found)
        taken_up = _check_history(plan, context, found)
        if not taken_up:
            _check_age(found, max_age)
            _check_drift(plan, context, found)
        begun = runs.begin(context.store, plan.loaded.job.job, found["seal"])
        context = replace(context, run_id=begun.run_id)
        approval = {"plan_id": found["plan_id"], "seal": found["seal"], "approved_by": approved_by}
        context.audit.append("plan.applied", {**facts(plan), **approval}, run=begun.run_id, resumed=taken_up)
        with noted(context):
            results = runs.results(context.store, found["plan_id"])
            context.gate.decide(context.warehouse, [plan.loaded.target(name) for name in plan.syncs])
            summary = deliver_all(plan, context, results, resumed=taken_up, started=started)
        return {**summary, "plan_id": found["plan_id"], "approved_by": approved_by}


def _check_history(plan: Plan, context: Context, found: Mapping[str, Any]) -> bool:
    """Tell whether an earlier attempt is to be taken up; refuse a plan that is done or was overtaken."""
    job = plan.loaded.job.job
    if plan.sha256 != found["inputs"]["plan_sha256"]:
        raise _refused("plan_stale", "The job, or a file it names, was changed after the plan was made.")
    last = runs.last(context.store, job)
    applied = runs.last(context.store, job, plan_sha256=found["seal"])
    if applied and applied.status not in ("running", "paused"):
        raise _refused("plan_applied", f"This plan was applied already, on {applied.started_at}.")
    if applied and last == applied:
        return True
    if last is None or last.run_id != found["plan_id"]:
        raise _refused("plan_drifted", "Another run or plan has worked on this job since.")
    return False


def _check_age(found: Mapping[str, Any], max_age: timedelta) -> None:
    age = datetime.now(UTC) - datetime.fromisoformat(found["made_at"])
    if age > max_age:
        hours, allowed = (span.total_seconds() / 3600 for span in (age, max_age))
        raise _refused("plan_stale", f"The plan is {hours:.1f} hours old, and may be {allowed:.1f} (--max-age).")


def _check_drift(plan: Plan, context: Context, found: Mapping[str, Any]) -> None:
    """Work the difference out again and refuse unless it is, person by person, the one that was approved."""
    context.gate.decide(context.warehouse, [plan.loaded.target(name) for name in plan.syncs])
    for name, planned in found["syncs"].items():
        sync = context.loaded.job.syncs[name]
        least = context.loaded.destination(sync.destination).capabilities.audience_min
        now = difference(context.warehouse, context.store, context.gate, sync, audience_min=least)
        if content(context, name) == planned["content"]:
            continue
        counts = ((now.adds, "adds"), (now.changes, "updates"), (now.removes, "removes"))
        changed = ", ".join(f"{number:,} {what} (planned {planned[what]:,})" for number, what in counts)
        fact = f"Sync {name!r} would not send any more what was planned: {changed}. Consent or the destination changed."
        raise _refused("plan_drifted", fact)


def _refused(code: str, fact: str) -> Blocked:
    return Blocked(f"{fact} Nothing was sent. Plan again and have that approved.", code=code)
