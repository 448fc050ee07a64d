"""What every part may ask of the warehouse, whichever engine stands behind it.

Tables are named `zone.table`. `raw`, `clean`, `quarantine` and `identity` hold direct identifiers and are the
restricted zone; `profile`, `segment`, `delivery` and `ops` never do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Literal, Protocol

import pyarrow as pa

ZONES = ("raw", "clean", "quarantine", "identity", "profile", "segment", "delivery", "ops")
BATCH_ROWS = 100_000
Mode = Literal["append", "replace"]
# A bound parameter of a query.
Param = str | int | float | bool | None | object


class Warehouse(Protocol):
    """An analytics engine that speaks the portable subset of DuckDB's SQL and Arrow batches."""

    def sql(self, query: str, **params: Param) -> pa.Table:
        """Run one statement and return its rows, none for a statement that has none.

        Values are bound as `$name`, never written into the text. Raises StopRun when the engine refuses;
        the message never quotes a value.
        """
        ...

    def stream(self, query: str, *, batch_rows: int = BATCH_ROWS, **params: Param) -> Iterator[pa.RecordBatch]:
        """Run one query and yield its rows in batches, without holding all of them."""
        ...

    def read(self, table: str, *, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table in batches."""
        ...

    def write(self, table: str, batches: Iterable[pa.RecordBatch], *, schema: pa.Schema, mode: Mode = "replace") -> int:
        """Write batches to a table in one atomic step and return the number of rows written."""
        ...

    def map_batches(
        self,
        query: str,
        function: Callable[[pa.RecordBatch], pa.RecordBatch],
        *,
        into: str,
        schema: pa.Schema,
        mode: Mode = "replace",
        batch_rows: int = BATCH_ROWS,
        **params: Param,
    ) -> int:
        """Send the rows of a query through a Python function into a table; return the rows written.

        function: takes one batch, returns one of `schema`, with any number of rows.
        """
        ...

    def publish(self, tables: Mapping[str, str]) -> None:
        """Give each staged table its public name, all in one atomic step: {public: staged}."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Make the statements inside one atomic step."""
        ...

    def has(self, table: str) -> bool:
        """Tell whether a table exists."""
        ...

    def columns(self, table: str) -> dict[str, str]:
        """Return the columns of a table and their SQL types, in order; empty when there is no such table."""
        ...

    def tables(self, zone: str) -> list[str]:
        """List the tables of a zone, as `zone.table`."""
        ...

    def count(self, table: str) -> int:
        """Return the number of rows of a table, 0 when there is no such table."""
        ...

    def drop(self, table: str) -> None:
        """Remove a table if it is there."""
        ...

    def close(self) -> None:
        """Let go of the engine."""
        ...
