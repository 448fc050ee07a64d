"""Publish who is in each segment, with who came and who left, in one atomic step.

`segment.cohort` keeps who came in at the same instant, `segment.gone` who of those left since, `segment.change_set` who
came and left in a run. They name sets of `segment.people_set`, so that what happened to some people at once is written
once. `segment.membership` and `segment.change` show both with one row a person; they are views.
`segment.roster` keeps one Roaring bitmap of person ordinals a segment, of who was in it before the set `upto`: few who
come or go do not make it be written anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from pyroaring import BitMap

from consentry.segments.bits import Ordinals, bitmap, ordinals_of
from consentry.segments.people import ORDINALS, make_ordinals
from consentry.warehouse import Warehouse

MEMBERSHIP = "segment.membership"
CHANGE = "segment.change"
ROSTER = "segment.roster"
COHORT = "segment.cohort"
GONE = "segment.gone"
# Cohorts are written anew once more than this share of a segment left them, and a roster once it changed by so much,
# or has as many sets of changes to be read after it.
_WORTH_WRITING = 0.05
_MANY_SETS = 32
CHANGE_SET = "segment.change_set"
PEOPLE_SET = "segment.people_set"
_INSTANT = pa.timestamp("us", "UTC")
_SET = ("set_id", pa.uint32())
_SCHEMAS = {
    ROSTER: pa.schema([("segment", pa.string()), ("upto", pa.uint32()), ("members", pa.binary())]),
    COHORT: pa.schema([("segment", pa.string()), ("entered_at", _INSTANT), _SET]),
    GONE: pa.schema([("segment", pa.string()), ("left_at", _INSTANT), ("size", pa.uint32()), _SET]),
    CHANGE_SET: pa.schema([*((name, pa.string()) for name in ("run_id", "segment", "change")), ("at", _INSTANT), _SET]),
    PEOPLE_SET: pa.schema([_SET, ("ordinals", pa.list_(pa.uint32()))]),
}
# Looking for the best compression of each block takes longer than all else about a set.
_ORDINALS = "UINTEGER[] USING COMPRESSION uncompressed"
# Sets are written in pieces: DuckDB puts many rows straight into the file, and a few long ones into its log first.
_PIECE = 64
_USED = " UNION ALL ".join(f"SELECT set_id FROM {table}" for table in (COHORT, GONE, CHANGE_SET))
# DuckDB keeps the word AT for itself: the column has to be quoted.
_VIEWS = {
    MEMBERSHIP: (COHORT, "c.segment, o.person_id, c.entered_at", "segment, entered_at"),
    CHANGE: (CHANGE_SET, 'c.run_id, c.segment, o.person_id, c.change, c."at"', 'run_id, segment, change, "at"'),
}


@dataclass(frozen=True, slots=True)
class Changes:
    """How many people came into each segment and left it."""

    entered: Mapping[str, int]
    left: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Move:
    """Who came into one segment and left it."""

    segment: str
    now: BitMap
    came: BitMap
    gone: BitMap


def make_tables(warehouse: Warehouse) -> None:
    """Make the tables and views of memberships where they are not there yet."""
    kinds = {pa.string(): "VARCHAR", pa.uint32(): "UINTEGER", pa.binary(): "BLOB", _INSTANT: "TIMESTAMPTZ"}
    for table, schema in _SCHEMAS.items():
        columns = ", ".join(f'"{field.name}" {kinds.get(field.type, _ORDINALS)}' for field in schema)
        warehouse.sql(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
    if not warehouse.has(ORDINALS):
        make_ordinals(warehouse)
    for view, (table, shown, columns) in _VIEWS.items():
        left = f"(SELECT segment, left_at, unnest(ordinals) AS ordinal FROM {_with_people(GONE)}) AS g"
        same = "g.segment = c.segment AND g.ordinal = c.ordinal AND c.entered_at < g.left_at"
        without = f" ANTI JOIN {left} ON {same}" if view == MEMBERSHIP else ""
        inner = f"SELECT {columns}, unnest(ordinals) AS ordinal FROM {_with_people(table)}"
        warehouse.sql(
            f"CREATE OR REPLACE VIEW {view} AS SELECT {shown} FROM ({inner}) AS c"
            f" JOIN {ORDINALS} AS o ON o.ordinal = c.ordinal{without}"
        )


def rosters(warehouse: Warehouse) -> dict[str, BitMap]:
    """Return who is in each segment, by ordinal; a segment that nobody is in is there too."""
    if not warehouse.has(ROSTER):
        return {}
    rows = warehouse.sql(f"SELECT segment, upto, members FROM {ROSTER}").to_pylist()
    found = {row["segment"]: BitMap.deserialize(row["members"]) for row in rows}
    for segment, change, people in _changes_since(warehouse, min((row["upto"] for row in rows), default=0)):
        if change == "enter":
            found[segment] |= people
        else:
            found[segment] -= people
    return found


def _changes_since(warehouse: Warehouse, first: int) -> Iterator[tuple[str, str, BitMap]]:
    """Yield who came into each segment or left it since its roster was written, in the order in which they did."""
    found = warehouse.sql(
        f"SELECT set_id, c.segment, c.change, p.ordinals FROM {CHANGE_SET} AS c JOIN {PEOPLE_SET} AS p USING (set_id)"
        f" JOIN {ROSTER} AS r ON r.segment = c.segment AND c.set_id >= r.upto WHERE p.set_id >= $first ORDER BY set_id",
        first=first,
    ).combine_chunks()
    numbers, pieces = found["set_id"].to_numpy(), found["ordinals"].combine_chunks()
    begins = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
    for begin, end in itertools.pairwise([*begins, len(numbers)]):
        people = pieces[begin:end].flatten().to_numpy()
        yield found["segment"][begin].as_py(), found["change"][begin].as_py(), bitmap(people)


def publish(
    warehouse: Warehouse,
    members: Mapping[str, BitMap],
    *,
    now: datetime,
    run_id: str,
    before: Mapping[str, BitMap] | None = None,
) -> Changes:
    """Replace the memberships and note the changes; who stays keeps the time of entry.

    A segment that is no longer defined loses its members. Publishing the same again changes nothing. The tables have
    to be there, and a transaction open. before: the rosters, when they were read already.
    """
    before = rosters(warehouse) if before is None else before
    moves = [
        _Move(name, then, then - earlier, earlier - then)
        for name in sorted({*members, *before})
        for then, earlier in ((members.get(name, BitMap()), before.get(name, BitMap())),)
        if then is not earlier
    ]
    moved = [move for move in moves if move.came or move.gone or move.segment not in before]
    _write(warehouse, moved, dropped=before.keys() - members.keys(), now=now, run_id=run_id)
    return Changes(
        {move.segment: len(move.came) for move in moved if move.came},
        {move.segment: len(move.gone) for move in moved if move.gone},
    )


class _Sets:
    """Sets of people that are to be written, each with its number."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.made: list[Ordinals] = []

    def add(self, people: BitMap) -> int:
        self.made.append(ordinals_of(people))
        return self.upto - 1

    @property
    def upto(self) -> int:
        """Return the number that the next set will have."""
        return self.first + len(self.made)

    def batches(self) -> Iterator[pa.RecordBatch]:
        for number, people in enumerate(self.made, self.first):
            ends = pa.array([*range(0, len(people), _PIECE), len(people)], pa.int32())
            numbers = np.full(len(ends) - 1, number, dtype=np.uint32)
            yield pa.record_batch([numbers, pa.ListArray.from_arrays(ends, people)], schema=_SCHEMAS[PEOPLE_SET])


