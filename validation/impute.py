"""Fill missing values beside the observed ones: value, method and mark, never over what was observed.

All of it is SQL: one grouped query a level of the fallback chain, joined in order. A filled value is judged by the
contract like any other, and one that breaks a rule is not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl
import pyarrow as arrow

from consentry.model.names import quoted
from consentry.validation.check import FAILED_RULES, Judge, coalesced
from consentry.validation.checks import bound
from consentry.validation.compile import kind_of
from consentry.validation.contract import Column, Contract
from consentry.validation.spec import ImputeSettings
from consentry.warehouse import Warehouse

IMPUTATIONS: Final = "profile.imputation"
SUFFIX: Final = "__imputed"
_COLUMNS: Final = "run_id TEXT, person_id TEXT, column_name TEXT, method TEXT, value TEXT"


@dataclass(frozen=True, slots=True)
class Imputed:
    """How many cells were filled, by column; refused: filled values that broke a rule and were not kept."""

    cells: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)


def impute(
    warehouse: Warehouse, contract: Contract, *, table_in: str, table_out: str, run_id: str, key: str = "person_id"
) -> Imputed:
    """Copy a table with a column `<name>__imputed` beside every column that the contract fills.

    The new column holds the value where the observed one is missing and an answer was found, else null; the
    observed columns are copied as they are. Every filled cell is written to `profile.imputation` with its method
    and the group that gave the answer ("median by country"). table_in, table_out: `zone.name`.
    """
    there = warehouse.columns(table_in)
    filled = [column for column in contract.columns if column.impute is not None and column.name in there]
    staged = f"{table_out}__filling"
    _fill(warehouse, filled, list(there), table_in=table_in, into=staged)
    try:
        refused = _refused(warehouse, contract, filled, list(there), staged=staged, key=key)
        _publish(warehouse, filled, list(there), staged=staged, table_out=table_out, run_id=run_id, key=key)
        counted = [(column.name, _count(warehouse, table_out, column.name)) for column in filled]
    finally:
        warehouse.drop(staged)
    return Imputed(dict(counted), {name: n for name, n in refused.items() if n})


def _fill(warehouse: Warehouse, filled: Sequence[Column], there: Sequence[str], *, table_in: str, into: str) -> None:
    """Write the table with `<name>__imputed` and `<name>__method`, not yet judged."""
    joins: list[str] = []
    made: list[str] = []
    params: dict[str, object] = {}
    source = _sql(table_in)
    for number, column in enumerate(filled):
        answers = list(_answers(column, number, source, joins, params))
        missing = _missing(column)
        kind = _sql_type(column)
        value = ", ".join(f"{answer}" for answer, _ in answers)
        chosen = f"CASE WHEN {missing} THEN CAST(coalesce({value}) AS {kind}) END"
        cases = " ".join(f"WHEN {answer} IS NOT NULL THEN '{method}'" for answer, method in answers)
        made.append(f"{chosen} AS {quoted(column.name + SUFFIX)}")
        made.append(f"CASE WHEN NOT ({missing}) THEN NULL {cases} END AS {quoted(column.name + '__method')}")
    kept = [f"observed.{quoted(name)}" for name in there if not _is_made(name, filled)]
    listed = ", ".join([*kept, *made])
    query = f"SELECT {listed} FROM {source} AS observed {' '.join(joins)}"
    warehouse.sql(f"CREATE OR REPLACE TABLE {_sql(into)} AS {query}", **params)


def _answers(
    column: Column, number: int, source: str, joins: list[str], params: dict[str, object]
) -> Iterator[tuple[str, str]]:
    """Yield (SQL of an answer, name of its method), finest group first; joins and parameters are added to."""
    it = column.impute
    assert it is not None
    if it.method == "constant":
        params[f"constant_{number}"] = bound(it.value, column.dtype)
        yield f"$constant_{number}", "constant"
        return
    for depth in range(len(it.by), -1, -1):
        group, name = it.by[:depth], f"level_{number}_{depth}"
        joins.append(_level(column, it, group, name, source))
        shown = f" by {', '.join(group)}" if group else ""
        yield f"{name}.answer", f"{it.method}{shown}".replace("'", "''")


def _level(column: Column, it: ImputeSettings, group: Sequence[str], name: str, source: str) -> str:
    """Write the join that gives each group its answer; the empty group is the whole table."""
    cell = quoted(column.name)
    known = " AND ".join([f"NOT ({_missing(column, '')})", *(f"{quoted(g)} IS NOT NULL" for g in group)])
    rows = f"FROM {source} WHERE {known}"
    keys = "".join(f"{quoted(g)}, " for g in group)
    if it.method == "mode":
        # The most frequent value; of several the smallest, so that the answer does not hang on the order of rows.
        counted = f"SELECT {keys}{cell} AS answer, count(*) AS n {rows} GROUP BY {keys}{cell}"
        partition = f"PARTITION BY {keys.removesuffix(', ')} " if group else ""
        place = f"row_number() OVER ({partition}ORDER BY n DESC, answer) AS place"
        answers = f"SELECT {keys}answer FROM (SELECT *, {place} FROM ({counted}) AS counted) AS ranked WHERE place = 1"
    else:
        aggregate = _rounded(f"quantile_cont({cell}, 0.5)" if it.method == "median" else f"avg({cell})", column)
        grouped = f" GROUP BY {keys.removesuffix(', ')}" if group else ""
        answers = f"SELECT {keys}{aggregate} AS answer {rows}{grouped}"
    same = " AND ".join(f"{name}.{quoted(g)} = observed.{quoted(g)}" for g in group) or "TRUE"
    return f"LEFT JOIN ({answers}) AS {name} ON {same}"


def _rounded(aggregate: str, column: Column) -> str:
    return f"round({aggregate})" if column.dtype.is_integer() else aggregate


def _missing(column: Column, table: str = "observed.") -> str:
    cell = f"{table}{quoted(column.name)}"
    # NaN is a missing value too; left in, it would be the median of everything.
    return f"({cell} IS NULL OR isnan({cell}))" if column.dtype.is_float() else f"{cell} IS NULL"


def _sql_type(column: Column) -> str:
    dtype = column.dtype
    if isinstance(dtype, pl.Decimal):
        return f"DECIMAL({dtype.precision}, {dtype.scale})"
    kinds = {"number": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE", "instant": "TIMESTAMPTZ", "text": "VARCHAR"}
    if dtype.is_integer():
        return "UBIGINT" if dtype == pl.UInt64 else "BIGINT"
    return kinds[kind_of(dtype)]


def _refused(
    warehouse: Warehouse, contract: Contract, filled: Sequence[Column], there: Sequence[str], *, staged: str, key: str
) -> dict[str, int]:
    """Judge the filled rows by the contract; a filled value that breaks a rule of its column is taken back."""
    refused = {column.name: 0 for column in filled}
    if not filled:
        return refused
    marks = f"{staged}_refused"
    schema = arrow.schema([("key", arrow.string()), ("column_name", arrow.string())])
    batches = _broken(warehouse, contract, filled, there, staged=staged, key=key)
    try:
        warehouse.write(marks, (b.cast(schema) for b in batches), schema=schema)
        for column in filled:
            cells = f"SELECT key FROM {_sql(marks)} WHERE column_name = $name"
            counted = warehouse.sql(f"SELECT count(DISTINCT key) AS n FROM ({cells}) AS cells", name=column.name)
            refused[column.name] = counted["n"][0].as_py()
            made, method = quoted(column.name + SUFFIX), quoted(column.name + "__method")
            warehouse.sql(
                f"UPDATE {_sql(staged)} SET {made} = NULL, {method} = NULL"
                f" WHERE CAST({quoted(key)} AS VARCHAR) IN ({cells})",
                name=column.name,
            )
    finally:
        warehouse.drop(marks)
    return refused


def _broken(
    warehouse: Warehouse, contract: Contract, filled: Sequence[Column], there: Sequence[str], *, staged: str, key: str
) -> Iterator[arrow.RecordBatch]:
    """Yield (key, column) of each filled cell that a rule does not accept."""
    names = {column.name for column in filled}
    # Rules of each row that the filled value stands in; what is missing still is judged no second time.
    rules = [rule for rule in contract.rules if rule.kind in ("type", "check", "compare") and names & {*_columns(rule)}]
    judge = Judge(contract, rules, key=(), carried=["_key", *(f"_filled:{name}" for name in sorted(names))])
    cells = [
        f"coalesce({quoted(n)}, {quoted(n + SUFFIX)}) AS {quoted(n)}" if n in names else quoted(n)
        for n in (column.name for column in contract.columns)
        if n in there
    ]
    marks = [f"{quoted(n + SUFFIX)} IS NOT NULL AS {quoted(f'_filled:{n}')}" for n in sorted(names)]
    any_filled = " OR ".join(f"{quoted(n + SUFFIX)} IS NOT NULL" for n in sorted(names))
    listed = ", ".join([f"CAST({quoted(key)} AS VARCHAR) AS _key", *cells, *marks])
    rows = warehouse.stream(f"SELECT {listed} FROM {_sql(staged)} WHERE {any_filled}", batch_rows=1_000_000)
    for table in coalesced(rows):
        judged = judge(table)
        frame = pl.from_arrow(judged.select(["_key", *(f"_filled:{n}" for n in sorted(names)), FAILED_RULES]))
        assert isinstance(frame, pl.DataFrame)
        for name in sorted(names):
            numbers = [n for n, rule in enumerate(rules) if name in _columns(rule)]
            broken = pl.col(FAILED_RULES).list.eval(pl.element().is_in(numbers)).list.any()
            found = frame.filter(pl.col(f"_filled:{name}") & broken.fill_null(False))
            cells_of = found.select(key=pl.col("_key"), column_name=pl.lit(name)).to_arrow()
            yield from cells_of.to_batches()


def _columns(rule: object) -> tuple[str, ...]:
    columns: tuple[str, ...] = getattr(rule, "columns", ())
    return columns


def _publish(
    warehouse: Warehouse,
    filled: Sequence[Column],
    there: Sequence[str],
    *,
    staged: str,
    table_out: str,
    run_id: str,
    key: str,
) -> None:
    names = [name for name in there if not _is_made(name, filled)] + [column.name + SUFFIX for column in filled]
    listed = ", ".join(map(quoted, names))
    with warehouse.transaction():
        warehouse.sql(f"CREATE OR REPLACE TABLE {_sql(table_out)} AS SELECT {listed} FROM {_sql(staged)}")
        warehouse.sql(f"CREATE TABLE IF NOT EXISTS {IMPUTATIONS} ({_COLUMNS})")
        warehouse.sql(f"DELETE FROM {IMPUTATIONS} WHERE run_id = $run", run=run_id)
        for column in filled:
            made, method = quoted(column.name + SUFFIX), quoted(column.name + "__method")
            cells = f"CAST({quoted(key)} AS VARCHAR), $name, {method}, CAST({made} AS VARCHAR)"
            rows = f"SELECT $run, {cells} FROM {_sql(staged)} WHERE {made} IS NOT NULL"
            warehouse.sql(f"INSERT INTO {IMPUTATIONS} {rows}", run=run_id, name=column.name)


def _is_made(name: str, filled: Sequence[Column]) -> bool:
    """Tell whether a column is one that an earlier imputation made."""
    return name in {column.name + SUFFIX for column in filled}


def _count(warehouse: Warehouse, table: str, name: str) -> int:
    return int(warehouse.sql(f"SELECT count({quoted(name + SUFFIX)}) AS n FROM {_sql(table)}")["n"][0].as_py())


def _sql(table: str) -> str:
    zone, _, name = table.partition(".")
    return f"{quoted(zone)}.{quoted(name)}"
