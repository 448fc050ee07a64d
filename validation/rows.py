"""Read a rule about one row that is written as SQL, and refuse one that would look at other rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import polars as pl

from consentry.model.names import did_you_mean
from consentry.validation.rules import Rule

_WINDOW: Final = re.compile(r"\bover\s*\(", re.IGNORECASE)


# How two values may lie to each other, by operator; and the same when they change places.
_ORDERS: Final = {"<": "<", "<=": "<=", "==": "=", "!=": "<>", ">=": "=>", ">": ">"}
_TURNED: Final = str.maketrans("<>", "><")


class Unruly(ValueError):
    """An expression that is no rule about one row; the message is the sentence for the fault."""


def read_expression(text: str, dtypes: Mapping[str, pl.DataType]) -> tuple[str, ...]:
    """Return the columns that an expression of SQL names.

    Raises Unruly when polars cannot read it, when it names an unknown column, is not true or false, or does not
    answer row by row: a batch never sees the whole table.
    """
    try:
        found = pl.sql_expr(text)
        columns = tuple(dict.fromkeys(found.meta.root_names()))
        if unknown := next((name for name in columns if name not in dtypes), None):
            raise Unruly(f"The contract has no column {unknown!r}{did_you_mean(unknown, dtypes) or '.'}")
        tried = pl.DataFrame(schema=dict(dtypes)).select(found.alias("holds"))
    except pl.exceptions.PolarsError as error:
        raise Unruly(f"{text!r} is no expression that can be worked out ({type(error).__name__}).") from None
    if tried.height or _WINDOW.search(text):
        raise Unruly(f"{text!r} does not speak of one row: it names no column, or looks at many rows at once.")
    if tried["holds"].dtype != pl.Boolean:
        raise Unruly(f"{text!r} is not true or false; compare it with something.")
    return columns


def contradicting(rules: Iterable[Rule]) -> Iterator[tuple[str, ...]]:
    """Yield the pairs of columns of which several comparisons ask what no row with both values satisfies."""
    left: dict[tuple[str, ...], set[str]] = {}
    for rule in rules:
        if rule.operator and not rule.when:
            pair = tuple(sorted(rule.columns))
            allowed = _ORDERS[rule.operator]
            asked = left.setdefault(pair, set("<=>"))
            asked &= set(allowed if pair == rule.columns else allowed.translate(_TURNED))
    yield from (pair for pair, orders in left.items() if not orders)
