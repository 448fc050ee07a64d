"""Draft a contract for a stream of a job, from what was landed or, before the first run, from the source itself."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from consentry.config import Faults, bind, read_document
from consentry.connectors.base import Source
from consentry.connectors.registry import connect
from consentry.errors import ConfigError
from consentry.model.names import did_you_mean, quoted
from consentry.pipeline.job import Job
from consentry.pipeline.load import bind_connectors
from consentry.validation.infer import infer
from consentry.warehouse import DuckDBWarehouse

ROWS = 100_000


def draft(path: Path, stream: str) -> dict[str, Any]:
    """Return the content of a contract file for `source.stream`; the job's own contracts need not exist yet."""
    faults = Faults()
    document = read_document(path, faults)
    job = bind(document, Job, faults) if document else None
    faults.check()
    assert document is not None and job is not None
    source, _, name = stream.partition(".")
    known = [f"{one}.{each}" for one, block in job.sources.items() for each in block.streams]
    if stream not in known:
        hint = did_you_mean(stream, known) or f". There are: {', '.join(known)}."
        raise ConfigError(f"{path}: the job has no stream {stream!r}{hint}")
    settings = bind_connectors(document, job, faults)
    faults.check()
    table = _landed(job, source, name)
    if table is None:
        made = connect(
            job.sources[source].type,
            settings[f"sources.{source}"],
            streams={each: settings[f"sources.{source}.{each}"] for each in job.sources[source].streams},
            account=source,
            base=path.parent.resolve(),
        )
        if not isinstance(made, Source):
            raise ConfigError(f"{path}: source {source} can only be written to.")
        table = _read(made, name)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return infer(frame, name=f"{source}_{name}", key=job.sources[source].streams[name].primary_key)


def _landed(job: Job, source: str, name: str) -> pa.Table | None:
    file = job.state / "warehouse.duckdb"
    if not file.exists():
        return None
    with closing(DuckDBWarehouse(file, memory_limit=job.memory_limit)) as warehouse:
        if not warehouse.count(f"raw.{source}__{name}"):
            return None
        return warehouse.sql(f"SELECT * FROM raw.{quoted(f'{source}__{name}')} ORDER BY _rid DESC LIMIT {ROWS}")


def _read(source: Source, name: str) -> pa.Table:
    found = {stream.name: stream for stream in source.discover()}
    if name not in found:
        raise ConfigError(f"The source gives no stream {name!r}{did_you_mean(name, found) or '.'}")
    batches: list[pa.Table] = []
    for page in source.read(found[name], {}):
        batches.append(pa.Table.from_batches([page.records]))
        if sum(batch.num_rows for batch in batches) >= ROWS:
            break
    if not batches:
        raise ConfigError(f"The stream {name} has no rows to draft a contract from.")
    return pa.concat_tables(batches, promote_options="permissive")