def _write(warehouse: Warehouse, moved: list[_Move], *, dropped: set[str], now: datetime, run_id: str) -> None:
    now = now if now.tzinfo else now.replace(tzinfo=UTC)
    used = warehouse.sql(f"SELECT coalesce(max(set_id) + 1, 0) AS n FROM ({_USED})")
    sets = _Sets(int(used["n"][0].as_py()))
    came = {move.segment: sets.add(move.came) for move in moved if move.came}
    gone = {move.segment: sets.add(move.gone) for move in moved if move.gone}
    rewritten = _to_rewrite(warehouse, [move for move in moved if move.gone and move.segment not in dropped], now)
    kept = [(segment, entered, sets.add(people)) for segment, entered, people in _kept(warehouse, rewritten)]
    anew = {move.segment for move in rewritten} | dropped
    _delete(warehouse, COHORT, sorted(anew))
    _delete(warehouse, GONE, sorted(anew))
    written = _rosters_to_write(warehouse, [move for move in moved if move.segment not in dropped])
    _delete(warehouse, ROSTER, [move.segment for move in written] + sorted(dropped))
    warehouse.write(PEOPLE_SET, sets.batches(), schema=_SCHEMAS[PEOPLE_SET], mode="append")
    leaving = [
        (move.segment, now, len(move.gone), gone[move.segment])
        for move in moved
        if move.gone and move.segment not in anew
    ]
    _append(warehouse, GONE, leaving)
    _append(warehouse, COHORT, [*kept, *((segment, now, number) for segment, number in came.items())])
    _append(warehouse, ROSTER, [(move.segment, sets.upto, move.now.serialize()) for move in written])
    entered = [(run_id, segment, "enter", now, number) for segment, number in came.items()]
    left = [(run_id, segment, "exit", now, number) for segment, number in gone.items()]
    _append(warehouse, CHANGE_SET, [*entered, *left])
    if anew:
        _forget_unused(warehouse)


