"""Compare two snapshots of a table: files as the connector `files` reads them, or what a job holds as clean."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from consentry.audit import Json
from consentry.config import Faults
from consentry.connectors.arrow import Shape
from consentry.connectors.file_formats import format_of
from consentry.connectors.files import Files, FilesConfig, FileStream
from consentry.connectors.folders import LocalFolder
from consentry.errors import ConfigError
from consentry.model.names import did_you_mean
from consentry.pipeline.left import held_log, left_warehouse
from consentry.pipeline.load import Loaded
from consentry.pipeline.progress import Progress
from consentry.validation.contract import Contract, read_contract
from consentry.validation.run import watermark
from consentry.validation.snapshot_diff import KINDS, Comparison
from consentry.validation.snapshots import Snapshot, Stage
from consentry.warehouse import DuckDBWarehouse

ENOUGH = "512MB"
_WILD = "*?["


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be compared, and how.

    old, new: a file, a pattern of files, or `source.stream` of the job. key, contract: by default those of that stream.
    file: options of the connector `files` for both. tolerance: by column, "" for all numbers. keys, rows: how many keys
    and changed rows are to be shown.
    """

    old: str
    new: str
    loaded: Loaded | None = None
    key: tuple[str, ...] = ()
    contract: str | None = None
    file: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    tolerance: Mapping[str, float] = field(default_factory=dict)
    keys: int = 0
    rows: int = 0
    memory: str = ENOUGH


# What is returned is plain JSON.
def compare_snapshots(wanted: Wanted, progress: Progress) -> dict[str, Any]:
    """Return what two snapshots differ in, in numbers; keys and cells only as far as they are asked for.

    Both are copied into a private folder for the time of the comparison, which takes little memory whatever their size.
    Raises ConfigError and SourceFailed for what cannot be read.
    """
    key, contract = _read_by(wanted)
    with tempfile.TemporaryDirectory(prefix="consentry-diff-") as folder:
        file = Path(folder) / "diff.duckdb"
        with closing(DuckDBWarehouse(file, memory_limit=wanted.memory)) as warehouse:
            stage = Stage(warehouse, key=key, contract=contract, ignore=wanted.ignore)
            old = _taken(wanted, stage, "old", progress)
            new = _taken(wanted, stage, "new", progress)
            for name in wanted.ignore:
                if name not in stage.seen:
                    raise ConfigError(f"There is no column {name!r} to ignore{did_you_mean(name, stage.seen) or '.'}")
            progress.begin("compare", "row by row, cell by cell")
            comparison = Comparison(stage, old, new, tolerance=wanted.tolerance)
            found = comparison.diff()
            told = {"key": list(key), "contract": contract.name if contract else None, **asdict(found)}
            progress.end("compare", f"{found.added:,} added, {found.removed:,} removed, {found.changed:,} changed")
            told |= _shown(comparison, wanted)
    _note(wanted, told)
    return told


def _shown(comparison: Comparison, wanted: Wanted) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if wanted.keys:
        told["keys"] = {kind: comparison.keys(kind, wanted.keys) for kind in KINDS}
    if wanted.rows:
        told["rows"] = comparison.rows(wanted.rows)
    return told


def _note(wanted: Wanted, told: Mapping[str, Any]) -> None:
    """Write to the audit log that rows of a job are about to be shown, and how many; not which."""
    streams: list[Json] = [name for name in (wanted.old, wanted.new) if _is_stream(wanted.loaded, name)]
    if wanted.loaded is None or not (wanted.keys or wanted.rows):
        return
    with held_log(wanted.loaded) as audit:
        keys = sum(map(len, told.get("keys", {}).values()))
        audit.append("diff.shown", streams=streams, counts={"keys": keys, "rows": len(told.get("rows", ()))})


