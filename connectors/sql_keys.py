"""Which keys a table held at the end of the last read, so that deleted ones are noticed: tombstones.

The keys of a read lie in a Parquet file of their own. A new read writes a new file and is compared with the old
one, which goes only when the state that names the new one has been committed: a crash in between compares again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from consentry.model.names import quoted

_BATCH_ROWS = 50_000


class KnownKeys:
    """The key files of one stream, one a generation."""

    def __init__(self, folder: Path, stream: str, schema: pa.Schema) -> None:
        digest = hashlib.sha256(stream.encode()).hexdigest()[:12]
        self._folder, self._stem, self._schema = folder, f"keys-{digest}", schema

    def write(self, generation: int, batches: Iterable[pa.RecordBatch]) -> None:
        """Write the keys of a generation to the disk; only the owner can read them."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(generation)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "wb") as file, pq.ParquetWriter(file, self._schema) as writer:
            for batch in batches:
                writer.write_batch(batch)

    def gone(self, before: int, now: int) -> Iterator[pa.RecordBatch]:
        """Yield the keys that the generation `before` has and `now` has not; none when the older is not there."""
        if not self._path(before).is_file():
            return
        connection = duckdb.connect()
        try:
            same = " AND ".join(f"now.{quoted(name)} = before.{quoted(name)}" for name in self._schema.names)
            query = f"SELECT * FROM read_parquet(?) AS before ANTI JOIN read_parquet(?) AS now ON {same}"
            found = connection.sql(query, params=[str(self._path(before)), str(self._path(now))])
            for batch in found.to_arrow_reader(_BATCH_ROWS):
                yield batch.cast(self._schema)
        finally:
            connection.close()

    def forget(self, keep: Sequence[int]) -> None:
        """Remove the files of all generations but these."""
        kept = {self._path(generation) for generation in keep}
        for path in self._folder.glob(f"{self._stem}-*.parquet"):
            if path not in kept:
                path.unlink()

    def _path(self, generation: int) -> Path:
        return self._folder / f"{self._stem}-{generation}.parquet"
