"""Learn clusters: prune, scale, choose their number, describe them, and keep the names that people know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from consentry.errors import StopRun
from consentry.segments.models.asof import Observed
from consentry.segments.models.choice import choose
from consentry.segments.models.cluster import (
    MOST_PEOPLE,
    Clustering,
    Space,
    described,
    logged,
)
from consentry.segments.models.coding import code
from consentry.segments.models.components import components
from consentry.segments.models.definition import Definition
from consentry.segments.models.impact import impacts, told
from consentry.segments.models.profiles import profiles
from consentry.segments.models.pruning import prune
from consentry.segments.models.scaling import scaling

FEWEST_PEOPLE = 20


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Clusters that were learnt, and what a card tells of them."""

    clustering: Clustering
    report: dict[str, Any]


def group(observed: Observed, definition: Definition, *, before: Clustering | None = None) -> Grouped:
    """Learn the clusters of people. before: those in use, whose names go to the clusters that take their place.

    The same seed and people give the same clusters. Raises StopRun when there are too few people.
    """
    if len(observed) < FEWEST_PEOPLE:
        message = f"The model {definition.name!r} has {len(observed)} people; {FEWEST_PEOPLE} are the least to group."
        raise StopRun(message, code="too_few_people")
    wanted, rng = definition.cluster, np.random.default_rng(definition.seed)
    drawn = rng.permutation(len(observed))[: MOST_PEOPLE[wanted.method]]
    learnt = observed.some(np.sort(drawn))
    dropped = prune(learnt, definition.prune)
    space = _space(learnt, definition, [item.feature for item in dropped])
    placed = space.place(learnt)
    choice = choose(placed, wanted, seed=definition.seed)
    made = described(space, placed, choice.labels, wanted, seed=definition.seed)
    assigned = made.assign(placed)
    repeated = float(np.mean([name == _name(n) for name, n in zip(assigned, choice.labels, strict=True)]))
    if before is not None:
        made = replace(made, names=_renamed(made, assigned, before.assign(before.space.place(learnt))))
    labels = made.assign(space.place(observed))
    report = {
        "people": len(observed),
        "learnt_from": len(learnt),
        "method": wanted.method,
        "k": choice.k,
        "reason": choice.reason,
        "options": [{name: round(value, 4) for name, value in asdict(option).items()} for option in choice.options],
        "repeated": round(repeated, 4),
        "noise": round(sum(label is None for label in labels) / len(labels), 4),
        "dropped": [asdict(item) for item in dropped],
        "explained": None if space.components is None else [round(v, 4) for v in space.components.explained.tolist()],
        "profiles": profiles(observed, labels),
        "impact": told(impacts(observed, [label or "none" for label in labels])),
    }
    return Grouped(made, report)


def _space(learnt: Observed, definition: Definition, without: Sequence[str]) -> Space:
    coding = code(learnt, without=without)
    log = tuple(name for name in definition.cluster.log if name in coding.names)
    matrix = logged(coding, coding.matrix(learnt), log)
    scaled = scaling(matrix, definition.cluster.scale)
    count = definition.cluster.components
    return Space(coding, log, scaled, components(scaled(matrix), count) if count else None)


def _name(label: int) -> str | None:
    return None if label < 0 else f"c{label + 1}"


def _renamed(made: Clustering, now: Sequence[str | None], then: Sequence[str | None]) -> tuple[str, ...]:
    """Give each new cluster the name of the old one that it shares most people with; the others get new names."""
    from scipy.optimize import linear_sum_assignment

    new, old = sorted({*made.names}), sorted({name for name in then if name})
    table = np.zeros((len(new), len(old)))
    for a, b in zip(now, then, strict=True):
        if a is not None and b is not None:
            table[new.index(a), old.index(b)] += 1
    rows, columns = linear_sum_assignment(-table)
    names = {new[r]: old[c] for r, c in zip(rows, columns, strict=True) if table[r, c] > 0}
    free = (f"c{n}" for n in range(1, len(new) + len(old) + 1) if f"c{n}" not in old)
    names |= {name: next(free) for name in new if name not in names}
    return tuple(names[name] for name in made.names)
