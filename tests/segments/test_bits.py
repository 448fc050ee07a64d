"""Bits and Roaring bitmaps hold the same people, however many of each chunk there are."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from consentry.segments.bits import Bits, bitmap, ordinals_of, roaring

# From, to, and every how many: what chunks of Roaring bitmaps are made of, from nobody to everybody.
_RUNS = st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 140_000), st.sampled_from([1, 3, 15, 17, 4000])))


@given(st.integers(0, 200_000), _RUNS)
@example(65_536, [(0, 65_536, 1)])
@example(65_537, [(0, 65_537, 1)])
@example(131_072, [(0, 131_072, 16)])  # 4,096 of a chunk are still listed
def test_what_is_packed_comes_back(size: int, runs: list[tuple[int, int, int]]) -> None:
    mask = np.zeros(size, dtype=np.bool_)
    for begin, length, step in runs:
        mask[begin : begin + length : step] = True
    bits = Bits.of(mask)
    expected = np.flatnonzero(mask)
    assert len(bits) == len(expected)
    assert np.array_equal(bits.mask(), mask)
    assert np.array_equal(bits.ordinals(), expected)
    assert roaring(bits) == bitmap(expected.astype(np.uint32))
    assert np.array_equal(ordinals_of(roaring(bits)), expected)
    assert np.array_equal((~bits).mask(), ~mask)
