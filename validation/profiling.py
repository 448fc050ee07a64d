"""Describe a load column by column: how much is missing, how many values there are, how they lie.

Counts are exact; quantiles, categories and outliers come from at most 100,000 rows. Nothing of a column that points
at a person is kept, and a word is kept only when the column has few and ten rows have it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as arrow

from consentry.model.names import quoted
from consentry.validation.contract import Column, Contract
from consentry.warehouse import Warehouse

PROFILE: Final = "ops.profile"
SAMPLE_ROWS: Final = 100_000
# So few words make a column one of categories; so many rows make a word one that is no single person's.
MOST_WORDS: Final = 50
ROWS_A_WORD: Final = 10
POINTS: Final = tuple(n / 100 for n in range(101))
# Beyond three times the distance of the quartiles: Tukey's far fences.
FENCE: Final = 3.0
_SCHEMA: Final = arrow.schema(
    [
        *((name, arrow.string()) for name in ("run_id", "stream", "column_name")),
        ("loaded_at", arrow.timestamp("us", "UTC")),
        *((name, arrow.int64()) for name in ("row_count", "nulls", "distinct_values", "outliers")),
        *((name, arrow.float64()) for name in ("mean", "sd")),
        ("quantiles", arrow.string()),
        ("words", arrow.string()),
        ("flagged", arrow.bool_()),
    ]
)


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column of one load. quantiles: 101 of them, none of what is no number. words: shares of categories."""

    rows: int
    nulls: int
    distinct: int
    outliers: int = 0
    mean: float | None = None
    sd: float | None = None
    quantiles: tuple[float, ...] = ()
    words: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """One load of one stream: the rows that came in, those that go to clean, and its columns."""

    stream: str
    run_id: str
    loaded_at: datetime
    rows_in: int
    rows: int
    columns: Mapping[str, ColumnProfile]


def profile_load(
    warehouse: Warehouse, contract: Contract, *, stream: str, table: str, key: Sequence[str], run_id: str
) -> LoadProfile:
    """Describe the good rows of a table of judged rows (`_bad` marks the others)."""
    present = warehouse.columns(table.replace('"', ""))
    columns = [column for column in contract.columns if column.name in present]
    counts = [
        f"count({quoted(c.name)}) AS {quoted(f'n:{c.name}')}, approx_count_distinct({quoted(c.name)}) AS"
        f" {quoted(f'd:{c.name}')}"
        for c in columns
    ]
    total = "count(*) AS rows_in, coalesce(sum(CASE WHEN _bad THEN 0 ELSE 1 END), 0) AS good"
    whole = warehouse.sql(f"SELECT {total} FROM {table}").to_pylist()[0]
    rows = int(whole["good"])
    found = warehouse.sql(f"SELECT {', '.join(counts)} FROM {table} WHERE NOT _bad").to_pylist()[0]
    sample = _sample(warehouse, table, columns, rows)
    told = {
        c.name: _described(
            sample,
            c,
            rows=rows,
            known=found[f"n:{c.name}"],
            # The estimate may be some percent too high.
            distinct=min(found[f"d:{c.name}"], found[f"n:{c.name}"]),
            quiet=c.name in key or c.name in contract.private,
        )
        for c in columns
    }
    return LoadProfile(stream, run_id, datetime.now(UTC), whole["rows_in"], rows, told)


