"""What SQL columns become in Arrow, and how a place in a sorted table is written down as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import sqlalchemy as sa

from consentry.errors import SourceFailed

_DECIMAL_MAX = 38


def arrow_type(kind: sa.types.TypeEngine[Any]) -> pa.DataType:
    """Return the Arrow type of a column of a table; text for what has no counterpart."""
    match kind:
        case sa.Boolean():
            return pa.bool_()
        case sa.Integer():
            return pa.int64()
        case sa.Float():
            return pa.float64()
        case sa.Numeric() if kind.precision and kind.precision <= _DECIMAL_MAX:
            return pa.decimal128(kind.precision, kind.scale or 0)
        case sa.DateTime():
            return pa.timestamp("us", tz="UTC" if kind.timezone else None)
        case sa.Date():
            return pa.date32()
        case sa.LargeBinary():
            return pa.binary()
    return pa.string()


def batch(rows: Sequence[Sequence[Any]], schema: pa.Schema, stream: str) -> pa.RecordBatch:
    """Return rows as a record batch; raises SourceFailed when a value is not of its column's declared type."""
    columns = [
        _column(name, kind, [row[place] for row in rows], stream)
        for place, (name, kind) in enumerate(zip(schema.names, schema.types, strict=True))
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _column(name: str, kind: pa.DataType, values: list[Any], stream: str) -> pa.Array:
    if pa.types.is_string(kind):
        return pa.array([value if value is None or type(value) is str else as_text(value) for value in values], kind)
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError):
        pass
    # Not inside the handler: the error at hand quotes the value.
    raise SourceFailed(
        f"The column {name!r} of stream {stream!r} holds a value that is not of its declared type ({kind}). "
        "List the column under 'text' in the stream's options, and let the contract settle it.",
        code="bad_type",
    )


def as_text(value: Any) -> str:
    """Write any SQL value as text: ISO 8601 for times, JSON for nested values and booleans."""
    match value:
        case str():
            return value
        case bool() | dict() | list():
            return json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))
        case datetime() if value.tzinfo:
            return value.astimezone(UTC).isoformat()
        case date():
            return value.isoformat()
        case bytes() | memoryview():
            return bytes(value).hex()
    return str(value)


def to_json(value: Any) -> Any:
    """Write a key's or cursor's value so that `from_json` gives it back as it was."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            return {"datetime": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case Decimal():
            return {"decimal": str(value)}
        case UUID():
            return {"uuid": str(value)}
        case bytes() | memoryview():
            return {"bytes": bytes(value).hex()}
    raise SourceFailed(
        f"Values of type {type(value).__name__} cannot be a key or a cursor. Choose another column.", code="bad_cursor"
    )


def from_json(value: Any) -> Any:
    """Read what `to_json` wrote."""
    match value:
        case {"datetime": text}:
            return datetime.fromisoformat(text)
        case {"date": text}:
            return date.fromisoformat(text)
        case {"decimal": text}:
            return Decimal(text)
        case {"uuid": text}:
            return UUID(text)
        case {"bytes": text}:
            return bytes.fromhex(text)
    return value
