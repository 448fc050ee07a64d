"""The statistics of experiments: is the split right, do arms differ, by how much, and which arm gets whom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are first used, which most commands never do
from numpy.typing import NDArray

from consentry.segments.bits import Column
from consentry.segments.models.impact import chi_square

# A ratio this unlikely is a fault of the split and no chance (sample ratio mismatch, Fabijan et al. 2019).
MISMATCH_P = 0.001
ALPHA = 0.05
# The number of people at which a confidence sequence is at its narrowest; it has to be chosen before looking.
_TUNED_FOR = 1_000
_DRAWS = 20_000


@dataclass(frozen=True, slots=True)
class Difference:
    """An arm against the control. p: of one look; low, high: valid however often and whenever anybody looks."""

    control: float
    arm: float
    p: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        return self.low > 0 or self.high < 0


def ratio_p(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Return how likely the sizes of the arms are under their shares: chi-square; 1 when nobody is there."""
    total = sum(counts.values())
    expected = np.array([shares[arm] * total for arm in counts])
    if total == 0 or (expected == 0).any():
        return 1.0
    statistic = float(((np.array(list(counts.values())) - expected) ** 2 / expected).sum())
    return float(scipy.special.chdtrc(len(counts) - 1, statistic))


def chi_square_p(held: Sequence[int], people: Sequence[int]) -> float:
    """Return how likely the rates of all arms differ this much by chance; 1 when nothing can be told."""
    table = np.array([held, np.asarray(people) - np.asarray(held)], dtype=np.float64)
    if (table.sum(axis=0) == 0).any() or (table.sum(axis=1) == 0).any():
        return 1.0
    return chi_square(table)[1]


def difference(control: Column, arm: Column, *, alpha: float = ALPHA) -> Difference | None:
    """Compare two arms by Welch's test and a confidence sequence; None with fewer than two people in an arm.

    A rate is the mean of zeros and ones, for which Welch's test is as good as any with more than a few people.
    """
    if min(len(control), len(arm)) < 2:
        return None
    gap = float(arm.mean() - control.mean())
    error = math.sqrt(float(control.var(ddof=1)) / len(control) + float(arm.var(ddof=1)) / len(arm))
    width = always_valid(error, len(control) + len(arm), alpha=alpha)
    p = _welch_p(control, arm) if error > 0 else float(gap == 0)
    return Difference(float(control.mean()), float(arm.mean()), p, gap - width, gap + width)


def _welch_p(control: Column, arm: Column) -> float:
    """Return the p-value of Welch's test, with the degrees of freedom of Welch and Satterthwaite."""
    parts = [float(part.var(ddof=1)) / len(part) for part in (control, arm)]
    freedom = sum(parts) ** 2 / sum(v**2 / (len(p) - 1) for v, p in zip(parts, (control, arm), strict=True))
    t = abs(float(arm.mean() - control.mean())) / math.sqrt(sum(parts))
    return 2 * float(scipy.special.stdtr(freedom, -t))


def always_valid(error: float, people: int, *, alpha: float = ALPHA) -> float:
    """Return half the width of a confidence sequence: looking at it every day keeps its promise.

    The asymptotic confidence sequence with a normal mixture (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021,
    equation 6), with its rho for the least width at _TUNED_FOR people. error: standard error of what is estimated.
    """
    rho = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / _TUNED_FOR
    scale = people * rho + 1
    deviation = error * math.sqrt(people)
    return deviation * math.sqrt(2 * scale / (people**2 * rho) * math.log(math.sqrt(scale) / alpha))


def thompson(
    held: Mapping[str, int], people: Mapping[str, int], *, floor: float = 0.05, seed: int = 1
) -> dict[str, float]:
    """Return how likely each arm is the best, which is the share of people it gets (Thompson 1933).

    floor: no arm gets less, so that it can recover. The prior of a rate is uniform.
    """
    rng = np.random.default_rng(seed)
    arms = list(people)
    draws = np.array([rng.beta(1 + held[arm], 1 + people[arm] - held[arm], size=_DRAWS) for arm in arms])
    best = np.bincount(draws.argmax(axis=0), minlength=len(arms)) / _DRAWS
    floor = min(floor, 1 / len(arms))
    weights: NDArray[np.float64] = floor + (1 - floor * len(arms)) * best
    return {arm: float(weight) for arm, weight in zip(arms, weights, strict=True)}


def declined(month: Column, week: Column, *, drop: float, p: float = 0.01) -> bool:
    """Tell whether a week lies below the month before it by at least `drop`, and by more than days differ anyhow."""
    if len(week) < 3 or len(month) < 7 or month.mean() <= 0 or week.mean() > (1 - drop) * month.mean():
        return False
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(week, month, alternative="less").pvalue) < p
