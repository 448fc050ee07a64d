"""How sure a measured precision or recall is: intervals for labels that cover a part of the people.

People are resampled whole, not pairs: the pairs of one person are right or wrong together, and treating them as
independent makes intervals far too narrow (Binette et al., arXiv 2404.05622).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_ROUNDS = 500
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share from 0 to 1 and the interval in which it lies 95 times of 100; `of` people or draws it rests on."""

    value: float
    low: float
    high: float
    of: int


def pair_estimates(labels: npt.ArrayLike, truth: npt.ArrayLike, *, seed: int = 1) -> tuple[Estimate, Estimate]:
    """Estimate pairwise precision and recall, with intervals by resampling true people.

    Each person has its right pairs, those that are missing, and half of each wrong pair it stands in.
    """
    one, found = np.unique(np.asarray(labels), return_inverse=True)
    other, true = np.unique(np.asarray(truth), return_inverse=True)
    cells, count = np.unique(found.astype(np.int64) * len(other) + true, return_counts=True)
    cell_found, cell_true = cells // len(other), cells % len(other)
    size_found = np.bincount(found, minlength=len(one))
    size_true = np.bincount(true, minlength=len(other)).astype(np.float64)
    right: Floats = np.bincount(cell_true, count * (count - 1) / 2, minlength=len(other)).astype(np.float64)
    wrong: Floats = np.bincount(cell_true, count * (size_found[cell_found] - count) / 2, minlength=len(other)).astype(
        np.float64
    )
    missed = size_true * (size_true - 1) / 2 - right
    return ratio_estimate(right, right + wrong, seed=seed), ratio_estimate(right, right + missed, seed=seed)


def ratio_estimate(part: Floats, whole: Floats, *, seed: int = 1) -> Estimate:
    """Estimate the ratio of two sums, with an interval by resampling their terms together."""
    rng = np.random.default_rng(seed)
    shares = np.empty(_ROUNDS)
    for n in range(_ROUNDS):
        drawn = rng.integers(len(part), size=len(part))
        shares[n] = _share(part[drawn].sum(), whole[drawn].sum())
    low, high = np.quantile(shares, [0.025, 0.975])
    return Estimate(_share(part.sum(), whole.sum()), float(low), float(high), len(part))


def sample_precision(draws: Sequence[Sequence[str]], *, seed: int = 1) -> tuple[Estimate, Estimate]:
    """Estimate B-cubed and pairwise precision from a clerical sample.

    draws: of each drawn person the labels of its records. People were drawn in proportion to their records, so that
    the mean over draws is B-cubed precision; pairs are weighted back by the size of the person.
    """
    purity, right, pairs = np.empty(len(draws)), np.empty(len(draws)), np.empty(len(draws))
    for n, labels in enumerate(draws):
        counts = np.unique(np.asarray(labels), return_counts=True)[1].astype(np.float64)
        size = counts.sum()
        purity[n] = (counts**2).sum() / size**2
        right[n] = (counts * (counts - 1) / 2).sum() / size
        pairs[n] = (size - 1) / 2
    return ratio_estimate(purity, np.ones(len(draws)), seed=seed), ratio_estimate(right, pairs, seed=seed)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 1.0
