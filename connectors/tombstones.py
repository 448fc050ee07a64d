"""How a source says that a record is gone: the columns that every stage behind it understands.

`_deleted` is true on a row whose record is gone; it needs the key and nothing else. `_merged_into` holds the key of
the record that took its place, when there is one. A row that comes later brings the record back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

DELETED, MERGED_INTO = "_deleted", "_merged_into"
FIELDS = (pa.field(DELETED, pa.bool_()), pa.field(MERGED_INTO, pa.string()))


def with_tombstones(
    records: pa.RecordBatch, gone: Sequence[bool], into: Sequence[str | None] | None = None
) -> pa.RecordBatch:
    """Append both columns to a page. gone: of each record; into: where it was merged to."""
    deleted = pa.array(gone, pa.bool_())
    merged = pa.nulls(records.num_rows, pa.string()) if into is None else pa.array(into, pa.string())
    return records.append_column(FIELDS[0], deleted).append_column(FIELDS[1], merged)


def tombstones(key: str, merged: Iterable[Mapping[str, str]]) -> pa.RecordBatch:
    """Return a page of tombstones for records that were merged away: rows of `id` (that stands) and `merged_id`."""
    rows = list(merged)
    batch = pa.RecordBatch.from_pydict({key: pa.array([row["merged_id"] for row in rows], pa.string())})
    return with_tombstones(batch, [True for _ in rows], [row["id"] for row in rows])
