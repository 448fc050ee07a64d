"""How far does a load lie from the loads before it? Effect sizes, never p-values.

At a million rows a shift of 0.005 standard deviations has p = 0.02 (measured): the p-value tells how many rows there
are. The Kolmogorov-Smirnov distance D and the population stability index (PSI) tell how far they moved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

# Usual in credit scoring (Siddiqi 2006) for PSI; for D the same sizes of shift on a normal distribution.
D_WARN: Final = 0.05
D_ALARM: Final = 0.1
PSI_WARN: Final = 0.1
PSI_ALARM: Final = 0.25
_LEAST_SHARE: Final = 1e-4


def robust_z(value: float, before: Sequence[float]) -> tuple[float, float]:
    """Return the median of the points before, and how far the value lies from it in robust standard deviations.

    0.6745 (x - median) / MAD (Iglewicz and Hoaglin 1993); infinite when all points before are one.
    """
    middle = float(np.median(before))
    mad = float(np.median(np.abs(np.asarray(before) - middle)))
    if mad == 0:
        return middle, 0.0 if value == middle else math.copysign(math.inf, value - middle)
    return middle, 0.6745 * (value - middle) / mad


def is_strange(value: float, before: Sequence[float], *, floor: float, z: float = 3.5) -> tuple[bool, float]:
    """Tell whether a value is out of the ordinary, and return the ordinary one.

    floor: how far it must be off at least, as a share of the ordinary: a series that never moved must not cry at
    its first step.
    """
    middle, distance = robust_z(value, before)
    off = abs(value - middle) / abs(middle) if middle else (math.inf if value else 0.0)
    return abs(distance) > z and off >= floor, middle


def ks_distance(now: Sequence[float], before: Sequence[Sequence[float]]) -> float:
    """Return the largest difference of the cumulative shares, from quantiles: 0 is the same, 1 is apart."""
    points = np.unique(np.concatenate([np.asarray(now), *map(np.asarray, before)]))
    ours = _cumulative(now, points)
    theirs = np.mean([_cumulative(one, points) for one in before], axis=0)
    return float(np.max(np.abs(ours - theirs)))


def _cumulative(quantiles: Sequence[float], points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    at = np.asarray(quantiles)
    found: npt.NDArray[np.float64] = np.searchsorted(at, points, side="right") / len(at)
    return found


def psi_numbers(now: Sequence[float], before: Sequence[Sequence[float]]) -> float:
    """Return the population stability index over ten bins of the loads before."""
    pooled = np.sort(np.concatenate([np.asarray(one) for one in before]))
    edges = np.unique(np.quantile(pooled, np.linspace(0.1, 0.9, 9)))
    return _psi(_shares(now, edges), np.mean([_shares(one, edges) for one in before], axis=0))


def _shares(quantiles: Sequence[float], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Half of what lies on an edge counts to either side, so that a value that many rows share does not jump.
    at = np.asarray(quantiles)
    below = (np.searchsorted(at, edges, side="right") + np.searchsorted(at, edges, side="left")) / 2 / len(at)
    return np.diff(np.concatenate([[0.0], below, [1.0]]))


def _psi(now: npt.NDArray[np.float64], before: npt.NDArray[np.float64]) -> float:
    ours, theirs = np.clip(now, _LEAST_SHARE, None), np.clip(before, _LEAST_SHARE, None)
    return float(np.sum((ours - theirs) * np.log(ours / theirs)))


def psi_words(now: Mapping[str, float], before: Sequence[Mapping[str, float]], *, rare: float = 0.01) -> float:
    """Return the population stability index over categories; those that were rare are taken together."""
    usual = {word: float(np.mean([one.get(word, 0.0) for one in before])) for one in before for word in one}
    kept = sorted(word for word, share in usual.items() if share >= rare)
    ours = [now.get(word, 0.0) for word in kept]
    theirs = [usual[word] for word in kept]
    return _psi(np.array([*ours, max(0.0, 1 - sum(ours))]), np.array([*theirs, max(0.0, 1 - sum(theirs))]))


def noise(rows: int, before: int) -> float:
    """Return the distance D that chance alone gives two samples of these sizes once in a hundred times."""
    return 1.63 * math.sqrt(1 / max(rows, 1) + 1 / max(before, 1))
