"""Hold back a share of a segment's members, by a salted hash: the same people in every run, to measure against."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from consentry.segments.membership import MEMBERSHIP
from consentry.segments.segment import Holdout, Segment
from consentry.warehouse import Warehouse

HOLDOUT = "segment.holdout"
# 13 hexadecimal digits are 52 bits: a number that every engine and float holds exactly.
_DIGITS = 13
# A ratio this unlikely is a fault of the split and no chance (sample ratio mismatch, Fabijan et al. 2019).
MISMATCH_P = 0.001


@dataclass(frozen=True, slots=True)
class Split:
    """How many members of a segment are held back, and how likely a ratio this far off is by chance."""

    members: int
    held: int
    share: float
    p: float

    @property
    def is_mismatch(self) -> bool:
        return self.p < MISMATCH_P


def is_held_out(person_id: str, holdout: Holdout) -> bool:
    """Tell whether a person is held back; `hold_out` decides the same for everyone."""
    digest = hashlib.sha256(f"{holdout.salt}:{person_id}".encode()).hexdigest()
    return int(digest[:_DIGITS], 16) < _bound(holdout)


def make_tables(warehouse: Warehouse) -> None:
    """Make the table of who is held back where it is not there yet."""
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {HOLDOUT} (segment TEXT, person_id TEXT)")


def hold_out(warehouse: Warehouse, segments: Sequence[Segment]) -> dict[str, Split]:
    """Write who is held back to segment.holdout, which syncs leave out; part of the transaction that publishes."""
    warehouse.sql(f"DELETE FROM {HOLDOUT}")
    return {segment.name: _split(warehouse, segment.name, segment.holdout) for segment in segments if segment.holdout}


def _split(warehouse: Warehouse, segment: str, holdout: Holdout) -> Split:
    warehouse.sql(
        f"INSERT INTO {HOLDOUT} SELECT segment, person_id FROM {MEMBERSHIP} WHERE segment = $segment AND"
        f" CAST('0x' || substr(sha256($salt || ':' || person_id), 1, {_DIGITS}) AS BIGINT) < $bound",
        segment=segment,
        salt=holdout.salt,
        bound=_bound(holdout),
    )
    members = _count(warehouse, MEMBERSHIP, segment)
    held = _count(warehouse, HOLDOUT, segment)
    return Split(members, held, holdout.share, mismatch_p(members, held, holdout.share))


def _count(warehouse: Warehouse, table: str, segment: str) -> int:
    found = warehouse.sql(f"SELECT count(*) AS n FROM {table} WHERE segment = $segment", segment=segment)
    return int(found["n"][0].as_py())


def _bound(holdout: Holdout) -> int:
    return int(holdout.share * 16.0**_DIGITS)


def mismatch_p(members: int, held: int, share: float) -> float:
    """Return the p-value of a held-back count: chi-square with one degree of freedom."""
    variance = members * share * (1 - share)
    if variance == 0:
        return 1.0
    return math.erfc(abs(held - members * share) / math.sqrt(2 * variance))
