"""Group people who are alike: K-Means, DBSCAN, HDBSCAN and agglomerative clustering, made to last.

What is kept of a clustering is means of people and never a person: each cluster is described by a few centres, and
whoever comes later belongs to the nearest one. How well that repeats what the method itself said is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from consentry.segments.bits import Column
from consentry.segments.models.asof import Observed
from consentry.segments.models.coding import Coding, Matrix
from consentry.segments.models.components import Components
from consentry.segments.models.definition import Cluster
from consentry.segments.models.scaling import Scaling

Labels = NDArray[np.intp]
NOISE = -1
# Agglomerative clustering compares everybody with everybody, HDBSCAN nearly so.
MOST_PEOPLE: Mapping[str, int] = {"kmeans": 200_000, "dbscan": 20_000, "hdbscan": 20_000, "agglomerative": 5_000}
_CENTRES = 12
_STARTS = 10  # with one start, K-Means finds 0.72 of the truth where three find 0.95 (adjusted Rand index)


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Where people stand: coded, some on a logarithm, scaled, and along principal components if that is wanted."""

    coding: Coding
    log: tuple[str, ...]
    scaling: Scaling
    components: Components | None = None

    def place(self, observed: Observed) -> Matrix:
        """Return the place of each person."""
        placed = self.scaling(logged(self.coding, self.coding.matrix(observed), self.log))
        return placed if self.components is None else self.components(placed)

    def plain(self) -> dict[str, Any]:
        """Return the space as JSON holds it."""
        parts = None if self.components is None else self.components.plain()
        return {
            "coding": self.coding.plain(),
            "log": list(self.log),
            "scaling": self.scaling.plain(),
            "components": parts,
        }

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Space:
        """Read what `plain` returned."""
        parts = None if plain["components"] is None else Components.read(plain["components"])
        return cls(Coding.read(plain["coding"]), tuple(plain["log"]), Scaling.read(plain["scaling"]), parts)


def logged(coding: Coding, matrix: Matrix, log: Sequence[str]) -> Matrix:
    """Take log(1 + x) of the features named, 0 for what is below 0."""
    chosen = [n for n, name in enumerate(coding.names) if name in log]
    matrix = matrix.copy()
    matrix[:, chosen] = np.log1p(np.maximum(matrix[:, chosen], 0))
    return matrix


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """Clusters by their centres. names: the cluster of each centre. reach: how far from a centre its people are;
    beyond it somebody is in no cluster. None when everybody is in one."""

    space: Space
    centres: Matrix
    names: tuple[str, ...]
    reach: Column | None

    def assign(self, placed: Matrix) -> list[str | None]:
        """Return the cluster of each place."""
        nearest, distance = _nearest(placed, self.centres)
        inside = np.ones(len(placed), dtype=np.bool_) if self.reach is None else distance <= self.reach[nearest]
        return [self.names[n] if known else None for n, known in zip(nearest, inside, strict=True)]

    def plain(self) -> dict[str, Any]:
        """Return the clustering as JSON holds it."""
        reach = None if self.reach is None else self.reach.tolist()
        whole = {"space": self.space.plain(), "centres": self.centres.tolist(), "names": list(self.names)}
        return {**whole, "reach": reach}

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Clustering:
        """Read what `plain` returned."""
        reach = None if plain["reach"] is None else np.asarray(plain["reach"], dtype=np.float64)
        centres = np.asarray(plain["centres"], dtype=np.float64)
        return cls(Space.read(plain["space"]), centres, tuple(plain["names"]), reach)


# The square of a distance of each row to each centre would not fit for millions: a piece at a time.
def _nearest(placed: Matrix, centres: Matrix) -> tuple[Labels, Column]:
    nearest, distance = np.empty(len(placed), dtype=np.intp), np.empty(len(placed))
    for start in range(0, len(placed), 50_000):
        piece = slice(start, start + 50_000)
        gaps = np.linalg.norm(placed[piece][:, None, :] - centres[None, :, :], axis=2)
        nearest[piece] = gaps.argmin(axis=1)
        distance[piece] = gaps.min(axis=1)
    return nearest, distance


def labelled(placed: Matrix, wanted: Cluster, k: int, *, seed: int, starts: int = _STARTS) -> Labels:
    """Return the cluster of each row by the method itself, numbered by size, greatest first; -1 is noise."""
    return by_size(_raw_labels(placed, wanted, k, seed=seed, starts=starts))


def by_size(labels: Labels) -> Labels:
    """Number clusters anew, the greatest first; noise stays noise."""
    known, counts = np.unique(labels[labels != NOISE], return_counts=True)
    ranked = known[np.argsort(-counts, kind="stable")]
    numbers = {old: n for n, old in enumerate(ranked.tolist())}
    return np.array([numbers.get(label, NOISE) for label in labels.tolist()], dtype=np.intp)


def _raw_labels(placed: Matrix, wanted: Cluster, k: int, *, seed: int, starts: int) -> Labels:
    from sklearn.cluster import DBSCAN, HDBSCAN, AgglomerativeClustering, KMeans

    smallest = max(5, 2 * placed.shape[1])
    # Any: scikit-learn's own annotations know the one word of some arguments, not their numbers.
    k_means, by_density = cast("Any", KMeans), cast("Any", HDBSCAN)
    match wanted.method:
        case "kmeans":
            made = k_means(k, n_init=starts, random_state=seed).fit(placed).labels_
        case "agglomerative":
            made = AgglomerativeClustering(k).fit(placed).labels_
        case "hdbscan":
            least = max(smallest, round(wanted.min_share * len(placed)))
            made = by_density(min_cluster_size=least, copy=True).fit(placed).labels_
        case "dbscan":
            eps = wanted.eps or neighbourhood(placed, smallest)
            made = DBSCAN(eps=eps, min_samples=smallest).fit(placed).labels_
    return np.asarray(made, dtype=np.intp)


def neighbourhood(placed: Matrix, neighbours: int) -> float:
    """Return how far people usually are from their n-th neighbour: where the sorted distances bend (the elbow)."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=min(neighbours, len(placed))).fit(placed)
    distances = np.sort(found.kneighbors(placed)[0][:, -1])
    return max(float(distances[bend(distances)]), 1e-9)


def bend(curve: Column) -> int:
    """Return where a curve is farthest from the straight line between its ends."""
    n = np.arange(len(curve))
    line = curve[0] + (curve[-1] - curve[0]) * n / max(len(curve) - 1, 1)
    return int(np.argmax(np.abs(curve - line)))


def described(space: Space, placed: Matrix, labels: Labels, wanted: Cluster, *, seed: int) -> Clustering:
    """Describe clusters by centres: one each for K-Means, several for methods whose clusters have any shape."""
    from sklearn.cluster import KMeans

    centres: list[Column] = []
    names: list[str] = []
    reach: list[float] = []
    for n in range(int(labels.max(initial=NOISE)) + 1):
        own = placed[labels == n]
        count = 1 if wanted.method == "kmeans" else min(_CENTRES, max(1, len(own) // 5))
        found = cast("Any", KMeans)(count, n_init=1, random_state=seed).fit(own)
        distance = np.linalg.norm(own - found.cluster_centers_[found.labels_], axis=1)
        for centre in range(count):
            centres.append(found.cluster_centers_[centre])
            names.append(f"c{n + 1}")
            reach.append(float(distance[found.labels_ == centre].max(initial=0.0)))
    far = np.array(reach) if wanted.method in ("dbscan", "hdbscan") else None
    shape = (len(centres), placed.shape[1])
    return Clustering(space, np.array(centres).reshape(shape), tuple(names), far)
