"""Bring the streams of a source into the zone `raw`, each record exactly once, whatever breaks on the way.

Pages are joined into tables of some ten thousand rows before dlt gets them (per page dlt costs more than the
rows), and loaded in packages of a bounded size. A package holds rows and the state behind them: dlt commits
both together, so that a read which fails or is killed goes on behind the last package.

`append` adds rows. `snapshot` reads the stream whole and then drops the rows of the snapshot before; a source
that can tell that nothing changed (NoticesChanges) is not read again.

Three precautions against a crash: a package left over is loaded first; since dlt may then load a file a second
time, rows are made unique by `_rid`; and rows of a snapshot that was never finished fall with the next one.
"""

from __future__ import annotations

import gc
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import dlt
import pyarrow as pa
from dlt.pipeline.exceptions import PipelineStepFailed

from consentry.connectors.arrow import Shape, with_system_columns
from consentry.connectors.base import NoticesChanges, Page, Source, State, Stream
from consentry.connectors.drift import Drift, Guard
from consentry.connectors.paging import ahead
from consentry.errors import ConsentryError, SourceFailed, StopRun
from consentry.model.names import did_you_mean, quoted_table
from consentry.warehouse import DuckDBWarehouse

TABLE_ROWS = 25_000
PACKAGE_ROWS = 100_000
SHAPE_CODES = ("schema_drift", "column_changed_type")
_ZONE = "raw"
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """Which stream to land, and how.

    drift: what happens when its columns change (`consentry.connectors.drift`). sieve: takes out the rows that may not
    be written anywhere, before anything is.
    """

    name: str
    mode: Literal["append", "snapshot"] = "append"
    drift: Drift = "evolve"
    sieve: Callable[[pa.Table], pa.Table] = lambda rows: rows


@dataclass(frozen=True, slots=True)
class Landed:
    """How many rows of a stream this landing read.

    left_out: those that its drift rule did not let in. sieved: those that the sieve took out.
    """

    stream: str
    rows: int
    left_out: int = 0
    sieved: int = 0


def land(
    source: Source,
    *,
    name: str,
    streams: Sequence[StreamSpec],
    warehouse: DuckDBWarehouse,
    folder: Path,
    run_id: str,
    progress: Callable[[str, int], None] = lambda stream, rows: None,
) -> list[Landed]:
    """Land streams of a source into `raw.<name>__<stream>` and return what was read, stream by stream.

    folder: where dlt keeps its working files; it belongs to the warehouse and goes with it.
    progress: called with a stream and the rows read of it so far.
    Raises SourceFailed or RetryLater as the source does, after keeping what it gave before; StopRun when the
    warehouse does not take the rows. No message quotes a value.
    """
    known = {stream.name: stream for stream in source.discover()}
    for spec in streams:
        if spec.name not in known:
            hint = did_you_mean(spec.name, known)
            message = f"Source {name!r} has no stream {spec.name!r}{hint or '.'} It has: {', '.join(sorted(known))}."
            raise SourceFailed(message, code="unknown_stream")
    place = _Place(name, warehouse, folder)
    place.recover([spec.name for spec in streams])
    landed: list[Landed] = []
    changed: SourceFailed | None = None
    for spec in streams:
        try:
            landed.append(_Landing(source, known[spec.name], spec, place, run_id, progress).run())
        except SourceFailed as error:
            # A changed shape is the trouble of one stream; the others are read before it is told.
            if error.code not in SHAPE_CODES:
                raise
            changed = changed or error
    if changed:
        raise changed
    return landed


