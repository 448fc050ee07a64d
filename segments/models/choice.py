"""How many clusters: what each number costs and gives, and why one was taken.

The silhouette alone finds two clusters in any skewed data (Online Retail: 0.433 for two, then 0.337). A number
is therefore a candidate only when a resample of the people finds the same clusters again and none is too small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from consentry.segments.bits import Column
from consentry.segments.models.cluster import Labels, bend, labelled
from consentry.segments.models.coding import Matrix
from consentry.segments.models.definition import Cluster

# Above it two partitions are much the same (Steinley 2004 calls 0.8 good and 0.9 excellent).
STABLE = 0.8
_RESAMPLES = 10
_SAMPLE = 2_000


@dataclass(frozen=True, slots=True)
class Option:
    """One number of clusters. wcss: squared distances from the own centre; silhouette: -1 to 1; stability: mean
    adjusted Rand index over resamples; smallest: share of the smallest cluster."""

    k: int
    wcss: float
    silhouette: float
    stability: float
    smallest: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The number that was taken, the labels it gives, why, and all that was tried."""

    k: int
    labels: Labels
    reason: str
    options: tuple[Option, ...]


def choose(placed: Matrix, wanted: Cluster, *, seed: int) -> Choice:
    """Cluster people into the stated number of clusters, or into the one that is worth most."""
    if wanted.method in ("dbscan", "hdbscan"):
        labels = labelled(placed, wanted, 0, seed=seed)
        k = int(labels.max(initial=-1)) + 1
        return Choice(k, labels, "The method finds the number itself.", (_option(placed, labels, k, 0.0, seed),))
    most = min(wanted.k_max, len(np.unique(placed, axis=0)), len(placed) - 1)
    numbers = [wanted.k] if wanted.k else list(range(2, max(most, 2) + 1))
    found = {k: labelled(placed, wanted, k, seed=seed) for k in numbers}
    options = tuple(_option(placed, found[k], k, stability(placed, wanted, k, seed=seed), seed) for k in numbers)
    k, reason = (wanted.k, "The file states it.") if wanted.k else pick(options, wanted.min_share)
    return Choice(k, found[k], reason, options)


def pick(options: Sequence[Option], min_share: float) -> tuple[int, str]:
    """Return a number of clusters and why: the elbow, or the nearest stable number that has no tiny cluster."""
    elbow = options[bend(np.array([option.wcss for option in options]))].k
    good = [option for option in options if option.stability >= STABLE and option.smallest >= min_share]
    if not good:
        best = max(options, key=lambda option: (option.stability, -option.k))
        return best.k, f"No number is stable ({STABLE:g}) without a tiny cluster; {best.k} is the most stable."
    best = min(good, key=lambda option: (abs(option.k - elbow), -option.silhouette))
    why = "the elbow" if best.k == elbow else f"the stable number nearest to the elbow at {elbow}"
    return best.k, f"{best.k} is {why}: stability {best.stability:.2f}, silhouette {best.silhouette:.2f}."


def stability(placed: Matrix, wanted: Cluster, k: int, *, seed: int) -> float:
    """Return how alike the clusters of resamples are to each other: mean adjusted Rand index, 1 is the same."""
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(seed)
    some = rng.choice(len(placed), size=min(len(placed), _SAMPLE), replace=False)
    base = placed[some]
    first = labelled(base, wanted, k, seed=seed, starts=3)
    scores = []
    for n in range(_RESAMPLES):
        drawn = rng.choice(len(base), size=len(base), replace=True)
        again = labelled(base[drawn], wanted, k, seed=seed + n + 1, starts=3)
        scores.append(float(adjusted_rand_score(first[drawn], again)))
    return float(np.mean(scores))


def _option(placed: Matrix, labels: Labels, k: int, stable: float, seed: int) -> Option:
    from sklearn.metrics import silhouette_score

    own = labels >= 0
    counts = np.bincount(labels[own], minlength=max(k, 1))
    centres = np.array([placed[labels == n].mean(axis=0) for n in range(k)]).reshape(k, placed.shape[1])
    wcss = float(((placed[own] - centres[labels[own]]) ** 2).sum()) if k else 0.0
    some = np.random.default_rng(seed).permutation(np.flatnonzero(own))[:_SAMPLE]
    varied = 2 <= len(np.unique(labels[some])) < len(some)
    shape = float(silhouette_score(placed[some], labels[some])) if varied else 0.0
    return Option(k, wcss, shape, stable, float(counts.min() / len(labels)) if k else 0.0)


def shares(labels: Labels) -> Column:
    """Return the share of people in each cluster."""
    return np.bincount(labels[labels >= 0]) / max(len(labels), 1)
