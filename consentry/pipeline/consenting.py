"""Read the new rows of a consent feed: columns that name things, or what a consent platform sent, decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from consentry.consent.policy import Policy
from consentry.consent.signals.read import read_signals
from consentry.model.names import quoted
from consentry.pipeline.canonical import consent_query
from consentry.pipeline.job import StreamBlock
from consentry.warehouse import Warehouse


def told(warehouse: Warehouse, stream: StreamBlock, *, source: str, table: str, rid: int) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a feed above a row number, with the platform's `payload` where the stream has a signal."""
    query = consent_query(stream, source=source, table=table)
    if stream.signal is not None:
        payload = f"CAST({quoted(stream.map['payload'])} AS TEXT) AS payload"
        query = query.replace("SELECT ", f"SELECT {payload}, ", 1)
    yield from warehouse.stream(query, rid=rid)


def rows_for_ledger(
    batches: Iterable[pa.RecordBatch], stream: StreamBlock, policy: Policy
) -> Iterable[pa.RecordBatch | Mapping[str, object]]:
    """Decode what a platform sent; rows of other feeds are rows of the ledger as they are."""
    if stream.signal is None:
        return batches
    return read_signals(batches, stream.signal, policy)
