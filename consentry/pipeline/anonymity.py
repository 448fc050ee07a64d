"""Measure how well people hide among each other: k, and l of one sensitive column, for a segment or an exported file.

k: the fewest people who share one combination of the columns (Sweeney 2002). l: the fewest distinct sensitive values
in such a group (Machanavajjhala 2007, distinct l-diversity).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

from consentry.errors import ConfigError
from consentry.model.names import did_you_mean, quoted
from consentry.pipeline.left import left_warehouse
from consentry.pipeline.load import Loaded
from consentry.warehouse import DuckDBWarehouse

# Everything is read as text: 07 and 7 are different in a file that somebody gets.
_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": lambda path: pl.read_csv(path, infer_schema=False),
    ".jsonl": pl.read_ndjson,
    ".parquet": pl.read_parquet,
}
_EXPORT = "profile.export"


# What is returned is plain JSON.
def anonymity(
    loaded: Loaded, columns: Sequence[str], *, segment: str | None = None, sensitive: str | None = None
) -> dict[str, Any]:
    """Measure the profiles of a segment, or of everybody, by some of their columns.

    Raises ConfigError for a job that has not run, and for a column that the profile has not.
    """
    with left_warehouse(loaded) as warehouse:
        found = _measured(warehouse, "profile.person", columns, segment, sensitive)
    return {"segment": segment, **found}


def anonymity_of_file(path: Path, columns: Sequence[str], *, sensitive: str | None = None) -> dict[str, Any]:
    """Measure a file that somebody is to get: CSV, JSON lines or Parquet, one row a person."""
    read = _READERS.get(path.suffix)
    if read is None:
        raise ConfigError(f"{path}: This is no export that can be measured. It ends in: {', '.join(_READERS)}.")
    try:
        table = read(path).to_arrow()
    except (OSError, pl.exceptions.PolarsError) as error:
        kind = type(error).__name__
        raise ConfigError(
            f"{path}: The file cannot be read ({kind}). Check the path and that it is complete."
        ) from None
    with closing(DuckDBWarehouse()) as warehouse:
        warehouse.write(_EXPORT, table.to_batches(), schema=table.schema)
        found = _measured(warehouse, _EXPORT, columns, None, sensitive)
    return {"file": str(path), **found}


def _measured(
    warehouse: DuckDBWarehouse, table: str, columns: Sequence[str], segment: str | None, sensitive: str | None
) -> dict[str, Any]:
    known = warehouse.columns(table)
    for column in [*columns, *([sensitive] if sensitive else [])]:
        if column not in known:
            hint = did_you_mean(column, known) or "."
            raise ConfigError(f"There is no column {column!r}{hint} There are: {', '.join(known)}.")
    member = "WHERE p.person_id IN (SELECT m.person_id FROM segment.membership m WHERE m.segment = $segment)"
    listed = ", ".join(f"p.{quoted(column)}" for column in columns)
    kinds = f"count(DISTINCT coalesce(CAST(p.{quoted(sensitive)} AS TEXT), ''))" if sensitive else "0"
    found = warehouse.sql(
        f"WITH classes AS (SELECT count(*) AS size, {kinds} AS kinds FROM {table} p {member if segment else ''} "
        f"GROUP BY {listed}) SELECT count(*) AS classes, coalesce(min(size), 0) AS k, coalesce(min(kinds), 0) AS l, "
        "coalesce(sum(size), 0) AS people, count(*) FILTER (size = 1) AS unique_people FROM classes",
        **({"segment": segment} if segment else {}),
    ).to_pylist()[0]
    numbers = {name: int(value) for name, value in found.items() if name != "l" or sensitive}
    return {"columns": list(columns), **({"sensitive": sensitive} if sensitive else {}), **numbers}