def _to_rewrite(warehouse: Warehouse, moved: list[_Move], now: datetime) -> list[_Move]:
    """Return the segments whose cohorts are written anew: many left, or the clock did not go on since the last."""
    if not moved:
        return []
    query = f"SELECT segment, max(entered_at) AS last FROM {COHORT} GROUP BY segment"
    last = {row["segment"]: row["last"] for row in warehouse.sql(query).to_pylist()}
    query = f"SELECT segment, sum(size) AS n FROM {GONE} GROUP BY segment"
    left = {row["segment"]: int(row["n"]) for row in warehouse.sql(query).to_pylist()}
    return [
        move
        for move in moved
        if last.get(move.segment, now) >= now
        or left.get(move.segment, 0) + len(move.gone) > _WORTH_WRITING * len(move.now)
    ]


def _rosters_to_write(warehouse: Warehouse, moved: list[_Move]) -> list[_Move]:
    """Return the segments whose roster is new, or would have to be read with many changes."""
    if not moved:
        return []
    query = (
        f"SELECT r.segment, count(c.set_id) AS n FROM {ROSTER} AS r"
        f" LEFT JOIN {CHANGE_SET} AS c ON c.segment = r.segment AND c.set_id >= r.upto GROUP BY r.segment"
    )
    sets = {row["segment"]: row["n"] for row in warehouse.sql(query).to_pylist()}
    return [
        move
        for move in moved
        if sets.get(move.segment, _MANY_SETS) >= _MANY_SETS
        or len(move.came) + len(move.gone) > _WORTH_WRITING * len(move.now)
    ]


def _kept(warehouse: Warehouse, moved: list[_Move]) -> Iterator[tuple[str, datetime, BitMap]]:
    """Yield the cohorts of segments that somebody left, without those who did."""
    stays = {move.segment: move.now - move.came for move in moved}
    query = (
        f"SELECT c.segment, c.entered_at, list(c.ordinal ORDER BY c.ordinal) AS ordinals"
        f" FROM (SELECT segment, entered_at, unnest(ordinals) AS ordinal FROM {_with_people(COHORT)}"
        "  WHERE segment IN (SELECT unnest($names))) AS c"
        f" ANTI JOIN (SELECT segment, left_at, unnest(ordinals) AS ordinal FROM {_with_people(GONE)}) AS g"
        " ON g.segment = c.segment AND g.ordinal = c.ordinal AND c.entered_at < g.left_at GROUP BY ALL"
    )
    for batch in warehouse.sql(query, names=list(stays)).to_batches() if stays else ():
        names, instants = (batch.column(name).to_pylist() for name in ("segment", "entered_at"))
        for n, (segment, entered) in enumerate(zip(names, instants, strict=True)):
            people = bitmap(batch.column("ordinals")[n].values.to_numpy(zero_copy_only=False).astype(np.uint32))
            staying = people & stays[segment]
            if staying:
                yield segment, entered, staying


def _with_people(table: str) -> str:
    return f"{table} JOIN {PEOPLE_SET} USING (set_id)"


def _forget_unused(warehouse: Warehouse) -> None:
    warehouse.sql(f"DELETE FROM {PEOPLE_SET} WHERE set_id NOT IN ({_USED})")


def _delete(warehouse: Warehouse, table: str, names: list[str]) -> None:
    if names:
        warehouse.sql(f"DELETE FROM {table} WHERE segment IN (SELECT unnest($names))", names=names)


def _append(warehouse: Warehouse, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    schema = _SCHEMAS[table]
    # A batch at a time: bitmaps of many segments may be more than one Arrow array holds (2 GB).
    pieces = (zip(*rows[start : start + _PIECE], strict=True) for start in range(0, len(rows), _PIECE))
    batches = (
        pa.record_batch([pa.array(column, field.type) for column, field in zip(piece, schema, strict=True)], schema)
        for piece in pieces
    )
    if rows:
        warehouse.write(table, batches, schema=schema, mode="append")
