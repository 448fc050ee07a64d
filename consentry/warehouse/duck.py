"""The warehouse in one DuckDB file: the embedded default."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import pyarrow as pa

from consentry.errors import StopRun
from consentry.model.names import quoted, quoted_table
from consentry.warehouse.protocol import BATCH_ROWS, ZONES, Mode, Param

_LITERALS = re.compile(r"'(?:[^']|'')*'|\b\d[\d.]*\b")


class DuckDBWarehouse:
    """A warehouse in one file, or in memory when `path` is None.

    memory_limit: as DuckDB writes it ("2GB"); beyond it DuckDB spills to disk beside the file.
    """

    def __init__(
        self, path: Path | None = None, *, threads: int | None = None, memory_limit: str | None = None
    ) -> None:
        options: dict[str, str | int] = {"preserve_insertion_order": "false"}
        if threads:
            options["threads"] = threads
        if memory_limit:
            options["memory_limit"] = memory_limit
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # dict is invariant in the stub, so that any mapping of options is turned away.
            self.connection = duckdb.connect(str(path or ":memory:"), config=dict(options))
        except duckdb.Error as error:
            busy = "lock" in str(error).lower()
            why = "another process is using it" if busy else f"DuckDB reports {type(error).__name__}"
            message = f"The warehouse {path} cannot be opened: {why}. Wait for the other run to end, or stop it."
            raise StopRun(message, code="warehouse_locked" if busy else "warehouse") from None
        self._in_file, self._threads, self._memory_limit = path is not None, threads, memory_limit
        self._open: duckdb.DuckDBPyConnection | None = None
        for zone in ZONES:
            self.sql(f"CREATE SCHEMA IF NOT EXISTS {zone}")

    def sql(self, query: str, **params: Param) -> pa.Table:
        with self._cursor() as cursor:
            return _run(cursor, query, params)

    def stream(self, query: str, *, batch_rows: int = BATCH_ROWS, **params: Param) -> Iterator[pa.RecordBatch]:
        refusal = None
        with self._cursor(own=True) as cursor:
            try:
                yield from cursor.sql(query, params=params or None).to_arrow_reader(batch_rows)
            except duckdb.Error as error:
                refusal = _refusal(error, query)
        if refusal:
            raise refusal

    def read(self, table: str, *, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        return self.stream(f"SELECT * FROM {quoted_table(table)}", batch_rows=batch_rows)

    def write(self, table: str, batches: Iterable[pa.RecordBatch], *, schema: pa.Schema, mode: Mode = "replace") -> int:
        feed = _Feed(batches)
        reader = pa.RecordBatchReader.from_batches(schema, feed)
        make = f"CREATE OR REPLACE TABLE {quoted_table(table)} AS SELECT * FROM incoming"
        if mode == "append" and self.has(table):
            make = f"INSERT INTO {quoted_table(table)} BY NAME SELECT * FROM incoming"
        with self._cursor() as cursor:
            cursor.register("incoming", reader)
            try:
                _run(cursor, make)
            except StopRun:
                if feed.failure is None:
                    raise
            finally:
                cursor.unregister("incoming")
        if feed.failure is not None:
            raise feed.failure
        return feed.rows

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
        rows = self.stream(query, batch_rows=batch_rows, **params)
        return self.write(into, map(function, rows), schema=schema, mode=mode)

    def publish(self, tables: Mapping[str, str]) -> None:
        with self.transaction():
            for public, staged in tables.items():
                self.sql(f"DROP TABLE IF EXISTS {quoted_table(public)}")
                self.sql(f"ALTER TABLE {quoted_table(staged)} RENAME TO {quoted(public.split('.')[1])}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._open is not None:
            raise RuntimeError("A transaction is open already.")
        with self._cursor(own=True) as cursor:
            _run(cursor, "BEGIN")
            self._open = cursor
            try:
                yield
            except BaseException:
                _run(cursor, "ROLLBACK")
                raise
            else:
                _run(cursor, "COMMIT")
            finally:
                self._open = None

    def has(self, table: str) -> bool:
        return bool(self.columns(table))

    def columns(self, table: str) -> dict[str, str]:
        # Asking the catalogue takes ten times as long; binding a query reads this one table, and leaves a
        # transaction whole.
        with self._cursor() as cursor:
            try:
                found = cursor.sql(f"SELECT * FROM {quoted_table(table)} LIMIT 0")
            except duckdb.CatalogException:
                return {}
            return dict(zip(found.columns, map(str, found.types), strict=True))

    def tables(self, zone: str) -> list[str]:
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = $zone ORDER BY 1"
        return [f"{zone}.{name}" for name in self.sql(query, zone=zone)["table_name"].to_pylist()]

    def count(self, table: str) -> int:
        if not self.has(table):
            return 0
        return int(self.sql(f"SELECT count(*) AS n FROM {quoted_table(table)}")["n"][0].as_py())

    def drop(self, table: str) -> None:
        self.sql(f"DROP TABLE IF EXISTS {quoted_table(table)}")

    @contextmanager
    def sparing(self) -> Iterator[None]:
        """Take little memory meanwhile, and keep none of it behind: for one piece of a work in many.

        Each further thread would have buffers of its own. Nothing else may use the warehouse at the same time.
        """
        self._set("threads", 1)
        self._set("allocator_flush_threshold", "1MB")
        try:
            yield
            if self._in_file:
                self._let_go()
        finally:
            self._set("allocator_flush_threshold", None)
            self._set("threads", self._threads)

    def close(self) -> None:
        self.connection.close()

    def _let_go(self) -> None:
        """Bring what waits in memory into the file, and give the memory back to the system."""
        try:
            self.sql("CHECKPOINT")
        except StopRun as refused:
            if refused.code == "warehouse_transaction":  # somebody else writes; the next piece tries again
                return
            raise
        # Lowering the limit drops cached blocks. Setting it, to whatever, empties DuckDB's allocators, which else
        # keep what is freed for ten seconds more.
        with suppress(duckdb.OutOfMemoryException):  # more than that is in use, and stays
            self._set("memory_limit", "1MB")
        self._set("memory_limit", self._memory_limit)

    def _set(self, name: str, value: str | int | None) -> None:
        """Change a setting of the engine; None stands for its default."""
        if value is None:
            self.connection.execute(f"RESET {name}")
        else:
            self.connection.execute(f"SET {name} = $value", {"value": value})

    @contextmanager
    def _cursor(self, *, own: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        # A connection holds one unfinished result at a time, so that each query gets a cursor of its own;
        # inside a transaction all statements share the cursor that began it.
        if self._open is not None and not own:
            yield self._open
            return
        cursor = self.connection.cursor()
        try:
            yield cursor
        finally:
            cursor.close()


class _Feed:
    """Count the rows that pass, and keep the error of whoever makes them: the engine would hide it in its own."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = batches
        self.rows = 0
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                self.rows += batch.num_rows
                yield batch
        except BaseException as error:
            self.failure = error
            raise


def _run(cursor: duckdb.DuckDBPyConnection, query: str, params: Mapping[str, Param] | None = None) -> pa.Table:
    try:
        found = cursor.sql(query, params=params or None)
        return pa.table({}) if found is None else found.to_arrow_table()
    except duckdb.Error as error:
        refusal = _refusal(error, query)
    # Raised here and not above, so that the engine's own error, which quotes values, is not its context.
    raise refusal


def _refusal(error: duckdb.Error, query: str) -> StopRun:
    shape = _LITERALS.sub("?", " ".join(query.split()))[:160]
    kind = type(error).__name__.removesuffix("Exception")
    return StopRun(f"The warehouse refused a statement ({kind}): {shape}", code=f"warehouse_{kind.lower()}")
