"""Compare the records that share a key: block, leave out the pairs that cannot weigh enough, score the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from consentry.identity.blocks import LeftOut, read_blocks, windows
from consentry.identity.candidates import FEATURES, PAIRS
from consentry.identity.model import Model
from consentry.identity.pruning import read_bounds
from consentry.identity.score import Scored, least_bits, score
from consentry.identity.similar_config import SimilarRules
from consentry.warehouse import Warehouse

_SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.int64())])


@dataclass(frozen=True, slots=True)
class Compared:
    """The scored pairs that matter, blocks left out for their size, and how many pairs shared a key."""

    scored: Scored
    left_out: tuple[LeftOut, ...]
    pairs: int


def compare(warehouse: Warehouse, model: Model, rules: SimilarRules) -> Compared:
    """Score all pairs of FEATURES that share a key and weigh enough, or that a household explains."""
    records = warehouse.count(FEATURES)
    least = least_bits(records)
    blocks, left_out = read_blocks(warehouse, rules)
    bounds = read_bounds(warehouse, model)
    pairs = 0

    def promising() -> Iterator[pa.RecordBatch]:
        nonlocal pairs
        for window in windows(blocks, records):
            pairs += len(window)
            one, other = window >> 32, window & 0xFFFFFFFF
            kept = bounds.promising(one, other, least)
            yield pa.RecordBatch.from_arrays([one[kept], other[kept]], schema=_SCHEMA)

    warehouse.write(PAIRS, promising(), schema=_SCHEMA)
    scored = score(warehouse, model, least=least)
    warehouse.drop(PAIRS)
    return Compared(scored, left_out, pairs)
