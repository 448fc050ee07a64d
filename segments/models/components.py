"""Principal components: the few directions along which people differ most (PCA by singular values)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from consentry.segments.bits import Column
from consentry.segments.models.coding import Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Directions, one a row, and the share of the variance that each explains."""

    middle: Column
    directions: Matrix
    explained: Column

    def __call__(self, matrix: Matrix) -> Matrix:
        """Return the coordinates of the rows along the directions."""
        return np.asarray((matrix - self.middle) @ self.directions.T)

    def plain(self) -> dict[str, Any]:
        """Return the components as JSON holds them."""
        return {
            "middle": self.middle.tolist(),
            "directions": self.directions.tolist(),
            "explained": self.explained.tolist(),
        }

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Components:
        """Read what `plain` returned."""
        return cls(*(np.asarray(plain[name], dtype=np.float64) for name in ("middle", "directions", "explained")))


def components(matrix: Matrix, count: int) -> Components:
    """Return the first `count` components of a matrix without gaps; fewer when it has fewer columns or rows.

    The sign of a direction is fixed: its greatest part is positive.
    """
    middle = matrix.mean(axis=0)
    _, sizes, directions = np.linalg.svd(matrix - middle, full_matrices=False)
    variance = sizes**2
    greatest = np.argmax(np.abs(directions), axis=1)
    signs = np.sign(directions[np.arange(len(directions)), greatest])
    total = float(variance.sum()) or 1.0
    return Components(middle, (directions * signs[:, None])[:count], (variance / total)[:count])
