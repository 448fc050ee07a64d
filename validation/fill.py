"""Fill the gaps of columns in one query: each way of knowing an answer is a join, the first that answers counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from consentry.model.names import quoted, quoted_table
from consentry.validation.checks import bound
from consentry.validation.compile import kind_of
from consentry.validation.contract import Column
from consentry.validation.learn import learn
from consentry.validation.spec import ImputeSettings
from consentry.warehouse import Warehouse

SUFFIX: Final = "__imputed"
LEARNED: Final = ("knn", "model")
# The aggregates that each group answers with, by the group's columns.
Levels = dict[tuple[str, ...], list[str]]


def fill(warehouse: Warehouse, filled: Sequence[Column], *, table_in: str, into: str, key: str) -> None:
    """Write a table with `<name>__imputed` and `<name>__method` beside its columns, not yet judged."""
    learned: list[str] = []
    try:
        for number, column in enumerate(filled):
            if column.impute is not None and column.impute.method in LEARNED:
                table = f"{into}__told_{number}"
                learned.append(table)
                learn(warehouse, column, missing=missing(column, ""), table_in=table_in, into=table, key=key)
        _fill(warehouse, filled, table_in=table_in, into=into, key=key)
    finally:
        for table in learned:
            warehouse.drop(table)


def _fill(warehouse: Warehouse, filled: Sequence[Column], *, table_in: str, into: str, key: str) -> None:
    joins: list[str] = []
    levels: Levels = {}
    made: list[str] = []
    params: dict[str, object] = {}
    source = quoted_table(table_in)
    for number, column in enumerate(filled):
        told = quoted_table(f"{into}__told_{number}")
        answers = list(_answers(column, number, source, joins, levels, params, key=key, told=told))
        gap = missing(column)
        value = ", ".join(f"{answer}" for answer, _ in answers)
        chosen = f"CASE WHEN {gap} THEN CAST(coalesce({value}) AS {sql_type(column)}) END"
        cases = " ".join(f"WHEN {answer} IS NOT NULL THEN '{method}'" for answer, method in answers)
        made.append(f"{chosen} AS {quoted(column.name + SUFFIX)}")
        made.append(f"CASE WHEN NOT ({gap}) THEN NULL {cases} END AS {quoted(column.name + '__method')}")
    joins += [_grouped(group, f"level_{n}", aggregates, source) for n, (group, aggregates) in enumerate(levels.items())]
    kept = [f"observed.{quoted(name)}" for name in warehouse.columns(table_in) if not is_made(name, filled)]
    query = f"SELECT {', '.join([*kept, *made])} FROM {source} AS observed {' '.join(joins)}"
    warehouse.sql(f"CREATE OR REPLACE TABLE {quoted_table(into)} AS {query}", **params)


def _answers(
    column: Column,
    number: int,
    source: str,
    joins: list[str],
    levels: Levels,
    params: dict[str, object],
    *,
    key: str,
    told: str,
) -> Iterator[tuple[str, str]]:
    """Yield (SQL of an answer, name of its method), the best first; joins, levels and parameters are added to."""
    it = column.impute
    assert it is not None
    if it.method == "constant":
        params[f"constant_{number}"] = bound(it.value, column.dtype)
        yield f"$constant_{number}", "constant"
        return
    if it.method in ("forward", *LEARNED):
        table = f"({_before(column, it, source, key)})" if it.method == "forward" else told
        joins.append(f"LEFT JOIN {table} AS told_{number} ON told_{number}.key = observed.{quoted(key)}")
        shown = f" by {', '.join(it.by)}" if it.by and it.method == "forward" else ""
        yield f"told_{number}.answer", f"{it.method}{shown}".replace("'", "''")
        if it.method == "forward":
            return
    grouped = baseline(column) if it.method in LEARNED else it
    for depth in range(len(it.by), -1, -1):
        group = it.by[:depth]
        shown = f" by {', '.join(group)}" if group else ""
        method = f"{grouped.method}{shown}".replace("'", "''")
        if grouped.method == "mode":
            joins.append(_most_frequent(column, group, f"mode_{number}_{depth}", source))
            yield f"mode_{number}_{depth}.answer", method
        else:
            aggregates = levels.setdefault(tuple(group), [])
            aggregates.append(f"{_aggregate(column, grouped)} AS answer_{number}")
            yield f"level_{list(levels).index(tuple(group))}.answer_{number}", method


def baseline(column: Column) -> ImputeSettings:
    """Return the plain way against which a model is held: the group's median, or its most frequent value."""
    by = column.impute.by if column.impute is not None else []
    return ImputeSettings(method="median" if column.dtype.is_numeric() else "mode", by=by)


