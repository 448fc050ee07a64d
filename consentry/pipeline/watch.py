"""Keep a job in step with time: run it as often as its segments ask, and let people enter and leave in between.

Between two runs nothing is pulled: answers that change by time alone are worked out at the window edge that changes
them, and only the syncs that have something to send call their destination.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from consentry.errors import ConfigError, ConsentryError, RetryLater
from consentry.model.ids import new_run_id
from consentry.pipeline import runs
from consentry.pipeline.approval import would_send
from consentry.pipeline.context import Context, opened
from consentry.pipeline.freshness import stale_inputs
from consentry.pipeline.load import Loaded
from consentry.pipeline.optouts import pull
from consentry.pipeline.plan import Plan
from consentry.pipeline.progress import Progress
from consentry.pipeline.run import bring_in_step, run
from consentry.pipeline.terms import terms
from consentry.segments.refresh import refresh
from consentry.segments.state import read_state
from consentry.segments.timers import earliest_due

# Where many people are near an edge, one passes every second: they are looked at together, this often.
TICK = timedelta(minutes=1)
# A turn that could not be done is not tried again sooner.
PATIENCE = timedelta(minutes=1)
Told = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done next, and when: `run` the whole job, or `refresh` who is in its segments."""

    work: str
    at: datetime


def interval(loaded: Loaded) -> timedelta:
    """Return how often the job has to be run: the shortest `refresh` of its segments.

    Raises ConfigError when no segment says one, and when the job's clock stands still.
    """
    if loaded.job.as_of:
        raise ConfigError("The job's clock stands still at 'as_of', so that there is nothing to wait for. Take it out.")
    asked = [segment.refresh for segment in loaded.segments if segment.refresh]
    if not asked:
        raise ConfigError("No segment says how often it is to be worked out. Write 'refresh: 15 minutes' in one.")
    return timedelta(seconds=min(asked))


def turns(plan: Plan, progress: Progress) -> Iterator[Due | Told]:
    """Do what is due, for ever: yields what comes next, to be waited for, and what came of it.

    Raises ConsentryError when a turn cannot be done; nothing was sent then, and a new iterator goes on from there.
    """
    every = interval(plan.loaded)
    while True:
        due = next_due(plan, every, progress)
        yield due
        yield run(plan, progress) if due.work == "run" else in_between(plan, progress, now=datetime.now(UTC))


def next_due(plan: Plan, every: timedelta, progress: Progress) -> Due:
    """Return what is to be done next: what has been due for a while comes at once."""
    with opened(plan.loaded, progress) as context:
        last = runs.last(context.store, plan.loaded.job.job, plan_sha256=plan.sha256)
        known = read_state(context.warehouse)
        if last is None or known is None or last.status in ("running", "paused"):
            return Due("run", datetime.now(UTC))
        again = datetime.fromisoformat(last.started_at) + every
        edge = earliest_due(context.warehouse, after=known.at)
    if edge is None or max(edge, known.at + TICK) >= again:
        return Due("run", again)
    return Due("refresh", max(edge, known.at + TICK))


def in_between(plan: Plan, progress: Progress, *, now: datetime) -> Told:
    """Bring memberships up to `now`, and then the destinations of the syncs that have something to send."""
    with opened(plan.loaded, progress) as context:
        context = replace(context, as_of=now, run_id=new_run_id())
        found = refresh(
            context.warehouse,
            plan.loaded.segments,
            plan.loaded.catalog,
            now=now,
            run_id=context.run_id,
            limits=plan.loaded.job.segment_limits,
            stale=stale_inputs(context.warehouse, plan.loaded.job, now=now),
        )
        context.audit.append(
            "segment.refreshed",
            terms(found),
            run=context.run_id,
            members=dict(found.members),
            entered=dict(found.entered),
            left=dict(found.left),
        )
        context.gate.decide(context.warehouse, [plan.loaded.target(name) for name in plan.syncs])
        syncs = _send(context, plan)
    return {
        "run_id": context.run_id,
        "work": "refresh",
        "entered": dict(found.entered),
        "left": dict(found.left),
        "syncs": syncs,
    }


def _send(context: Context, plan: Plan) -> dict[str, Told]:
    planned = {name: would_send(context, name) for name in plan.syncs}
    moving = [name for name, told in planned.items() if told["adds"] or told["updates"] or told["removes"]]
    unread = pull(context, moving)
    return {name: bring_in_step(context, name, unread) for name in moving}


def patience(error: ConsentryError) -> timedelta:
    """Return how long to wait after a turn that could not be done."""
    return max(PATIENCE, timedelta(seconds=error.after)) if isinstance(error, RetryLater) else PATIENCE
