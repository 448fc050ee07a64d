"""Publish who is in each segment, with who came and who left, in one atomic step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from consentry.segments.bits import Bits
from consentry.segments.features import ORDINALS
from consentry.warehouse import Warehouse
from consentry.warehouse.protocol import BATCH_ROWS

MEMBERSHIP = "segment.membership"
CHANGE = "segment.change"
_STAGED = "segment.membership_staged"
_NEXT = "segment.membership_next"
_SCHEMA = pa.schema([("segment", pa.string()), ("ordinal", pa.int64())])


@dataclass(frozen=True, slots=True)
class Changes:
    """How many people came into each segment and left it."""

    entered: Mapping[str, int]
    left: Mapping[str, int]


def publish(warehouse: Warehouse, members: Mapping[str, Bits], *, now: datetime, run_id: str) -> Changes:
    """Replace the memberships and note the changes; who stays keeps the time of entry.

    A segment that is no longer defined loses its members. Publishing the same again changes nothing.
    """
    warehouse.write(_STAGED, _rows(members), schema=_SCHEMA)
    with warehouse.transaction():
        _make_tables(warehouse)
        warehouse.sql(
            f"CREATE OR REPLACE TABLE {_NEXT} AS"
            " SELECT s.segment AS segment, CAST(o.person_id AS VARCHAR) AS person_id,"
            " coalesce(m.entered_at, CAST($now AS TIMESTAMPTZ)) AS entered_at"
            f" FROM {_STAGED} AS s JOIN {ORDINALS} AS o ON o.ordinal = s.ordinal"
            f" LEFT JOIN {MEMBERSHIP} AS m ON m.segment = s.segment AND m.person_id = o.person_id",
            now=now,
        )
        _note(warehouse, "enter", present=_NEXT, absent=MEMBERSHIP, now=now, run_id=run_id)
        _note(warehouse, "exit", present=MEMBERSHIP, absent=_NEXT, now=now, run_id=run_id)
        warehouse.sql(f"DROP TABLE {MEMBERSHIP}")
        warehouse.sql(f"ALTER TABLE {_NEXT} RENAME TO {MEMBERSHIP.split('.')[1]}")
        warehouse.sql(f"DROP TABLE {_STAGED}")
    return Changes(_counts(warehouse, "enter", run_id), _counts(warehouse, "exit", run_id))


def _rows(members: Mapping[str, Bits]) -> Iterator[pa.RecordBatch]:
    for segment, bits in members.items():
        ordinals = bits.ordinals()
        for start in range(0, len(ordinals), BATCH_ROWS):
            some = ordinals[start : start + BATCH_ROWS]
            yield pa.record_batch([pa.repeat(segment, len(some)), pa.array(some, pa.int64())], schema=_SCHEMA)


def _make_tables(warehouse: Warehouse) -> None:
    columns = "segment VARCHAR, person_id VARCHAR"
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {MEMBERSHIP} ({columns}, entered_at TIMESTAMPTZ)")
    # DuckDB keeps the word AT for itself: the column has to be quoted.
    columns = f'run_id VARCHAR, {columns}, change VARCHAR, "at" TIMESTAMPTZ'
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {CHANGE} ({columns})")


def _note(warehouse: Warehouse, change: str, *, present: str, absent: str, now: datetime, run_id: str) -> None:
    warehouse.sql(
        f"INSERT INTO {CHANGE} SELECT $run_id, p.segment, p.person_id, $change, CAST($now AS TIMESTAMPTZ)"
        f" FROM {present} AS p ANTI JOIN {absent} AS a ON a.segment = p.segment AND a.person_id = p.person_id",
        run_id=run_id,
        change=change,
        now=now,
    )


def _counts(warehouse: Warehouse, change: str, run_id: str) -> dict[str, int]:
    query = f"SELECT segment, count(*) AS n FROM {CHANGE} WHERE run_id = $run_id AND change = $change GROUP BY segment"
    found = warehouse.sql(query, run_id=run_id, change=change).to_pylist()
    return {row["segment"]: row["n"] for row in sorted(found, key=lambda row: str(row["segment"]))}
