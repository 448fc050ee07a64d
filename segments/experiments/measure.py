"""Who took part in an experiment and what came of it: everybody who was in the segment, also those who left since.

Whoever converts often leaves the segment. To look at today's members alone would leave out those for whom it worked, so
that everybody counts who was in at the start or came in since, in the arm that their hash gives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from consentry.segments.atoms import open_population
from consentry.segments.bits import Column, Mask, Ordinals
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock, micros
from consentry.segments.experiments.definition import Experiment, Metric, Split
from consentry.segments.experiments.statistics import MISMATCH_P, chi_square_p, difference, ratio_p
from consentry.segments.membership import CHANGE
from consentry.segments.people import ORDINALS
from consentry.segments.segment import Segment
from consentry.warehouse import Warehouse


@dataclass(frozen=True, slots=True, eq=False)
class Exposed:
    """The people of an experiment: their ordinals, ascending, their arms, and when they came in."""

    people: Ordinals
    arms: tuple[str, ...]
    since: tuple[datetime, ...]

    def places(self, arm: str) -> Mask:
        return np.array([own == arm for own in self.arms], dtype=np.bool_)


def exposed(warehouse: Warehouse, experiment: Experiment, split: Split, *, now: datetime) -> Exposed:
    """Return who took part up to now, or to the end of the experiment."""
    until = min(now, experiment.end or now)
    query = (
        f'SELECT o.ordinal, c.person_id, min(c."at") FILTER (WHERE c.change = \'enter\' AND c."at" > $start) AS came,'
        f' arg_max(c.change, c."at") FILTER (WHERE c."at" <= $start) AS was FROM {CHANGE} AS c'
        f' JOIN {ORDINALS} AS o ON o.person_id = c.person_id WHERE c.segment = $segment AND c."at" <= $until'
        " GROUP BY ALL HAVING was = 'enter' OR came IS NOT NULL ORDER BY o.ordinal"
    )
    found = warehouse.sql(query, segment=experiment.segment, start=experiment.start, until=until).to_pylist()
    watched = timedelta(seconds=experiment.within or 0)
    rows = [(r, experiment.start if r["was"] == "enter" else r["came"]) for r in found]
    # Somebody who was not watched for the whole time yet would count as one for whom nothing happened.
    rows = [(row, since) for row, since in rows if since + watched <= until]
    return Exposed(
        np.array([row["ordinal"] for row, _ in rows], dtype=np.uint32),
        tuple(split.arm(row["person_id"]) for row, _ in rows),
        tuple(since for _, since in rows),
    )


def outcomes(
    warehouse: Warehouse, catalog: Catalog, metric: Metric, who: Exposed, *, until: datetime, within: int | None
) -> Column:
    """Return what a metric is for each person, over what they did after they came in; NaN where it has no value."""
    found = np.full(len(who.people), np.nan)
    since = np.array([micros(instant) for instant in who.since], dtype=np.int64)
    for instant in sorted(set(who.since)):
        chosen = since == micros(instant)
        end = until if within is None else min(until, instant + timedelta(seconds=within))
        found[chosen] = after(warehouse, catalog, metric, since=instant, until=end)[who.people[chosen]]
    return found


def after(warehouse: Warehouse, catalog: Catalog, metric: Metric, *, since: datetime, until: datetime) -> Column:
    """Return a metric of everybody over what happened after `since`, up to and with `until`."""
    node = metric.rule if metric.rule is not None else metric.value
    assert node is not None
    population = open_population(warehouse, catalog, Clock(until, catalog.zone()), [node])
    population.layout = replace(population.layout, after=micros(since))
    if metric.rule is not None:
        population.decide([metric.rule])
        return population.holds(metric.rule, {}).mask().astype(np.float64)
    assert metric.value is not None
    population.decide([], keep=[metric.value])
    return population.value(metric.value)


# A report is plain JSON.
def judged(
    warehouse: Warehouse, catalog: Catalog, experiment: Experiment, segments: Iterable[Segment], *, now: datetime
) -> dict[str, Any]:
    """Return what came of an experiment: sizes and their ratio, each metric by arm, each arm against the control."""
    split = experiment.split(segments)
    who = exposed(warehouse, experiment, split, now=now)
    until = min(now, experiment.end or now)
    sizes = {arm: int(who.places(arm).sum()) for arm in split.arms}
    p = ratio_p(sizes, split.shares())
    metrics = []
    for metric in experiment.metrics:
        values = outcomes(warehouse, catalog, metric, who, until=until, within=experiment.within)
        metrics.append(_compared(metric, values, who, split.arms))
    return {
        "experiment": experiment.name,
        "description": experiment.description,
        "segment": experiment.segment,
        "start": experiment.start.isoformat(),
        "until": until.isoformat(),
        "sizes": sizes,
        "shares": {arm: round(share, 4) for arm, share in split.shares().items()},
        "ratio_p": p,
        "mismatch": p < MISMATCH_P,
        "metrics": metrics,
        "bandit": experiment.bandit,
    }


def _compared(metric: Metric, values: Column, who: Exposed, arms: Sequence[str]) -> dict[str, Any]:
    parts: Mapping[str, Column] = {arm: _known(values[who.places(arm)]) for arm in arms}
    control = arms[0]
    is_rate = metric.rule is not None
    told: dict[str, Any] = {
        "metric": metric.name,
        "kind": "rate" if is_rate else "mean",
        "arms": {
            arm: {"people": len(part), "value": round(float(part.mean()), 6) if len(part) else None}
            for arm, part in parts.items()
        },
        "against_control": {},
    }
    if is_rate:
        told["chi_square_p"] = chi_square_p([int(part.sum()) for part in parts.values()], [*map(len, parts.values())])
    for arm in arms[1:]:
        found = difference(parts[control], parts[arm])
        lift = found.arm / found.control - 1 if found and found.control else None
        told["against_control"][arm] = found and {**asdict(found), "lift": lift, "sure": found.is_sure}
    return told


def _known(values: Column) -> Column:
    return values[~np.isnan(values)]