def _sample(warehouse: Warehouse, table: str, columns: Sequence[Column], rows: int) -> pl.DataFrame:
    every = max(1, -(-rows // SAMPLE_ROWS))
    listed = ", ".join(quoted(column.name) for column in columns)
    found = pl.from_arrow(
        warehouse.sql(f"SELECT {listed} FROM {table} WHERE NOT _bad AND _rid % $every = 0", every=every)
    )
    assert isinstance(found, pl.DataFrame)
    return found


def _described(
    sample: pl.DataFrame, column: Column, *, rows: int, known: int, distinct: int, quiet: bool
) -> ColumnProfile:
    plain = ColumnProfile(rows, rows - known, distinct)
    values = sample[column.name].drop_nulls()
    if quiet or values.is_empty():
        return plain
    if column.dtype.is_numeric():
        return _numbers(plain, values.cast(pl.Float64).to_numpy(), len(sample))
    if column.dtype == pl.String or column.dtype == pl.Boolean:
        return _words(plain, values.cast(pl.String))
    return plain


def _numbers(plain: ColumnProfile, values: npt.NDArray[np.float64], sampled: int) -> ColumnProfile:
    at = np.quantile(values, POINTS)
    low, high = at[25], at[75]
    far = FENCE * (high - low)
    beyond = int(((values < low - far) | (values > high + far)).sum()) if far > 0 else 0
    return ColumnProfile(
        plain.rows,
        plain.nulls,
        plain.distinct,
        round(beyond * plain.rows / max(sampled, 1)),
        float(values.mean()),
        float(values.std()),
        tuple(float(value) for value in at),
    )


def _words(plain: ColumnProfile, values: pl.Series) -> ColumnProfile:
    counted = values.value_counts(sort=True)
    if len(counted) > MOST_WORDS:
        return plain
    name = values.name
    words = {word: n / len(values) for word, n in counted.iter_rows() if n >= ROWS_A_WORD}
    return ColumnProfile(plain.rows, plain.nulls, plain.distinct, words=words) if name is not None else plain


def write_profile(warehouse: Warehouse, load: LoadProfile, *, flagged: frozenset[str]) -> None:
    """Keep the profile of a load; the row of the column '' is the load as a whole (nulls: what was quarantined).

    flagged: columns about which there was an alarm; they are left out of what later loads are held against.
    """
    if warehouse.has(PROFILE):
        warehouse.sql(
            f"DELETE FROM {PROFILE} WHERE run_id = $run AND stream = $stream", run=load.run_id, stream=load.stream
        )
    whole = ColumnProfile(load.rows_in, load.rows_in - load.rows, 0)
    rows = [_row(load, name, it, name in flagged) for name, it in {"": whole, **load.columns}.items()]
    warehouse.write(PROFILE, arrow.Table.from_pylist(rows, _SCHEMA).to_batches(), schema=_SCHEMA, mode="append")


# A row of Arrow: plain values.
def _row(load: LoadProfile, name: str, it: ColumnProfile, flagged: bool) -> dict[str, object]:
    return {
        "run_id": load.run_id,
        "stream": load.stream,
        "column_name": name,
        "loaded_at": load.loaded_at,
        "row_count": it.rows,
        "nulls": it.nulls,
        "distinct_values": it.distinct,
        "outliers": it.outliers,
        "mean": it.mean,
        "sd": it.sd,
        "quantiles": json.dumps(it.quantiles) if it.quantiles else None,
        "words": json.dumps(it.words, ensure_ascii=False, sort_keys=True) if it.words else None,
        "flagged": flagged,
    }


@dataclass(frozen=True, slots=True)
class Point:
    """One earlier load of a column."""

    loaded_at: datetime
    column: ColumnProfile
    flagged: bool


def history(warehouse: Warehouse, stream: str, *, before: str, most: int = 200) -> dict[str, list[Point]]:
    """Return the earlier loads of each column, oldest first, without the run `before`."""
    if not warehouse.has(PROFILE):
        return {}
    query = (
        "SELECT column_name, CAST(loaded_at AS TEXT) AS loaded_at, row_count, nulls, distinct_values, outliers, mean,"
        f" sd, quantiles, words, flagged FROM {PROFILE} WHERE stream = $stream AND run_id <> $run AND run_id IN"
        f" (SELECT run_id FROM {PROFILE} WHERE stream = $stream AND column_name = '' AND run_id <> $run"
        " ORDER BY loaded_at DESC LIMIT $most) ORDER BY loaded_at"
    )
    found: dict[str, list[Point]] = {}
    for row in warehouse.sql(query, stream=stream, run=before, most=most).to_pylist():
        told = ColumnProfile(
            row["row_count"],
            row["nulls"],
            row["distinct_values"],
            row["outliers"],
            row["mean"],
            row["sd"],
            tuple(json.loads(row["quantiles"] or "[]")),
            json.loads(row["words"] or "{}"),
        )
        moment = datetime.fromisoformat(row["loaded_at"])
        found.setdefault(row["column_name"], []).append(Point(moment, told, row["flagged"]))
    return found
