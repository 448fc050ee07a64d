"""Bring columns of different units to one scale, and fill gaps for methods that cannot have any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from consentry.segments.bits import Column
from consentry.segments.models.coding import Matrix

# A width so great that a column which never varies becomes nothing; JSON has no infinity.
_NEVER = 1e300
Scale = Literal["zscore", "minmax", "robust"]


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """What each column is filled with, where it begins and how wide it is; a column that never varies becomes 0."""

    fill: Column
    begin: Column
    width: Column

    def __call__(self, matrix: Matrix) -> Matrix:
        """Return the matrix without gaps and in one scale."""
        filled = np.where(np.isnan(matrix), self.fill, matrix)
        return np.asarray((filled - self.begin) / self.width)

    def plain(self) -> dict[str, Any]:
        """Return the scaling as JSON holds it."""
        return {"fill": self.fill.tolist(), "begin": self.begin.tolist(), "width": self.width.tolist()}

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Scaling:
        """Read what `plain` returned."""
        return cls(*(np.asarray(plain[name], dtype=np.float64) for name in ("fill", "begin", "width")))


def scaling(matrix: Matrix, scale: Scale) -> Scaling:
    """Work out a scaling: medians fill gaps; robust is the median and the distance between the quartiles."""
    fill = np.array([_median(column) for column in matrix.T])
    filled = np.where(np.isnan(matrix), fill, matrix)
    match scale:
        case "zscore":
            begin, width = filled.mean(axis=0), filled.std(axis=0)
        case "minmax":
            begin, width = filled.min(axis=0), np.ptp(filled, axis=0)
        case "robust":
            low, begin, high = np.quantile(filled, [0.25, 0.5, 0.75], axis=0)
            width = high - low
    return Scaling(fill, begin, np.where(width > 0, width, _NEVER))


def _median(column: Column) -> float:
    known = column[~np.isnan(column)]
    return float(np.median(known)) if len(known) else 0.0
