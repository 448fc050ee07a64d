"""How well a partition of records agrees with the truth: pairs, B-cubed and whole clusters.

Every function takes two labels a record, of any kind: two records belong together when their labels are equal.
Nothing claimed is nothing claimed wrongly: without any pair precision is 1, and without any true pair recall is 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consentry.identity.codes import Ints


@dataclass(frozen=True, slots=True)
class Agreement:
    """Precision, recall and their harmonic mean, each from 0 to 1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Return the harmonic mean of both."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


@dataclass(frozen=True, slots=True)
class _Table:
    """Records by found and true cluster: sizes of either, and of each cell that is not empty."""

    found: Ints
    true: Ints
    cell: Ints
    cell_found: Ints
    cell_true: Ints


def pairwise(labels: npt.ArrayLike, truth: npt.ArrayLike) -> Agreement:
    """Compare the pairs of records that are together."""
    table = _table(labels, truth)
    right = _pairs(table.cell)
    return Agreement(_share(right, _pairs(table.found)), _share(right, _pairs(table.true)))


def b_cubed(labels: npt.ArrayLike, truth: npt.ArrayLike) -> Agreement:
    """Average over the records how pure and how complete the cluster of each is (Bagga and Baldwin, 1998)."""
    table = _table(labels, truth)
    records = int(table.cell.sum())
    square = table.cell.astype(np.float64) ** 2
    precision = float((square / table.found[table.cell_found]).sum())
    recall = float((square / table.true[table.cell_true]).sum())
    return Agreement(_share(precision, records), _share(recall, records))


def exact_clusters(labels: npt.ArrayLike, truth: npt.ArrayLike) -> Agreement:
    """Compare whole clusters: found right is one that holds all records of somebody and no other."""
    table = _table(labels, truth)
    same = (table.cell == table.found[table.cell_found]) & (table.cell == table.true[table.cell_true])
    right = int(same.sum())
    return Agreement(_share(right, len(table.found)), _share(right, len(table.true)))


def mistakes(labels: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[int, int]:
    """Count the clusters that mix several people, and the people who are scattered over several clusters."""
    table = _table(labels, truth)
    mixed = np.bincount(table.cell_found, minlength=len(table.found)) > 1
    scattered = np.bincount(table.cell_true, minlength=len(table.true)) > 1
    return int(mixed.sum()), int(scattered.sum())


def _table(labels: npt.ArrayLike, truth: npt.ArrayLike) -> _Table:
    _, one, found = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    _, other, true = np.unique(np.asarray(truth), return_inverse=True, return_counts=True)
    width = max(len(true), 1)
    cells, cell = np.unique(one.astype(np.int64) * width + other, return_counts=True)
    counts = (found.astype(np.int64), true.astype(np.int64), cell.astype(np.int64))
    return _Table(*counts, cell_found=cells // width, cell_true=cells % width)


def _pairs(sizes: Ints) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 1.0