class _Place:
    """One source's part of the warehouse, as dlt sees it."""

    def __init__(self, name: str, warehouse: DuckDBWarehouse, folder: Path) -> None:
        self.name, self.warehouse = name, warehouse
        _tame_dlt()
        # A working folder whose warehouse is gone remembers a state without the data behind it.
        if not self._is_known_to_warehouse():
            shutil.rmtree(folder / name, ignore_errors=True)
        self._pipeline = dlt.pipeline(
            name,
            pipelines_dir=str(folder),
            destination=dlt.destinations.duckdb(warehouse.connection),
            dataset_name=_ZONE,
        )
        logging.getLogger("dlt").setLevel(logging.CRITICAL + 1)

    def table(self, stream: str) -> str:
        return f"{_ZONE}.{self.name}__{stream}"

    def recover(self, streams: Sequence[str]) -> None:
        """Finish what an earlier run left behind, and make its rows unique."""
        crashed = self._pipeline.has_pending_data
        self._guarded(self._finish)
        for stream in streams if crashed else ():
            table = quoted_table(self.table(stream))
            if self.warehouse.has(self.table(stream)):
                self.warehouse.sql(
                    f"DELETE FROM {table} WHERE rowid NOT IN (SELECT min(rowid) FROM {table} GROUP BY _rid)"
                )

    def note(self, stream: str) -> dict[str, Any]:
        """Return what is kept about a stream: `state`, `next_rid`, `keep_from`."""
        sources = self._pipeline.state.get("sources", {})
        kept = dict(sources.get(self.name, {}).get("streams", {}).get(stream, {}))
        if self.warehouse.has(self.table(stream)):
            # The table knows better than a state that got lost.
            table = quoted_table(self.table(stream))
            top = self.warehouse.sql(f"SELECT coalesce(max(_rid), 0) + 1 AS n FROM {table}")["n"][0].as_py()
            kept["next_rid"] = max(top, kept.get("next_rid", 1))
        return kept

    def load(self, stream: str, rows: Callable[[dict[str, Any]], Iterator[pa.Table]]) -> None:
        """Load one package: the tables that `rows` yields, and the note it leaves in the dict it is given."""
        taken = 0

        def package() -> Iterator[pa.Table]:
            nonlocal taken
            note: dict[str, Any] = {}
            for table in rows(note):
                taken += table.num_rows
                yield table
            dlt.current.source_state().setdefault("streams", {})[stream] = note

        resource = dlt.resource(package, name=f"{self.name}__{stream}", write_disposition="append")
        self._guarded(lambda: self._pipeline.extract(resource, loader_file_format="parquet"))
        if taken < TABLE_ROWS:
            # Giving memory back takes longer than so few rows do.
            self._guarded(self._load_what_waits)
            return
        _let_go()
        with self.warehouse.sparing():
            self._guarded(self._load_what_waits)
        _let_go()

    def _finish(self) -> None:
        self._load_what_waits()
        self._pipeline.sync_destination()

    def _load_what_waits(self) -> None:
        if self._pipeline.has_pending_data:
            self._pipeline.normalize()
            self._pipeline.load()

    def _is_known_to_warehouse(self) -> bool:
        table = f"{_ZONE}._dlt_pipeline_state"
        if not self.warehouse.has(table):
            return False
        query = f"SELECT count(*) AS n FROM {table} WHERE pipeline_name = $name"
        return bool(self.warehouse.sql(query, name=self.name)["n"][0].as_py())

    def _guarded(self, work: Callable[[], object]) -> None:
        failed: BaseException | None = None
        try:
            work()
        except PipelineStepFailed as error:
            # dlt takes an interrupt for a failure of its step; whoever pressed Ctrl-C wants an end, and no sentence.
            interrupted = isinstance(error.exception, KeyboardInterrupt)
            failed = KeyboardInterrupt() if interrupted else self._refused(error)
        # Raised here and not above, so that dlt's own error, which quotes values, is not its context.
        if failed:
            raise failed

    def _refused(self, error: PipelineStepFailed) -> StopRun:
        cause = type(error.exception).__name__
        return StopRun(
            f"What source {self.name!r} gave could not be loaded into the warehouse ({error.step}: {cause}). "
            "Run again; the rows are kept and loaded first.",
            code="landing_failed",
        )


