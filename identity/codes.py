"""Codes and flags: how records, values and people stand in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def ints(column: pa.ChunkedArray) -> Ints:
    """Return a column of whole numbers as numpy holds them."""
    codes: Ints = column.to_numpy().astype(np.int64)
    return codes
