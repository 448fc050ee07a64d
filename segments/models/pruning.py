"""Drop one of two features that say the same, and tell which."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np

from consentry.segments.bits import Column
from consentry.segments.models.asof import Observed
from consentry.segments.models.coding import plain_column
from consentry.segments.models.definition import Prune


@dataclass(frozen=True, slots=True)
class Dropped:
    """A feature that was dropped, the earlier one that it is like, and how much."""

    feature: str
    like: str
    correlation: float


def prune(observed: Observed, wanted: Prune | None) -> list[Dropped]:
    """Return the features to drop: of each pair above the limit the later one. Words are not compared."""
    if wanted is None:
        return []
    names = [feature.name for feature in observed.features if feature.type != "text"]
    columns = {name: plain_column(observed, name) for name in names}
    dropped: dict[str, Dropped] = {}
    for first, second in itertools.combinations(names, 2):
        if first in dropped or second in dropped:
            continue
        found = correlation(columns[first], columns[second], wanted.method)
        if found is not None and abs(found) > wanted.above:
            dropped[second] = Dropped(second, first, round(found, 4))
    return list(dropped.values())


def correlation(left: Column, right: Column, method: Literal["pearson", "spearman"]) -> float | None:
    """Return how alike two columns are, over the people who have both; None when one of them never varies."""
    known = ~np.isnan(left) & ~np.isnan(right)
    left, right = left[known], right[known]
    if len(left) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    if method == "spearman":
        from scipy.stats import rankdata

        left, right = rankdata(left), rankdata(right)
    return float(np.corrcoef(left, right)[0, 1])