class _Landing:
    """One stream on its way in."""

    def __init__(
        self, source: Source, stream: Stream, spec: StreamSpec, place: _Place, run_id: str, progress: Progress
    ) -> None:
        self._source, self._stream, self._place = source, stream, place
        self._snapshot = spec.mode == "snapshot"
        self._run_id, self._progress = run_id, progress
        self._table = place.table(stream.name)
        self._shape = Shape(stream.name, place.warehouse.columns(self._table))
        self._sieve, self._sieved = spec.sieve, 0
        self._guard = Guard(stream.name, spec.drift, place.warehouse.columns(self._table))
        note = place.note(stream.name)
        self._state: State = note.get("state", {})
        self._next_rid: int = note.get("next_rid", 1)
        self._keep_from: int = note.get("keep_from", 1)
        self._rows = 0
        self._ended = False
        self._failure: ConsentryError | None = None

    def run(self) -> Landed:
        first_rid = self._next_rid
        if self._is_unchanged():
            self._drop_older()
            return Landed(self._stream.name, 0)
        # The next page is fetched while this one is made to fit.
        pages = ahead(iter(self._source.read(self._stream, {} if self._snapshot else self._state)))
        before = self._state
        while not self._ended:
            self._place.load(self._stream.name, lambda note: self._package(pages, note, before, first_rid))
        if self._failure:
            raise self._failure
        self._drop_older()
        return Landed(self._stream.name, self._rows, self._guard.dropped, self._sieved)

    def _is_unchanged(self) -> bool:
        if not (self._snapshot and self._state and isinstance(self._source, NoticesChanges)):
            return False
        return not self._source.changed(self._stream, self._state)

    def _package(
        self, pages: Iterator[Page], note: dict[str, Any], before: State, first_rid: int
    ) -> Iterator[pa.Table]:
        start = self._next_rid
        if not self._place.warehouse.has(self._table):
            yield self._empty()
        for table in _joined(self._pages(pages)):
            rows = with_system_columns(table, first_rid=self._next_rid, run_id=self._run_id, at=datetime.now(UTC))
            self._next_rid += rows.num_rows
            yield rows
            if self._next_rid - start >= PACKAGE_ROWS:
                break
        whole = self._ended and not self._failure
        if self._snapshot and whole:
            self._keep_from = first_rid
        # Half a snapshot leaves no state: the next run takes it from the beginning.
        state = self._state if whole or not self._snapshot else before
        note.update(state=dict(state), next_rid=self._next_rid, keep_from=self._keep_from)

    def _pages(self, pages: Iterator[Page]) -> Iterator[pa.Table]:
        while not self._ended:
            try:
                page = next(pages, None)
                fitted = None if page is None else self._fitted(page)
            except Exception as error:
                # Kept for later, so that the pages before it are committed with their state.
                self._failure, page, fitted = _as_ours(error, self._stream.name), None, None
            if page is None or fitted is None:
                self._ended = True
                return
            self._state = page.state
            self._rows += fitted.num_rows
            self._progress(self._stream.name, self._rows)
            if fitted.num_rows:
                yield fitted

    def _fitted(self, page: Page) -> pa.Table:
        whole = self._shape.fit(page.records)
        kept = self._sieve(whole)
        self._sieved += whole.num_rows - kept.num_rows
        self._rows += whole.num_rows - kept.num_rows
        return self._guard.hold(kept)

    def _empty(self) -> pa.Table:
        nothing = pa.RecordBatch.from_pylist([], self._stream.schema)
        return with_system_columns(self._shape.fit(nothing), first_rid=1, run_id=self._run_id, at=datetime.now(UTC))

    def _drop_older(self) -> None:
        if self._snapshot:
            query = f"DELETE FROM {quoted_table(self._table)} WHERE _rid < $keep_from"
            self._place.warehouse.sql(query, keep_from=self._keep_from)


def _as_ours(error: Exception, stream: str) -> ConsentryError:
    if isinstance(error, ConsentryError):
        return error
    kind = type(error).__name__
    message = f"The connector failed with {kind} while it read stream {stream!r}. This is a fault of the connector."
    return SourceFailed(message, code="connector_fault")


def _joined(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Join small tables into tables of about TABLE_ROWS rows, in order."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        if rows >= TABLE_ROWS:
            yield pa.concat_tables(waiting, promote_options="default")
            waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting, promote_options="default")


def _let_go() -> None:
    """Give back the memory of a step, so that it is not under that of the next one."""
    # dlt's cycles hold on to tables, and heaps of threads that ended keep what was freed in them.
    gc.collect()
    pa.default_memory_pool().release_unused()


def _tame_dlt() -> None:
    """Let dlt keep our column names, send nothing home, log nothing, and leave no rows behind on disk."""
    settings: dict[str, object] = {
        "runtime.dlthub_telemetry": False,
        "runtime.log_level": "CRITICAL",
        "runtime.enable_runtime_trace": False,
        "schema.naming": "direct",
        "load.delete_completed_jobs": True,
    }
    for key, value in settings.items():
        dlt.config[key] = value
