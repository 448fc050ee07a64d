"""What came of a job's experiments, which arms get whom, and how its segments fare from day to day."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from consentry.errors import ConfigError
from consentry.model.names import did_you_mean
from consentry.pipeline.context import Context, opened
from consentry.pipeline.left import check_has_run
from consentry.pipeline.load import Loaded
from consentry.pipeline.progress import Silent
from consentry.segments.experiments.bandit import current, learnt, update
from consentry.segments.experiments.definition import Experiment
from consentry.segments.experiments.kpis import alarms, cohorts, keep_days, table_of
from consentry.segments.experiments.measure import judged
from consentry.segments.state import read_state

Told = dict[str, Any]


def report_experiments(loaded: Loaded, only: str | None = None) -> list[Told]:
    """Return what came of each experiment up to now."""
    chosen = _named(loaded, only)
    with _evaluated(loaded) as context:
        return [_reported(context, experiment) for experiment in chosen]


def _reported(context: Context, experiment: Experiment) -> Told:
    warehouse, catalog = context.warehouse, context.loaded.catalog
    if experiment.bandit is None:
        return judged(warehouse, catalog, experiment, context.loaded.segments, now=context.as_of)
    # The arms of a bandit move, so that only what was learnt stretch by stretch is comparable.
    told: Told = {
        "experiment": experiment.name,
        "description": experiment.description,
        "segment": experiment.segment,
        "start": experiment.start.isoformat(),
        "until": context.as_of.isoformat(),
        "bandit": experiment.bandit,
        "mismatch": False,
        "weights": None,
    }
    found = current(warehouse, experiment)
    if found is not None:
        people, held = learnt(warehouse, experiment)
        shares = {arm: round(share, 4) for arm, share in found[0].shares().items()}
        told |= {"weights": shares, "people": people, "held": held, "since": found[1].isoformat()}
    return told


def update_bandits(loaded: Loaded, only: str | None = None) -> list[Told]:
    """Learn from the time since the last update, and give the arms of bandits their new weights."""
    bandits = [experiment for experiment in _named(loaded, only) if experiment.bandit]
    if not bandits:
        raise ConfigError("None of these experiments is a bandit. Give one a 'bandit:' that names a metric.")
    with _evaluated(loaded) as context:
        found = [update(context.warehouse, loaded.catalog, bandit, now=context.as_of) for bandit in bandits]
        for told in found:
            weights = {arm: str(round(weight, 4)) for arm, weight in told["weights"].items()}
            context.audit.append("experiment.updated", experiment=told["experiment"], weights=weights)
        return found


def update_kpis(loaded: Loaded, *, days: int, members_of_now: bool) -> Told:
    """Keep the figures of the last whole days, and return them with the alarms about those that fall."""
    if not loaded.kpis:
        raise ConfigError(f"The job {loaded.job.job} has no figure. Declare one under 'kpis:' of a segment file.")
    with _evaluated(loaded) as context:
        warehouse, now = context.warehouse, context.as_of
        keep_days(warehouse, loaded.catalog, loaded.kpis, now=now, days=days, members_of_now=members_of_now)
        rows = [row for row in table_of(warehouse, days=days) if row["members"] >= loaded.job.segment_limits.shown_from]
        return {"kpis": rows, "alarms": list(alarms(warehouse, loaded.kpis))}


def cohorts_of(loaded: Loaded, segment: str, event: str, *, months: int) -> list[Told]:
    """Return which share of a segment's members came back in the months after their first event."""
    names = [each.name for each in loaded.segments]
    if segment not in names:
        raise ConfigError(f"There is no segment {segment!r}{did_you_mean(segment, names) or '.'}")
    if event not in loaded.catalog.events:
        raise ConfigError(f"There is no event {event!r}{did_you_mean(event, loaded.catalog.events) or '.'}")
    with _evaluated(loaded) as context:
        rows = cohorts(context.warehouse, segment, event, months=months)
    return [row for row in rows if row["people"] >= loaded.job.segment_limits.shown_from]


def _named(loaded: Loaded, only: str | None) -> list[Experiment]:
    names = [experiment.name for experiment in loaded.experiments]
    if not names:
        message = f"The job {loaded.job.job} has no experiment. Declare one under 'experiments:' of a segment file."
        raise ConfigError(message)
    if only is not None and only not in names:
        raise ConfigError(f"There is no experiment {only!r}{did_you_mean(only, names) or '.'}")
    return [experiment for experiment in loaded.experiments if only in (None, experiment.name)]


@contextmanager
def _evaluated(loaded: Loaded) -> Iterator[Context]:
    """Open a job whose segments were evaluated."""
    check_has_run(loaded, "there is nothing to measure")
    with opened(loaded, Silent()) as context:
        if read_state(context.warehouse) is None:
            raise ConfigError(f"The job {loaded.job.job} has not evaluated its segments yet. Run it first.")
        yield context
