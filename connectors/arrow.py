"""Make the pages of a stream fit each other and its table: names, types and the columns that we add.

Column names stay as the source writes them. Only what a table cannot hold is changed: names that differ in
case alone become one, spaces around a name go, quotes and line ends in it become `_`, and a name that is empty or
ours (`_rid`, `_run_id`, `_extracted_at`, `_dlt...`) gets `_2` behind it. Text stays text; nested values become JSON
text; a column of nulls is text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from consentry.errors import SourceFailed

SYSTEM_COLUMNS = ("_rid", "_run_id", "_extracted_at")
SYSTEM_SCHEMA = pa.schema(
    [("_rid", pa.int64()), ("_run_id", pa.string()), ("_extracted_at", pa.timestamp("us", tz="UTC"))]
)
# As dlt's naming convention `direct` changes names; a change of its own would make another column of each.
_ODD = str.maketrans("\0\n\r'\"▶", "______")


class Shape:
    """The columns of one stream as they are known so far; pages are made to fit them.

    known: the columns of the table, with their SQL types, empty before the first landing.
    """

    def __init__(self, stream: str, known: Mapping[str, str]) -> None:
        self._stream = stream
        self._spelling = {name.casefold(): name for name in known}
        self._types = dict(known)

    def fit(self, records: pa.RecordBatch) -> pa.Table:
        """Return the records with settled names and types; raises SourceFailed when a type changed for good."""
        fitted: dict[str, pa.Array] = {}
        for name, column in zip(self._names(records.schema.names), records.columns, strict=True):
            typed = self._typed(name, _plain(column))
            if typed is not None:
                fitted[name] = typed
        return pa.table(fitted)

    def _names(self, names: Iterable[str]) -> Iterable[str]:
        taken: set[str] = set()
        for number, name in enumerate(names, 1):
            base = name.strip().translate(_ODD) or f"column_{number}"
            reserved = base.casefold() in SYSTEM_COLUMNS or base.casefold().startswith("_dlt")
            wanted, tries = (f"{base}_2", 2) if reserved else (base, 1)
            while wanted.casefold() in taken:
                tries += 1
                wanted = f"{base}_{tries}"
            taken.add(wanted.casefold())
            yield self._spelling.setdefault(wanted.casefold(), wanted)

    def _typed(self, name: str, column: pa.Array) -> pa.Array | None:
        have = _sql_type(column.type)
        want = self._types.setdefault(name, have)
        if have == want:
            return column
        if column.null_count == len(column):
            return None  # an absent column is null as well, and of any type
        if want == "VARCHAR":
            return pc.cast(column, pa.string())
        if want == "DOUBLE" and have == "BIGINT":
            return pc.cast(column, pa.float64())
        raise SourceFailed(
            f"Column {name!r} of stream {self._stream!r} was {want} and is now {have}. "
            "Rename the stream to land it anew, or give the column its old type at the source.",
            code="column_changed_type",
        )


def with_system_columns(table: pa.Table, *, first_rid: int, run_id: str, at: datetime) -> pa.Table:
    """Append `_rid` (counting from first_rid), `_run_id` and `_extracted_at`."""
    rows = table.num_rows
    added = [
        pa.array(range(first_rid, first_rid + rows), pa.int64()),
        pa.repeat(pa.scalar(run_id, pa.string()), rows),
        pa.repeat(pa.scalar(at, SYSTEM_SCHEMA.field("_extracted_at").type), rows),
    ]
    for field, column in zip(SYSTEM_SCHEMA, added, strict=True):
        table = table.append_column(field, column)
    return table


def _plain(column: pa.Array) -> pa.Array:
    """Reduce the many Arrow types to those that every table holds alike."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pa.types.is_nested(kind):
        return pa.array([_json(value) for value in column.to_pylist()], pa.string())
    if pa.types.is_null(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
    return pc.cast(column, _wide(kind))


def _wide(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_uint64(kind):
        return pa.string()
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)
    if pa.types.is_date(kind):
        return pa.date32()
    if pa.types.is_decimal(kind) or pa.types.is_boolean(kind):
        return kind
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    return pa.string()


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE" if kind.tz else "TIMESTAMP"
    plain = {pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN", pa.date32(): "DATE"}
    return plain.get(kind, "BLOB" if pa.types.is_binary(kind) else "VARCHAR")


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))
