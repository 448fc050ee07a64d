"""Blocks of records that share a key, and the pairs in them, in numpy: each pair once, some at a time.

The pairs of a whole run would not fit into memory when there are many records; a window of records and all that they
are paired with does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consentry.identity.candidates import FEATURES, PARTS, blocking_rules, staged_roles
from consentry.identity.codes import Ints
from consentry.identity.similar_config import SimilarRules
from consentry.warehouse import Warehouse

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int32]
# Pairs that are looked at together.
_WINDOW = 2_000_000
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2 to the 64 by the golden ratio (Knuth 1973, multiplicative hashing)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a blocking rule left out for its size: so many keys, on so many records."""

    rule: str
    keys: int
    records: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of one rule, ready to be paired.

    member: the records, block by block, in ascending order. start, count: for each record where in `member` those
    stand that it is paired with, which are higher than itself, and how many they are.
    """

    member: Places
    start: Places
    count: Places

    def pairs(self, low: int, high: int) -> Ints:
        """Return all pairs whose lower record lies from low to below high, as lower << 32 | higher."""
        count = self.count[low:high].astype(np.int64)
        before = np.cumsum(count) - count
        place = np.arange(count.sum()) + np.repeat(self.start[low:high] - before, count)
        pairs: Ints = np.repeat(np.arange(low, high) << 32, count) | self.member[place]
        return pairs


def read_blocks(warehouse: Warehouse, rules: SimilarRules) -> tuple[list[Blocks], tuple[LeftOut, ...]]:
    """Group the records of FEATURES by each blocking rule; return also what was left out for its size."""
    used = list(blocking_rules(staged_roles(warehouse)))
    hashes = read_hashes(warehouse, {part: PARTS[part][1] for _, parts in used for part in parts})
    blocks, left_out = [], []
    for rule, parts in used:
        found, keys, records = _block(rule_key([hashes[part] for part in parts]), rules)
        blocks.append(found)
        if keys:
            left_out.append(LeftOut(rule, keys, records))
    return blocks, tuple(left_out)


def read_hashes(warehouse: Warehouse, columns: Mapping[str, str]) -> dict[str, Hashes]:
    """Read a hash of each expression over FEATURES, by record; 0 where it is null."""
    records = warehouse.count(FEATURES)
    found = {name: np.zeros(records, dtype=np.uint64) for name in columns}
    hashed = ", ".join(map(hashed_sql, columns.values()))
    for batch in warehouse.stream(f"SELECT r, {hashed} FROM {FEATURES}"):
        at = batch.column(0).to_numpy()
        for place, name in enumerate(columns, 1):
            found[name][at] = batch.column(place).to_numpy()
    return found


def hashed_sql(sql: str) -> str:
    """Write the SQL of the hash of an expression, 0 where it is null."""
    return f"CASE WHEN {sql} IS NULL THEN 0 ELSE hash({sql}) END"


def rule_key(parts: Sequence[Hashes]) -> Hashes:
    """Mix the hashes of the parts of a rule into its key, by record; 0 where a part is missing."""
    key = np.zeros(len(parts[0]), dtype=np.uint64)
    for part in parts:
        key = ((key ^ (key >> np.uint64(29))) + part) * _MIX
    for part in parts:
        key[part == 0] = 0
    return key


def windows(blocks: Sequence[Blocks], records: int) -> Iterator[Ints]:
    """Yield all pairs, each once, in order, as lower << 32 | higher."""
    load = np.zeros(records, dtype=np.int64)
    for block in blocks:
        load += block.count
    ends = np.cumsum(load)
    low = 0
    while low < records and blocks:
        done = ends[low - 1] if low else 0
        high = max(int(np.searchsorted(ends, done + _WINDOW, "right")), low + 1)
        pairs = np.sort(np.concatenate([block.pairs(low, high) for block in blocks]))
        yield pairs[np.flatnonzero(np.diff(pairs, prepend=-1))]
        low = high


def _block(key: Hashes, rules: SimilarRules) -> tuple[Blocks, int, int]:
    """Group the records by their key; return also how many keys on how many records were left out.

    A rule that would give more pairs than it may is too coarse for this many records: the further beyond, the fewer
    of its pairs are worth a look, so that it gets its bound times bound / pairs, the smallest blocks first.
    """
    records = len(key)
    bits = np.uint64(max(records - 1, 1).bit_length())
    held = np.flatnonzero(key).astype(np.uint64)
    # One number says both key and record: sorting it is several times faster than finding an order of keys.
    line = np.sort((key[held] >> bits << bits) | held)
    edges = np.flatnonzero(np.diff(line >> bits)) + 1
    start = np.concatenate([np.zeros(min(len(line), 1), dtype=np.int64), edges])
    size = np.diff(start, append=len(line))
    start, size = start[size > 1], size[size > 1]
    used = size <= _largest(size, records, rules)
    member = (line & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int32)
    return _paired(member, start[used], size[used], records), int((~used).sum()), int(size[~used].sum())


def _largest(size: Ints, records: int, rules: SimilarRules) -> int:
    """Return up to which size blocks are compared."""
    blocks = np.bincount(size, minlength=2)[: rules.largest_block + 1]
    length = np.arange(len(blocks))
    cost = np.cumsum(blocks * (length * (length - 1) // 2))
    budget = rules.pairs_per_record * records
    return int(np.searchsorted(cost, budget * min(1.0, budget / (cost[-1] + 1)), "right")) - 1


def _paired(line: Places, start: Ints, size: Ints, records: int) -> Blocks:
    """Keep the members of the blocks that are used, and pair each with those after it."""
    before = np.cumsum(size) - size
    place = np.arange(size.sum())
    member = line[place + np.repeat(start - before, size)]
    starts, counts = np.zeros(records, dtype=np.int32), np.zeros(records, dtype=np.int32)
    starts[member] = place + 1
    counts[member] = np.repeat(before + size, size) - place - 1
    return Blocks(member, starts, counts)
