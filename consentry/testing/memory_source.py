"""A source in memory: the reference for tests, and for your own source.

type: memory_source
connection:
  streams:
    contacts:
      primary_key: [id]
      cursor: updated_at
      records: [{id: "1", updated_at: "2026-01-01T00:00:00Z", email: ada@example.com}]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from consentry.config import Model
from consentry.connectors.base import Check, ConnectorConfig, Page, State, Stream
from consentry.errors import SourceFailed

Record = Mapping[str, Any]


class MemoryStream(Model):
    """One stream and its records."""

    primary_key: tuple[str, ...] = Field(default=("id",), description="Columns that name a record.")
    cursor: str | None = Field(default=None, description="Column that moves when a record changes.")
    records: tuple[dict[str, Any], ...] = Field(default=(), description="The records, in any order.", repr=False)


class MemorySourceConfig(ConnectorConfig):
    """Settings of the source in memory."""

    streams: dict[str, MemoryStream] = Field(default_factory=dict, description="The streams, by name.")
    page_size: int = Field(default=100, gt=0, description="Records in a page.")
    fail_after_pages: int | None = Field(default=None, ge=0, description="Pages after which reading breaks off.")


class MemorySource:
    """A source that gives the records of its configuration, page by page.

    With a cursor a later read gives the records whose cursor is not below the last one seen, except those that
    were seen at exactly that value: equal cursors over a page boundary lose and repeat nothing.
    """

    Config: ClassVar[type[ConnectorConfig]] = MemorySourceConfig

    def __init__(
        self, config: MemorySourceConfig, *, streams: Mapping[str, Mapping[str, Any]] | None = None, account: str = ""
    ) -> None:
        self._config = config

    def check(self) -> Check:
        """Say that it can always be read."""
        return Check(True, f"{len(self._config.streams)} streams are kept in memory.")

    def discover(self) -> list[Stream]:
        """List the streams of the configuration."""
        return [
            Stream(name, one.primary_key, pa.RecordBatch.from_pylist(list(one.records)).schema, one.cursor)
            for name, one in self._config.streams.items()
        ]

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield the records that are new since `state`."""
        kept = self._config.streams.get(stream.name)
        if kept is None:
            raise SourceFailed(f"There is no stream {stream.name!r} in memory.", code="unknown_stream")
        records, state = _after(kept, state), dict(state)
        size = self._config.page_size
        for page, begin in enumerate(range(0, len(records), size)):
            if page == self._config.fail_after_pages:
                raise SourceFailed("The source in memory breaks off here, as configured.", code="broke_off")
            part = records[begin : begin + size]
            state = _moved(kept, state, part)
            yield Page(pa.RecordBatch.from_pylist(part, schema=stream.schema), state)


def _key(kept: MemoryStream, record: Record) -> list[str]:
    return [str(record[column]) for column in kept.primary_key]


def _after(kept: MemoryStream, state: State) -> list[dict[str, Any]]:
    if kept.cursor is None:
        return list(kept.records)
    cursor = kept.cursor
    records = sorted(kept.records, key=lambda record: (record[cursor], _key(kept, record)))
    if "cursor" not in state:
        return records
    last, seen = state["cursor"], state["seen"]
    return [one for one in records if one[cursor] > last or (one[cursor] == last and _key(kept, one) not in seen)]


def _moved(kept: MemoryStream, state: State, part: list[dict[str, Any]]) -> dict[str, Any]:
    if kept.cursor is None:
        return {}
    last = part[-1][kept.cursor]
    seen = [_key(kept, record) for record in part if record[kept.cursor] == last]
    before = state["seen"] if state.get("cursor") == last else []
    return {"cursor": last, "seen": [*before, *seen]}