def _read_by(wanted: Wanted) -> tuple[tuple[str, ...], Contract | None]:
    """Return the key, and the contract that reads both snapshots."""
    stream = next((name for name in (wanted.old, wanted.new) if _is_stream(wanted.loaded, name)), None)
    if wanted.loaded is not None and stream is None:
        known = _streams(wanted.loaded)
        hint = did_you_mean(wanted.old, known) or did_you_mean(wanted.new, known) or f". It has: {', '.join(known)}."
        raise ConfigError(f"Neither {wanted.old} nor {wanted.new} is a stream of the job{hint}")
    if wanted.loaded is not None and stream is not None:
        if wanted.contract is not None:
            raise ConfigError(f"Both snapshots are read by the contract of {stream}. Leave --contract out.")
        table = stream.replace(".", "__", 1)
        return wanted.key or _streams(wanted.loaded)[stream], wanted.loaded.contracts[table]
    if not wanted.key:
        raise ConfigError("Name the column that tells rows apart with --key; once for each column of a longer key.")
    return wanted.key, _contract(wanted.contract)


def _contract(name: str | None) -> Contract | None:
    if name is None:
        return None
    faults = Faults()
    found = read_contract(Path(name) if name.endswith((".yaml", ".yml")) else name, faults)
    faults.check()
    return found


def _streams(loaded: Loaded) -> dict[str, tuple[str, ...]]:
    """Return the key of each stream of a job, by `source.stream`."""
    sources = loaded.job.sources.items()
    return {f"{source}.{name}": it.primary_key for source, block in sources for name, it in block.streams.items()}


def _is_stream(loaded: Loaded | None, name: str) -> bool:
    return loaded is not None and name in _streams(loaded)


def _taken(wanted: Wanted, stage: Stage, side: str, progress: Progress) -> Snapshot:
    name = wanted.old if side == "old" else wanted.new
    progress.begin(side, f"reading {name}")

    def told(rows: int) -> None:
        progress.advance(side, rows)

    if wanted.loaded is not None and _is_stream(wanted.loaded, name):
        found = _clean(wanted.loaded, name, stage, side, told)
    else:
        found = stage.take(f"raw.{side}", _records(name, wanted.file), label=name, told=told)
    progress.end(side, f"{found.rows:,} rows of {name}")
    return found


def _clean(loaded: Loaded, name: str, stage: Stage, side: str, told: Callable[[int], None]) -> Snapshot:
    """Take what a job holds as clean of a stream."""
    table = name.replace(".", "__", 1)
    with left_warehouse(loaded, f"{name} holds nothing to compare with") as warehouse:
        mark = watermark(warehouse, table)
        if mark is None or not warehouse.has(f"clean.{table}"):
            raise ConfigError(f"The job has nothing clean of {name} yet. Run it first.")
        if mark[1] != loaded.contracts[table].digest:
            raise ConfigError(f"The contract of {name} has changed since its rows were checked. Run the job first.")
        batches = (pa.Table.from_batches([batch]) for batch in warehouse.read(f"clean.{table}"))
        return stage.take(f"raw.{side}", batches, label=name, typed=True, told=told)


def _records(name: str, options: Mapping[str, str]) -> Iterator[pa.Table]:
    """Yield the records of a file, or of files, as landing would put them into a table."""
    path = Path(name)
    pattern = path.name
    if path.exists():
        # A link may lead anywhere; whoever names it means the file.
        path = path.resolve()
        pattern = escape(path.name)
    elif not any(mark in pattern for mark in _WILD):
        raise ConfigError(f"{name}: There is no such file.")
    if path.is_dir():
        raise ConfigError(f"{name}: This is a folder. Name a file, or files by a pattern such as '{name}/*.csv'.")
    if "format" not in options and format_of(path) is None:
        raise ConfigError(f"{name}: The name does not tell the format. Add --format csv, jsonl, parquet or segment.")
    if not LocalFolder(path.parent).names(name, pattern):
        raise ConfigError(f"{name}: There is no file of this pattern.")
    source = Files(FilesConfig(folder=path.parent), streams={name: _options(name, pattern, options)})
    (stream,) = source.discover()
    shape = Shape(name, {})
    return (shape.fit(page.records) for page in source.read(stream, {}))


def _options(name: str, pattern: str, options: Mapping[str, str]) -> FileStream:
    try:
        return FileStream.model_validate({"path": pattern, **options})
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)]
    raise ConfigError(*(f"{name}: The file cannot be read so. {sentence}" for sentence in told))
