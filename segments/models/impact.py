"""How much each feature has to do with a label: the effect beside the p-value, which means little with many people.

Words are judged by chi-square and Cramér's V, numbers by one-way ANOVA and eta squared, both by mutual information.
An effect around 0.1 is small, 0.3 medium and 0.5 large for V; 0.01, 0.06 and 0.14 for eta squared (Cohen 1988).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy  # its parts are loaded when they are first used, which most commands never do
from numpy.typing import NDArray

from consentry.segments.bits import Column
from consentry.segments.models.asof import Observed
from consentry.segments.models.coding import plain_column

_BINS = 10
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Impact:
    """One feature against the label. effect: Cramér's V or eta squared; information: mutual information in nats."""

    feature: str
    test: Literal["chi-square", "anova"]
    statistic: float
    p: float
    effect: float
    information: float


def impacts(observed: Observed, labels: Sequence[object]) -> list[Impact]:
    """Return the impact of every feature on a label, the greatest effect first; what never varies has none."""
    places, groups = _places(labels)
    found = []
    for feature in observed.features:
        if feature.type == "text":
            made = _of_words(feature.name, observed.columns[feature.name], places, groups)
        else:
            made = _of_numbers(feature.name, plain_column(observed, feature.name), places, groups)
        found += [made] if made else []
    return sorted(found, key=lambda impact: (-impact.effect, impact.feature))


def _places(labels: Sequence[object]) -> tuple[Places, int]:
    known = sorted({str(label) for label in labels})
    numbers = {label: n for n, label in enumerate(known)}
    return np.array([numbers[str(label)] for label in labels], dtype=np.intp), len(known)


def _of_words(name: str, column: Column, places: Places, groups: int) -> Impact | None:
    codes = np.unique(np.where(np.isnan(column), -1.0, column), return_inverse=True)[1]  # missing is a word too
    table = contingency(codes, places, groups)
    if min(table.shape) < 2:
        return None
    statistic, p = chi_square(table)
    v = math.sqrt(statistic / (table.sum() * (min(table.shape) - 1)))
    return Impact(name, "chi-square", statistic, p, v, information(table))


def _of_numbers(name: str, column: Column, places: Places, groups: int) -> Impact | None:
    known = ~np.isnan(column)
    values, own = column[known], places[known]
    parts = [values[own == n] for n in range(groups) if np.count_nonzero(own == n) > 1]
    if len(parts) < 2 or np.ptp(values) == 0:
        return None
    # Read from the sums of squares: ready-made tests warn and give NaN where the groups do not vary inside.
    whole = np.concatenate(parts)
    between = float(sum(len(part) * (part.mean() - whole.mean()) ** 2 for part in parts))
    within = float(sum(((part - part.mean()) ** 2).sum() for part in parts))
    above, below = len(parts) - 1, len(whole) - len(parts)
    statistic = math.inf if within == 0 else (between / above) / (within / below)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    table = contingency(np.searchsorted(edges, values), own, groups)
    p = float(scipy.special.fdtrc(above, below, statistic))
    return Impact(name, "anova", statistic, p, between / (between + within), information(table))


def chi_square(table: NDArray[np.float64]) -> tuple[float, float]:
    """Return Pearson's statistic of a contingency table, without correction, and its p-value."""
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return statistic, float(scipy.special.chdtrc((table.shape[0] - 1) * (table.shape[1] - 1), statistic))


def contingency(rows: Places, columns: Places, groups: int) -> NDArray[np.float64]:
    """Count the people of each pair; rows and columns that nobody is in are left out."""
    table = np.zeros((int(rows.max(initial=0)) + 1, groups))
    np.add.at(table, (rows, columns), 1)
    return table[table.any(axis=1)][:, table.any(axis=0)]


def information(table: NDArray[np.float64]) -> float:
    """Return the mutual information of a contingency table, in nats."""
    joint = table / table.sum()
    alone = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    some = joint > 0
    return float((joint[some] * np.log(joint[some] / alone[some])).sum())


# Rows are plain JSON.
def told(found: Sequence[Impact]) -> list[dict[str, Any]]:
    """Return impacts as a card holds them."""
    return [
        {
            "feature": item.feature,
            "test": item.test,
            "statistic": None if math.isinf(item.statistic) else round(item.statistic, 4),
            "p": item.p,
            "effect": round(item.effect, 4),
            "information": round(item.information, 4),
        }
        for item in found
    ]
