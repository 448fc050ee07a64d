"""What decisions mean for a run: pairs of records that must be one person, and pairs that must not."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from consentry.identity.codes import Flags, Ints, ints
from consentry.identity.decisions import BOUND
from consentry.warehouse import Warehouse


def _no_pairs() -> Ints:
    return np.empty((0, 2), dtype=np.int64)


def _no_flags() -> Flags:
    return np.empty(0, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Constraints:
    """Pairs of record codes, one pair a line, in an order that no arrival can change.

    together: one person; forced: of each of those pairs, whether it holds against unique identifiers that differ.
    apart: never one person; this holds against everything.
    """

    together: Ints = field(default_factory=_no_pairs)
    forced: Flags = field(default_factory=_no_flags)
    apart: Ints = field(default_factory=_no_pairs)


def constraints(warehouse: Warehouse, records: str = "identity.staged_record") -> Constraints:
    """Read the pairs of `identity.staged_bound`; a merge of many records is a star around the first of them.

    records: the table that numbers the records (record_id, r).
    """
    merged = warehouse.sql(
        f"SELECT DISTINCT first AS one, r AS other, forced FROM (SELECT s.r, b.forced, min(s.r) OVER ("
        f"PARTITION BY b.decision_id) AS first FROM {BOUND} b JOIN {records} s USING (record_id)"
        " WHERE b.kind = 'merge') WHERE r <> first ORDER BY ALL"
    )
    apart = warehouse.sql(
        f"WITH seat AS (SELECT b.decision_id, b.side, s.r FROM {BOUND} b JOIN {records} s"
        " USING (record_id) WHERE b.kind <> 'merge') SELECT DISTINCT least(a.r, b.r) AS one,"
        " greatest(a.r, b.r) AS other FROM seat a JOIN seat b USING (decision_id)"
        " WHERE a.side = 0 AND b.side = 1 ORDER BY ALL"
    )
    forced = merged["forced"].to_numpy().astype(np.bool_)
    pairs = [np.stack([ints(found["one"]), ints(found["other"])], axis=1) for found in (merged, apart)]
    return Constraints(pairs[0], forced, pairs[1])
