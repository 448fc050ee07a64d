"""Draft a contract from data: a beginning for somebody to read, not a rule to trust.

What is drafted holds for the rows that were looked at. A list of allowed values is drafted only from words that
occur often, so that no personal value stands in a contract.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import polars as pl

from consentry.validation.addresses import COUNTRIES, CURRENCIES

NULL_TOKENS: Final = ("n/a", "na", "none", "null", "nil", "-", "--", "?", "unknown", "undefined", "nan")
_EMAIL: Final = r"^[^@\s]+@[^@\s]+\.[^@\s.]+$"
_DATE: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
_FORMS: Final[Sequence[tuple[str, str, list[Any]]]] = (
    ("Int64", r"^[+-]?(0|[1-9][0-9]{0,17})$", []),
    ("Float64", r"^[+-]?(0|[1-9][0-9]*)?(\.[0-9]+)?([eE][+-]?[0-9]+)?$", []),
    ("Float64", r"^[+-]?[0-9]+(\.[0-9]+)? ?%$", ["percent"]),
    ("Date", _DATE + "$", []),
    ("Datetime", _DATE + r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})$", []),
)  # fmt: skip
# How many of the cells must have a form for it to be drafted; the others show up in quarantine.
_NEARLY_ALL: Final = 0.98
_WORDS: Final = {("true", "false"), ("yes", "no"), ("ja", "nein"), ("oui", "non"), ("t", "f"), ("y", "n"), ("1", "0")}


def infer(frame: pl.DataFrame, *, name: str, key: Sequence[str] = ()) -> dict[str, Any]:
    """Return a draft as the content of a contract file; columns that begin with '_' are left out.

    key: columns that name a row, which are never lacking.
    """
    columns = {
        column: _column(frame[column], column, is_key=column in key)
        for column in frame.columns
        if not column.startswith("_")
    }
    told = f"Draft from {frame.height:,} rows; read every line before you rely on it."
    return {"name": name, "version": 1, "description": told, "columns": columns}


def _column(series: pl.Series, name: str, *, is_key: bool) -> dict[str, Any]:
    if series.dtype == pl.Binary or series.dtype.is_nested():
        return {"dtype": "String", "nullable": True}
    if series.dtype != pl.String:
        return _typed(series, is_key=is_key)
    return _text(series, name, is_key=is_key)


def _typed(series: pl.Series, *, is_key: bool) -> dict[str, Any]:
    dtype = series.dtype
    shown = "Datetime" if isinstance(dtype, pl.Datetime) else "String" if dtype == pl.Null() else str(dtype)
    drafted: dict[str, Any] = {"dtype": shown}
    if not is_key and series.null_count():
        drafted["nullable"] = True
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
        drafted["parse"] = [{"timestamp": {"zone": "UTC"}}]
    if dtype.is_numeric() and len(series.drop_nulls()) and _least(series) >= 0:
        drafted["checks"] = {"ge": 0}
    return drafted


def _least(series: pl.Series) -> float:
    return float(str(series.min()))


def _text(series: pl.Series, name: str, *, is_key: bool) -> dict[str, Any]:
    stripped = series.str.strip_chars()
    steps: list[Any] = ["trim"] if (stripped != series).any() else []
    tokens = sorted(
        set(stripped.unique().drop_nulls().to_list()) & {t for w in NULL_TOKENS for t in (w, w.upper(), w.title())}
    )
    missing = stripped.is_null() | (stripped == "") | stripped.is_in(tokens or [""])
    values = stripped.filter(~missing)
    if tokens or (stripped == "").any():
        steps.append({"null_tokens": ["", *tokens]})
    drafted: dict[str, Any] = {"dtype": "String"}
    if not is_key and (missing.any() or series.is_empty()):
        drafted["nullable"] = True
    if len(values):
        drafted |= _form(values, name, steps, is_key=is_key)
    elif steps:
        drafted["parse"] = steps
    return drafted


def _form(values: pl.Series, name: str, steps: list[Any], *, is_key: bool) -> dict[str, Any]:
    """Return type, parsing and checks of text that is all of one form."""
    for dtype, pattern, more in [] if is_key else _FORMS:
        if _share(values, pattern) >= _NEARLY_ALL:
            found: dict[str, Any] = {"dtype": dtype}
            # Text that becomes a number or a date is trimmed anyway.
            parse = [step for step in steps if step != "trim"] + more
            if dtype in ("Int64", "Float64") and not values.str.starts_with("-").any():
                found["checks"] = {"ge": 0}
            return found | ({"parse": parse} if parse else {})
    found = _words(values, steps) or _address(values, name, steps) or {}
    if not found and not is_key:
        found = _choice(values, name)
    if "parse" not in found and steps:
        found["parse"] = steps
    return found


def _share(values: pl.Series, pattern: str) -> float:
    return int(values.str.contains(pattern).sum()) / len(values)


def _words(values: pl.Series, steps: list[Any]) -> dict[str, Any] | None:
    seen = set(values.str.to_lowercase().unique().to_list())
    for yes, no in sorted(_WORDS):
        if seen and seen <= {yes, no} and len(seen) == 2 and yes != "1":
            boolean = {"boolean": {"true": [yes], "false": [no]}}
            return {"dtype": "Boolean", "parse": [s for s in steps if s != "trim"] + [boolean]}
    return None


def _address(values: pl.Series, name: str, steps: list[Any]) -> dict[str, Any] | None:
    if _share(values, _EMAIL) >= 0.9:
        return {"holds": "email", "parse": [*steps, "email"]}
    if re.search(r"phone|mobile|tel(efon)?$", name.lower()):
        return {"holds": "phone"}
    seen = set(values.str.to_uppercase().unique().to_list())
    named = name.lower()
    if "country" in named and seen <= COUNTRIES:
        return {"parse": [*steps, "country"]}
    if "currency" in named and seen <= CURRENCIES:
        return {"parse": [*steps, "currency"]}
    return None


def _choice(values: pl.Series, name: str) -> dict[str, Any]:
    counted = values.value_counts()
    often = counted["count"].min()
    if re.search(r"name|street|address|city|mail|phone", name.lower()) or name.lower().endswith("id"):
        return {}
    if len(counted) <= 20 and isinstance(often, int) and often >= 10:
        return {"checks": {"isin": sorted(counted[values.name].to_list())}}
    return {}
