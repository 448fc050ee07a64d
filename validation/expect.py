"""Rules about all rows together: how many there are, and what their aggregates must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from consentry.errors import StopRun
from consentry.model.names import did_you_mean, quoted
from consentry.validation.checks import Unusable, bound
from consentry.validation.dtypes import is_number
from consentry.validation.references import applies_sql
from consentry.validation.rules import Condition, Expectation
from consentry.validation.spec import ExpectSpec, Scalar, When
from consentry.warehouse import Warehouse

Where = tuple[str | int, ...]
_SQL: Final = {
    "rows": "count(*)",
    "distinct": "count(DISTINCT {0})",
    "null_rate": "avg(CASE WHEN {0} IS NULL THEN 1.0 ELSE 0.0 END)",
    "sum": "sum({0})",
    "mean": "avg({0})",
    "median": "quantile_cont({0}, 0.5)",
    "stddev": "stddev_samp({0})",
    "min": "min({0})",
    "max": "max({0})",
}
_OF_NUMBERS: Final = ("sum", "mean", "median", "stddev")


@dataclass(frozen=True, slots=True)
class Found:
    """What an aggregate was: a number, a date or a text, None of no rows; it is no value of one row alone."""

    rule: Expectation
    value: Any
    holds: bool


def expectation(
    number: int,
    row: ExpectSpec,
    dtypes: Mapping[str, pl.DataType],
    fault: Callable[[Where, str], None],
    conditions: Callable[[When, Where], tuple[Condition, ...]],
) -> Expectation | None:
    """Make one rule; every fault is told to `fault`, and None is returned when there is one."""
    where: Where = ("expect", number)
    told = [*_faults_of_column(row, dtypes), *_faults_of_bounds(row)]
    for sentence in told:
        fault(where, sentence)
    if told:
        return None
    try:
        low, high = (_typed(row, edge, dtypes) for edge in (row.min, row.max))
    except Unusable as refusal:
        fault(where, str(refusal))
        return None
    if low is not None and high is not None and low > high:
        fault(where, f"No value can be above {row.min} and below {row.max} at once.")
        return None
    label = f"{row.column}.{row.aggregate}" if row.column else row.aggregate
    sql = "share" if row.aggregate == "share" else _SQL[row.aggregate].format(quoted(row.column or ""))
    sentence = f"{_shown(row)} must be {_between(row)}."
    return Expectation(
        row.rule_id or f"expect.{label}",
        sentence,
        sql,
        row.column,
        low,
        high,
        conditions(row.when, where),
        row.severity,
    )


def _faults_of_column(row: ExpectSpec, dtypes: Mapping[str, pl.DataType]) -> list[str]:
    if row.aggregate in ("rows", "share"):
        told = [f"{row.aggregate} counts rows; remove 'column'."] if row.column else []
        return told + (
            ["share needs 'when': the share of which rows?"] if row.aggregate == "share" and not row.when else []
        )
    if row.column is None:
        return [f"{row.aggregate} needs a 'column'."]
    if row.column not in dtypes:
        return [f"The contract has no column {row.column!r}{did_you_mean(row.column, dtypes) or '.'}"]
    if row.aggregate in _OF_NUMBERS and not is_number(dtypes[row.column]):
        return [f"{row.aggregate} needs a number, and {row.column} is {dtypes[row.column]}."]
    return []


def _faults_of_bounds(row: ExpectSpec) -> list[str]:
    return ["An aggregate needs 'min', 'max' or both."] if row.min is None and row.max is None else []


def _typed(row: ExpectSpec, edge: Scalar, dtypes: Mapping[str, pl.DataType]) -> Any:
    if edge is None:
        return None
    if row.aggregate in ("min", "max") and row.column is not None:
        return bound(edge, dtypes[row.column])
    return bound(edge, pl.Float64())


def _shown(row: ExpectSpec) -> str:
    words = {"rows": "The number of rows", "share": "The share of the rows", "null_rate": "The share of missing values"}
    named = words.get(row.aggregate, f"The {row.aggregate}")
    among = " that 'when' takes" if row.when else ""
    return f"{named}{among}" if row.column is None else f"{named} of {row.column}{among}"


def _between(row: ExpectSpec) -> str:
    if row.min is not None and row.max is not None:
        return f"between {row.min} and {row.max}"
    return f"at least {row.min}" if row.min is not None else f"at most {row.max}"


def judge_expectations(warehouse: Warehouse, rules: tuple[Expectation, ...], table: str) -> list[Found]:
    """Return what each aggregate of a table is, and whether it lies where it must."""
    return [_judged(warehouse, rule, table) for rule in rules]


def _judged(warehouse: Warehouse, rule: Expectation, table: str) -> Found:
    applies, values = applies_sql(rule.when)
    if rule.aggregate == "share":
        query = f"SELECT avg(CASE WHEN {applies} THEN 1.0 ELSE 0.0 END) AS value FROM {table}"
    else:
        query = f"SELECT {rule.aggregate} AS value FROM {table} WHERE {applies}"
    value = warehouse.sql(query, **values)["value"][0].as_py()
    # An aggregate of no rows says nothing against a bound; `rows` says that there are none.
    above = value is None or rule.low is None or value >= rule.low
    below = value is None or rule.high is None or value <= rule.high
    return Found(rule, value, above and below)


def stop_on_broken(stream: str, found: list[Found]) -> None:
    """Raise StopRun when an expectation of severity fail does not hold."""
    broken = [it for it in found if not it.holds and it.rule.severity == "fail"]
    if broken:
        told = " ".join(f"{it.rule.rule_id}: {it.rule.sentence}" for it in broken)
        sentence = f"The rows of {stream} together are not as its contract expects. {told}"
        raise StopRun(f"{sentence} Nothing of this load was published.", code="contract_failed")
