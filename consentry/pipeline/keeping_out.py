"""Keep out who was erased: rows that bring them back are taken out before anything writes them down.

The list of the erased holds keyed hashes, so that every identifier of every row is keyed to be compared; where nobody
was erased, nothing is. What only its contract makes readable is noticed later, at the merge, and deleted then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from consentry.consent.erased import Erased
from consentry.model.names import quoted_table
from consentry.pipeline.canonical import stream_table
from consentry.pipeline.context import Context
from consentry.pipeline.deleting import delete_rows
from consentry.pipeline.job import StreamBlock

KEPT_OUT = "ops.kept_out"
_MALFORMED = "_malformed"
_ADDRESS = re.compile(r"[^\s\"'<>,;:()\[\]{}]+@[^\s\"'<>,;:()\[\]{}]+")
_Told = tuple[str, str, str | None]  # kind, value, region


@dataclass(frozen=True, slots=True)
class ErasedRows:
    """A sieve for the rows of a stream: those with an identifier of somebody who was erased do not pass.

    A row that could not be parsed is searched for addresses. Of a consent feed only what the ledger knows already is
    taken out: a new word is recorded first.
    """

    erased: Erased
    stream: StreamBlock
    knows: Callable[[str, str], bool]
    source: str

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Return the rows that may stay."""
        told = self._consents(rows) if self.stream.entity == "consent" else self._told(rows)
        is_erased = lru_cache(maxsize=None)(self.erased)
        gone = [any(is_erased(*one) for one in row) for row in told]
        if not any(gone):
            return rows
        if self.stream.entity == "consent":
            gone = [out and known for out, known in zip(gone, self._known(rows), strict=True)]
        return rows.filter(pa.array([not out for out in gone]))

    def _told(self, rows: pa.Table) -> Iterator[list[_Told]]:
        """Yield of each row every identifier it has."""
        columns = [
            (kind, _texts(rows, one.column), _texts(rows, one.region), one.region_code)
            for kind, one in self.stream.identifiers.items()
        ]
        lines = _texts(rows, _MALFORMED)
        for number in range(rows.num_rows):
            found = [
                (kind, value, regions[number] or code)
                for kind, values, regions, code in columns
                if (value := values[number]) is not None
            ]
            yield found + [("email", word.strip("."), None) for word in _ADDRESS.findall(lines[number] or "")]

    def _consents(self, rows: pa.Table) -> Iterator[list[_Told]]:
        names = ("identifier_type", "identifier_value", "region")
        kinds, values, regions = (_texts(rows, self.stream.map.get(name)) for name in names)
        for kind, value, region in zip(kinds, values, regions, strict=True):
            yield [(kind, value, region)] if kind and value else []

    def _known(self, rows: pa.Table) -> Iterator[bool]:
        systems, events = (_texts(rows, self.stream.map.get(name)) for name in ("source_system", "source_event_id"))
        for system, event in zip(systems, events, strict=True):
            yield event is not None and self.knows(system or self.source, event)


def _texts(rows: pa.Table, column: str | None) -> Sequence[str | None]:
    if column is None or column not in rows.column_names:
        return [None] * rows.num_rows
    return [None if value is None else str(value) for value in rows[column].to_pylist()]


def sieve_of(
    context: Context, erased: Erased | None, source: str, stream: StreamBlock
) -> Callable[[pa.Table], pa.Table]:
    """Return the sieve of a stream; one that lets everything pass where nobody was erased."""
    if erased is None:
        return lambda rows: rows
    return ErasedRows(erased, stream, context.ledger.knows, source)


def note_kept_out(context: Context, stream: str, rows: int) -> None:
    """Write down how many rows of a stream were kept out in this run, with the reason code."""
    context.warehouse.sql(f"CREATE TABLE IF NOT EXISTS {KEPT_OUT} (run_id TEXT, stream TEXT, code TEXT, rows BIGINT)")
    if rows:
        context.warehouse.sql(
            f"INSERT INTO {KEPT_OUT} VALUES ($run, $stream, 'erased', $rows)",
            run=context.run_id, stream=stream, rows=rows,
        )  # fmt: skip


def kept_out(context: Context, stream: str) -> int:
    """Return how many rows of a stream were kept out in this run."""
    query = f"SELECT coalesce(sum(rows), 0)::BIGINT AS n FROM {KEPT_OUT} WHERE run_id = $run AND stream = $stream"
    if not context.warehouse.has(KEPT_OUT):
        return 0
    return int(context.warehouse.sql(query, run=context.run_id, stream=stream)["n"][0].as_py())


def forget_recorded(context: Context, erased: Erased | None, source: str, name: str, *, above: int) -> int:
    """Delete rows of a consent feed about the erased, now that the ledger has them; return how many landed rows.

    above: the row number up to which the feed was taken in before.
    """
    stream = context.loaded.job.sources[source].streams[name]
    columns = [stream.map.get(key) for key in ("identifier_type", "identifier_value")]
    if erased is None or None in columns:
        return 0
    everybody = ErasedRows(erased, stream, lambda system, event: True, source)
    rids: list[int] = []
    query = f"SELECT * FROM {quoted_table(stream_table('clean', source, name))} WHERE _rid > $above"
    for batch in context.warehouse.stream(query, above=above):
        whole = pa.Table.from_batches([batch])
        kept = set(everybody(whole)["_rid"].to_pylist())
        rids += [rid for rid in whole["_rid"].to_pylist() if rid not in kept]
    if not rids:
        return 0
    return delete_rows(context, source, name, "_rid IN (SELECT unnest($rids))", {"rids": rids})
