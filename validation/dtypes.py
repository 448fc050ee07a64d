"""The column types a contract may name, and what each is in polars."""

from __future__ import annotations

import re
from typing import Final

import polars as pl

INSTANT: Final = pl.Datetime("us", "UTC")
_PLAIN: Final[dict[str, pl.DataType]] = {
    "String": pl.String(),
    "Int8": pl.Int8(),
    "Int16": pl.Int16(),
    "Int32": pl.Int32(),
    "Int64": pl.Int64(),
    "UInt8": pl.UInt8(),
    "UInt16": pl.UInt16(),
    "UInt32": pl.UInt32(),
    "UInt64": pl.UInt64(),
    "Float32": pl.Float32(),
    "Float64": pl.Float64(),
    "Boolean": pl.Boolean(),
    "Date": pl.Date(),
    "Datetime": INSTANT,
}
# Other spellings that Pandera writes or its users know.
_ALSO: Final = {"str": "String", "string": "String", "utf8": "String", "bool": "Boolean", "boolean": "Boolean"} | {
    "int": "Int64",
    "float": "Float64",
}
_DECIMAL = re.compile(r"Decimal\((?:precision=)?(\d{1,2}), ?(?:scale=)?(\d{1,2})\)", re.IGNORECASE)
_INSTANT = re.compile(r"Datetime\((?:time_unit=)?'us', ?(?:time_zone=)?'UTC'\)", re.IGNORECASE)
SPELLINGS: Final = (*_PLAIN, "Decimal(12, 2)")


def dtype_named(text: str) -> pl.DataType | None:
    """Return the polars type that a contract's `dtype` means, or None when there is none of that name.

    `Datetime` is an instant in UTC: the warehouse holds no times without a zone.
    """
    if _INSTANT.fullmatch(text):
        return INSTANT
    if found := _DECIMAL.fullmatch(text):
        precision, scale = int(found[1]), int(found[2])
        return pl.Decimal(precision, scale) if 0 < precision <= 38 and scale <= precision else None
    name = _ALSO.get(text.lower(), text)
    by_fold = {known.lower(): dtype for known, dtype in _PLAIN.items()}
    return by_fold.get(name.lower())


def is_number(dtype: pl.DataType) -> bool:
    """Tell whether values of the type are numbers."""
    return dtype.is_numeric()


def is_time(dtype: pl.DataType) -> bool:
    """Tell whether values of the type are dates or instants."""
    return dtype == pl.Date or isinstance(dtype, pl.Datetime)
