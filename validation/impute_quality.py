"""Measure what filled values are worth before they are used: hide cells that are known, fill them, compare.

About 6% of the observed cells of a sample are hidden, the same ones every time. The error of numbers is the root mean
square error over the standard deviation of the truth (NRMSE; 1 is no better than one value for all), of words the share
that is right (accuracy). A model that does not beat the plain way is not used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import polars as pl
import pyarrow as arrow

from consentry.model.names import quoted, quoted_table
from consentry.validation.contract import Column
from consentry.validation.fill import LEARNED, SUFFIX, baseline, fill, missing
from consentry.validation.spec import ImputeSettings
from consentry.warehouse import Warehouse

QUALITY: Final = "profile.imputation_quality"
SAMPLE_ROWS: Final = 25_000
# Fewer hidden cells prove nothing.
ENOUGH: Final = 20
_SCHEMA: Final = arrow.schema(
    [
        *((name, arrow.string()) for name in ("run_id", "column_name", "method", "used", "metric")),
        ("hidden", arrow.int64()),
        *((name, arrow.float64()) for name in ("error", "baseline_error", "shift")),
        ("measured_at", arrow.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True, slots=True)
class Quality:
    """How near one column's answers came to `hidden` cells that are known.

    method: the one declared; used: the one in use, which is the plain one when a model did not beat it. metric:
    nrmse (less is better) or accuracy (more is better). error, baseline_error: of the declared and of the plain way,
    None where too little is known.
    """

    column: str
    method: str
    used: str
    metric: str
    hidden: int
    error: float | None
    baseline_error: float | None


def measure(
    warehouse: Warehouse, declared: Sequence[Column], *, table_in: str, key: str, scratch: str
) -> tuple[list[Column], list[Quality]]:
    """Return the columns as they are to be filled, and what is known about each."""
    if not declared:
        return [], []
    sample = f"{scratch}__sample"
    rows = f"SELECT * FROM {_sampled(warehouse, table_in, key)}"
    warehouse.sql(f"CREATE OR REPLACE TABLE {quoted_table(sample)} AS {rows}")
    filled, measured = [], []
    for column in declared:
        found = _measured(warehouse, column, sample=sample, hidden=f"{scratch}__hidden", key=key)
        assert column.impute is not None
        plain = found.used != found.method
        filled.append(dataclasses.replace(column, impute=baseline(column)) if plain else column)
        measured.append(found)
    return filled, measured


def _measured(warehouse: Warehouse, column: Column, *, sample: str, hidden: str, key: str) -> Quality:
    it = column.impute
    assert it is not None
    plain = baseline(column)
    held = plain if it.method in LEARNED else plain.model_copy(update={"by": []})
    metric = "nrmse" if column.dtype.is_numeric() else "accuracy"
    if it.method == "constant":
        return Quality(column.name, it.method, it.method, metric, 0, None, None)
    _hide(warehouse, column, sample=sample, hidden=hidden, key=key)
    number, error = _error(warehouse, column, it, sample=sample, hidden=hidden, key=key)
    _, base = _error(warehouse, column, held, sample=sample, hidden=hidden, key=key)
    used: str = it.method
    if it.method in LEARNED and not _better(metric, number, error, base):
        used = plain.method
    return Quality(column.name, it.method, used, metric, number, error, base)


def _better(metric: str, hidden: int, error: float | None, base: float | None) -> bool:
    if hidden < ENOUGH or error is None:
        return False
    return base is None or (error < base if metric == "nrmse" else error > base)


def _is_hidden(column: Column, key: str) -> str:
    # One hexadecimal digit of sixteen: 6.25% of the cells, between the 5 and the 10 that are usual.
    at = f"md5('{column.name.replace(chr(39), '')}' || CAST({quoted(key)} AS VARCHAR))"
    return f"({at} LIKE '0%' AND NOT ({missing(column, '')}))"


def _hide(warehouse: Warehouse, column: Column, *, sample: str, hidden: str, key: str) -> None:
    cell = quoted(column.name)
    known = f"CASE WHEN {_is_hidden(column, key)} THEN NULL ELSE {cell} END AS {cell}"
    others = [quoted(name) for name in warehouse.columns(sample) if name != column.name]
    query = f"SELECT {', '.join([*others, known])} FROM {quoted_table(sample)}"
    warehouse.sql(f"CREATE OR REPLACE TABLE {quoted_table(hidden)} AS {query}")


def _error(
    warehouse: Warehouse, column: Column, how: ImputeSettings, *, sample: str, hidden: str, key: str
) -> tuple[int, float | None]:
    """Return how many hidden cells got an answer, and how far from the truth the answers are."""
    tried = dataclasses.replace(column, impute=how)
    into = f"{hidden}_filled"
    try:
        fill(warehouse, [tried], table_in=hidden, into=into, key=key)
        found = warehouse.sql(
            f"SELECT truth.{quoted(column.name)} AS truth, made.{quoted(column.name + SUFFIX)} AS made"
            f" FROM (SELECT * FROM {quoted_table(sample)} WHERE {_is_hidden(column, key)}) AS truth"
            f" JOIN {quoted_table(into)} AS made ON made.{quoted(key)} = truth.{quoted(key)}"
            f" WHERE made.{quoted(column.name + SUFFIX)} IS NOT NULL"
        )
    finally:
        warehouse.drop(into)
    frame = pl.from_arrow(found)
    assert isinstance(frame, pl.DataFrame)
    if frame.is_empty():
        return 0, None
    if not column.dtype.is_numeric():
        return len(frame), float((frame["truth"] == frame["made"]).sum() / len(frame))
    truth, made = (frame[name].cast(pl.Float64).to_numpy() for name in ("truth", "made"))
    spread = float(np.std(truth))
    return len(frame), float(np.sqrt(np.mean((made - truth) ** 2)) / spread) if spread > 0 else None


def shift(warehouse: Warehouse, filled: Sequence[Column], *, staged: str, key: str) -> dict[str, float | None]:
    """Return by column how far filling moves the distribution, from 0 to 1.

    Numbers: the Kolmogorov-Smirnov distance of observed values from observed and filled ones. Words: the share that
    changes place (total variation).
    """
    if not filled:
        return {}
    cells = [
        f"CASE WHEN {missing(it, '')} THEN NULL ELSE {quoted(it.name)} END AS {quoted(f'seen:{it.name}')},"
        f" {quoted(it.name + SUFFIX)} AS {quoted(f'made:{it.name}')}"
        for it in filled
    ]
    frame = pl.from_arrow(warehouse.sql(f"SELECT {', '.join(cells)} FROM {_sampled(warehouse, staged, key)}"))
    assert isinstance(frame, pl.DataFrame)
    moved: dict[str, float | None] = {}
    for column in filled:
        both = pl.coalesce(pl.col(f"seen:{column.name}"), pl.col(f"made:{column.name}"))
        after = frame.select(both).to_series().drop_nulls()
        moved[column.name] = _distance(frame[f"seen:{column.name}"].drop_nulls(), after)
    return moved


def _sampled(warehouse: Warehouse, table: str, key: str) -> str:
    """Return the SQL of some rows of a table, by a hash of the key: the same every time, and no particular ones."""
    every = max(1, warehouse.count(table) // SAMPLE_ROWS)
    return f"(SELECT * FROM {quoted_table(table)} WHERE hash({quoted(key)}) % {every} = 0) AS sampled"


def _distance(before: pl.Series, after: pl.Series) -> float | None:
    if before.is_empty() or after.is_empty():
        return None
    if before.dtype.is_numeric():
        first, second = (np.sort(one.cast(pl.Float64).to_numpy()) for one in (before, after))
        places = np.concatenate([first, second])
        ranks = [np.searchsorted(one, places, side="right") / len(one) for one in (first, second)]
        return float(np.max(np.abs(ranks[0] - ranks[1])))
    shares = [dict((one.cast(pl.String).value_counts(normalize=True)).iter_rows()) for one in (before, after)]
    return float(sum(abs(shares[0].get(word, 0) - shares[1].get(word, 0)) for word in {*shares[0], *shares[1]}) / 2)


def record(
    warehouse: Warehouse, measured: Sequence[Quality], shifts: Mapping[str, float | None], *, run_id: str
) -> None:
    """Write down what was measured; a run that is done again replaces its own rows."""
    if warehouse.has(QUALITY):
        warehouse.sql(f"DELETE FROM {QUALITY} WHERE run_id = $run", run=run_id)
    now = datetime.now(UTC)
    rows = [
        {
            "run_id": run_id,
            "column_name": it.column,
            **{name: getattr(it, name) for name in ("method", "used", "metric", "hidden", "error", "baseline_error")},
            "shift": shifts.get(it.column),
            "measured_at": now,
        }
        for it in measured
    ]
    table = arrow.Table.from_pylist(rows, _SCHEMA)
    warehouse.write(QUALITY, table.to_batches(), schema=_SCHEMA, mode="append")