def _before(column: Column, it: ImputeSettings, source: str, key: str) -> str:
    """Select for each row the last value that was observed before it, within its group."""
    cell = quoted(column.name)
    partition = f"PARTITION BY {', '.join(map(quoted, it.by))} " if it.by else ""
    earlier = "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
    window = f"({partition}ORDER BY {quoted(it.order or key)}, {quoted(key)} {earlier})"
    known = f"CASE WHEN {missing(column, '')} THEN NULL ELSE {cell} END"
    given = " AND ".join([f"{quoted(it.order or key)} IS NOT NULL", *(f"{quoted(g)} IS NOT NULL" for g in it.by)])
    last = f"last_value({known} IGNORE NULLS) OVER {window} AS answer"
    return f"SELECT {quoted(key)} AS key, {last} FROM {source} WHERE {given}"


def _aggregate(column: Column, it: ImputeSettings) -> str:
    known = quoted(column.name)
    if column.dtype.is_float():
        known = f"CASE WHEN {missing(column, '')} THEN NULL ELSE {known} END"
    return _rounded(f"quantile_cont({known}, 0.5)" if it.method == "median" else f"avg({known})", column)


def _grouped(group: Sequence[str], name: str, aggregates: Sequence[str], source: str) -> str:
    """Write the join that gives each group the answers of all columns; the empty group is the whole table."""
    keys = ", ".join(map(quoted, group))
    given = " AND ".join(f"{quoted(g)} IS NOT NULL" for g in group)
    listed = ", ".join([*map(quoted, group), *aggregates])
    answers = f"SELECT {listed} FROM {source}" + (f" WHERE {given} GROUP BY {keys}" if group else "")
    return f"LEFT JOIN ({answers}) AS {name} ON {_same(group, name)}"


def _most_frequent(column: Column, group: Sequence[str], name: str, source: str) -> str:
    """Write the join that gives each group its most frequent value."""
    cell = quoted(column.name)
    known = " AND ".join([f"NOT ({missing(column, '')})", *(f"{quoted(g)} IS NOT NULL" for g in group)])
    keys = "".join(f"{quoted(g)}, " for g in group)
    # Of several the smallest, so that the answer does not hang on the order of rows.
    counted = f"SELECT {keys}{cell} AS answer, count(*) AS n FROM {source} WHERE {known} GROUP BY {keys}{cell}"
    partition = f"PARTITION BY {keys.removesuffix(', ')} " if group else ""
    place = f"row_number() OVER ({partition}ORDER BY n DESC, answer) AS place"
    answers = f"SELECT {keys}answer FROM (SELECT *, {place} FROM ({counted}) AS counted) AS ranked WHERE place = 1"
    return f"LEFT JOIN ({answers}) AS {name} ON {_same(group, name)}"


def _same(group: Sequence[str], name: str) -> str:
    return " AND ".join(f"{name}.{quoted(g)} = observed.{quoted(g)}" for g in group) or "TRUE"


def _rounded(aggregate: str, column: Column) -> str:
    return f"round({aggregate})" if column.dtype.is_integer() else aggregate


def missing(column: Column, table: str = "observed.") -> str:
    """Return the SQL that tells whether a cell is missing."""
    cell = f"{table}{quoted(column.name)}"
    # NaN is a missing value too; left in, it would be the median of everything.
    return f"({cell} IS NULL OR isnan({cell}))" if column.dtype.is_float() else f"{cell} IS NULL"


def sql_type(column: Column) -> str:
    """Return the SQL type of what fills a column."""
    dtype = column.dtype
    if isinstance(dtype, pl.Decimal):
        return f"DECIMAL({dtype.precision}, {dtype.scale})"
    kinds = {"number": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE", "instant": "TIMESTAMPTZ", "text": "VARCHAR"}
    if dtype.is_integer():
        return "UBIGINT" if dtype == pl.UInt64 else "BIGINT"
    return kinds[kind_of(dtype)]


def is_made(name: str, filled: Sequence[Column]) -> bool:
    """Tell whether a column is one that an earlier imputation made."""
    return name in {column.name + SUFFIX for column in filled}
