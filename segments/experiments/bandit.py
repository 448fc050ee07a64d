"""Give more people to the arms that do better: Thompson weights, written where rules read the arm of a person.

Each update closes a stretch of time: who was in the segment then, in which arm, and for whom the metric held within it.
What was learnt of all stretches gives the weights of the next.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from consentry.segments.catalog import Catalog
from consentry.segments.experiments.definition import ARMS, Experiment, Split
from consentry.segments.experiments.measure import exposed, outcomes
from consentry.segments.experiments.statistics import thompson
from consentry.segments.served import note_version
from consentry.warehouse import Warehouse

RESULTS = "segment.arm_result"


# What came of it is plain JSON.
def update(warehouse: Warehouse, catalog: Catalog, experiment: Experiment, *, now: datetime) -> dict[str, Any]:
    """Learn from the time since the last update, and set the weights of the arms anew; the first only begins."""
    assert experiment.arms is not None and experiment.bandit is not None, "The reader lets no other bandit through."
    make_tables(warehouse)
    before = current(warehouse, experiment)
    metric = next(metric for metric in experiment.metrics if metric.name == experiment.bandit)
    with warehouse.transaction():
        if before is not None and now > before[1]:
            split, since = before
            who = exposed(warehouse, replace(experiment, start=since, within=None), split, now=now)
            held = outcomes(warehouse, catalog, metric, who, until=now, within=None)
            for arm in split.arms:
                own = who.places(arm)
                warehouse.sql(
                    f"INSERT INTO {RESULTS} VALUES ($experiment, $since, $now, $arm, $people, $held)",
                    experiment=experiment.name,
                    since=since,
                    now=now,
                    arm=arm,
                    people=int(own.sum()),
                    held=int(held[own].sum()),
                )
        people, successes = learnt(warehouse, experiment)
        weights = thompson(successes, people) if before is not None else dict(experiment.arms)
        _write(warehouse, experiment, Split.of(weights, experiment.salt), now)
    return {"experiment": experiment.name, "people": people, "held": successes, "weights": weights}


def current(warehouse: Warehouse, experiment: Experiment) -> tuple[Split, datetime] | None:
    """Return the arms in force and since when, None before the first update."""
    if not warehouse.has(ARMS):
        return None
    query = f"SELECT arm, low, high, since FROM {ARMS} WHERE experiment = $experiment ORDER BY low, high"
    rows = warehouse.sql(query, experiment=experiment.name).to_pylist()
    if not rows or {row["arm"] for row in rows} != set(experiment.arms or ()):
        return None  # other arms than the file has now: it begins anew
    bounds = (0, *(row["high"] for row in rows))
    return Split(experiment.salt, tuple(row["arm"] for row in rows), bounds), rows[0]["since"]


def learnt(warehouse: Warehouse, experiment: Experiment) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many people each arm had in all stretches, and for how many of them the metric held."""
    query = f"SELECT arm, sum(people) AS people, sum(held) AS held FROM {RESULTS} WHERE experiment = $name GROUP BY arm"
    found = {row["arm"]: row for row in warehouse.sql(query, name=experiment.name).to_pylist()}
    arms = list(experiment.arms or ())
    people = {arm: int(found[arm]["people"]) if arm in found else 0 for arm in arms}
    return people, {arm: int(found[arm]["held"]) if arm in found else 0 for arm in arms}


def make_tables(warehouse: Warehouse) -> None:
    """Make the tables of this module where they are not there yet."""
    bounds = "arm TEXT, low BIGINT, high BIGINT, weight DOUBLE, since TIMESTAMPTZ"
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {ARMS} (experiment TEXT, {bounds})")
    times = "since TIMESTAMPTZ, until TIMESTAMPTZ"
    warehouse.sql(
        f"CREATE TABLE IF NOT EXISTS {RESULTS} (experiment TEXT, {times}, arm TEXT, people BIGINT, held BIGINT)"
    )


def _write(warehouse: Warehouse, experiment: Experiment, split: Split, now: datetime) -> None:
    warehouse.sql(f"DELETE FROM {ARMS} WHERE experiment = $experiment", experiment=experiment.name)
    shares = split.shares()
    for arm, low, high in zip(split.arms, split.bounds, split.bounds[1:], strict=False):
        row = {"arm": arm, "low": low, "high": high, "weight": shares[arm], "now": now}
        warehouse.sql(
            f"INSERT INTO {ARMS} VALUES ($experiment, $arm, $low, $high, $weight, $now)",
            experiment=experiment.name,
            **row,
        )
    note_version(warehouse, f"experiment.{experiment.name}", now.isoformat())
