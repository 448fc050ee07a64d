"""Fill missing values beside the observed ones: value, method and mark, never over what was observed.

Groups are SQL: one grouped query a level of the fallback chain, joined in order; models answer first where one is
declared (validation/learn.py). How good each way is was measured before it is used (validation/impute_quality.py). A
filled value is judged by the contract like any other, and one that breaks a rule is not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl
import pyarrow as arrow

from consentry.model.names import quoted, quoted_table
from consentry.validation.check import FAILED_RULES, Judge, coalesced
from consentry.validation.contract import Column, Contract
from consentry.validation.fill import SUFFIX, fill
from consentry.validation.impute_quality import Quality, measure, record, shift
from consentry.validation.rules import Rule
from consentry.warehouse import Warehouse

IMPUTATIONS: Final = "profile.imputation"
_WIDE: Final = (pl.String(), pl.Int64(), pl.Float64(), pl.Boolean(), pl.Date())
_COLUMNS: Final = "run_id TEXT, person_id TEXT, column_name TEXT, method TEXT, value TEXT"


@dataclass(frozen=True, slots=True)
class Imputed:
    """How many cells were filled, by column.

    refused: filled values that broke a rule and were not kept. quality: how near the answers came to cells that
    were hidden, by column.
    """

    cells: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    quality: tuple[Quality, ...] = ()


def impute(
    warehouse: Warehouse, contract: Contract, *, table_in: str, table_out: str, run_id: str, key: str = "person_id"
) -> Imputed:
    """Copy a table with a column `<name>__imputed` beside every column that the contract fills.

    The new column holds the value where the observed one is missing and an answer was found, else null; the
    observed columns are copied as they are. Every filled cell is written to `profile.imputation` with its method
    and the group that gave the answer ("median by country"), and how far each column's answers can be believed to
    `profile.imputation_quality`. A model that is no better than the groups is not used. table_in, table_out:
    `zone.name`.
    """
    there = warehouse.columns(table_in)
    declared = [column for column in contract.columns if column.impute is not None and column.name in there]
    staged = f"{table_out}__filling"
    try:
        filled, measured = measure(warehouse, declared, table_in=table_in, key=key, scratch=staged)
        fill(warehouse, filled, table_in=table_in, into=staged, key=key)
        refused = _refused(warehouse, contract, filled, list(there), staged=staged, key=key)
        shifts = shift(warehouse, filled, staged=staged, key=key)
        _publish(warehouse, filled, staged=staged, table_out=table_out, run_id=run_id, key=key)
        record(warehouse, measured, shifts, run_id=run_id)
        counted = [(column.name, _count(warehouse, table_out, column.name)) for column in filled]
    finally:
        for suffix in ("", "__sample", "__hidden"):
            warehouse.drop(f"{staged}{suffix}")
    return Imputed(dict(counted), {name: n for name, n in refused.items() if n}, tuple(measured))


def _refused(
    warehouse: Warehouse, contract: Contract, filled: Sequence[Column], there: Sequence[str], *, staged: str, key: str
) -> dict[str, int]:
    """Judge the filled rows by the contract; a filled value that breaks a rule of its column is taken back."""
    refused = {column.name: 0 for column in filled}
    if not _judging(contract, filled):
        return refused
    marks = f"{staged}_refused"
    schema = arrow.schema([("key", arrow.string()), ("column_name", arrow.string())])
    batches = _broken(warehouse, contract, filled, there, staged=staged, key=key)
    try:
        warehouse.write(marks, (b.cast(schema) for b in batches), schema=schema)
        for column in filled:
            cells = f"SELECT key FROM {quoted_table(marks)} WHERE column_name = $name"
            counted = warehouse.sql(f"SELECT count(DISTINCT key) AS n FROM ({cells}) AS cells", name=column.name)
            refused[column.name] = counted["n"][0].as_py()
            made, method = quoted(column.name + SUFFIX), quoted(column.name + "__method")
            warehouse.sql(
                f"UPDATE {quoted_table(staged)} SET {made} = NULL, {method} = NULL"
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
    rules = _judging(contract, filled)
    judge = Judge(contract, rules, key=(), carried=["_key", *(f"_filled:{name}" for name in sorted(names))])
    cells = [
        f"coalesce({quoted(n)}, {quoted(n + SUFFIX)}) AS {quoted(n)}" if n in names else quoted(n)
        for n in (column.name for column in contract.columns)
        if n in there
    ]
    marks = [f"{quoted(n + SUFFIX)} IS NOT NULL AS {quoted(f'_filled:{n}')}" for n in sorted(names)]
    any_filled = " OR ".join(f"{quoted(n + SUFFIX)} IS NOT NULL" for n in sorted(names))
    listed = ", ".join([f"CAST({quoted(key)} AS VARCHAR) AS _key", *cells, *marks])
    rows = warehouse.stream(f"SELECT {listed} FROM {quoted_table(staged)} WHERE {any_filled}", batch_rows=1_000_000)
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


def _judging(contract: Contract, filled: Sequence[Column]) -> list[Rule]:
    """Return the rules that a filled value may break; what is missing still is judged no second time."""
    names = {column.name for column in filled}
    # A filled value has its column's type already, where the type is as wide as SQL's.
    narrow = {column.name for column in filled if column.dtype not in _WIDE}
    return [
        rule
        for rule in contract.rules
        if (rule.kind in ("check", "compare") and names & {*_columns(rule)})
        or (rule.kind == "type" and narrow & {*_columns(rule)})
    ]


def _columns(rule: object) -> tuple[str, ...]:
    columns: tuple[str, ...] = getattr(rule, "columns", ())
    return columns


def _publish(
    warehouse: Warehouse, filled: Sequence[Column], *, staged: str, table_out: str, run_id: str, key: str
) -> None:
    """Write down each filled cell, and give the staged table its name; its rows are not written again."""
    with warehouse.transaction():
        warehouse.sql(f"CREATE TABLE IF NOT EXISTS {IMPUTATIONS} ({_COLUMNS})")
        warehouse.sql(f"DELETE FROM {IMPUTATIONS} WHERE run_id = $run", run=run_id)
        for column in filled:
            made, method = quoted(column.name + SUFFIX), quoted(column.name + "__method")
            cells = f"CAST({quoted(key)} AS VARCHAR), $name, {method}, CAST({made} AS VARCHAR)"
            rows = f"SELECT $run, {cells} FROM {quoted_table(staged)} WHERE {made} IS NOT NULL"
            warehouse.sql(f"INSERT INTO {IMPUTATIONS} {rows}", run=run_id, name=column.name)
    for column in filled:
        warehouse.sql(f"ALTER TABLE {quoted_table(staged)} DROP COLUMN {quoted(column.name + '__method')}")
    warehouse.publish({table_out: staged})


def _count(warehouse: Warehouse, table: str, name: str) -> int:
    return int(warehouse.sql(f"SELECT count({quoted(name + SUFFIX)}) AS n FROM {quoted_table(table)}")["n"][0].as_py())
