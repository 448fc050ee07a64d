"""Copy the ledger and the suppression list into the warehouse, where they are joined with everybody at once.

Only what a decision needs is copied, and only what is new: the ledger never changes behind its head. A copy that
is not of this ledger (its last hash differs) is thrown away and made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from consentry.consent.codes import EVENTS, STAGED, code_events
from consentry.consent.instants import micros
from consentry.consent.rules import Event
from consentry.store import Store
from consentry.store.tables import consent_event, suppression
from consentry.warehouse import Warehouse

SUPPRESSIONS, HEAD = "ops.suppression", "ops.consent_head"
_CHUNK = 500
_BATCH = 50_000
# The *_us columns are microseconds since 1970: rules compare whole numbers, on any engine and in any time zone.
_SCHEMA = pa.schema(
    [
        ("identifier_hmac", pa.string()),
        ("purpose", pa.string()),
        ("state", pa.string()),
        ("source_system", pa.string()),
        ("regime", pa.string()),
        ("method", pa.string()),
        ("proven", pa.bool_()),
        ("notice_version", pa.int32()),
        ("effective_us", pa.int64()),
        ("expires_us", pa.int64()),
        ("recorded_us", pa.int64()),
    ]
)
_SUPPRESSION_SCHEMA = pa.schema([("identifier_hmac", pa.string()), ("scope_purpose", pa.string())])


def mirror(store: Store, warehouse: Warehouse) -> int:
    """Bring the warehouse's copy of the ledger and the suppression list up to date; return the events copied."""
    listed = [(row.identifier_hmac, row.scope_purpose) for row in _rows(store, sa.select(suppression))]
    columns = [pa.array([entry[n] for entry in listed], pa.string()) for n in (0, 1)]
    batch = pa.RecordBatch.from_arrays(columns, schema=_SUPPRESSION_SCHEMA)
    warehouse.write(SUPPRESSIONS, [batch], schema=_SUPPRESSION_SCHEMA)
    after = _copied(store, warehouse)
    c = consent_event.c
    query = sa.select(consent_event).where(c.seq > after).order_by(c.seq)
    copied, head = 0, _Head()
    # One write a batch: an engine may pull rows from a thread of its own, where SQLite's connection is not at home.
    for batch in _batches(head.passing(_rows(store, query))):
        copied += warehouse.write(STAGED, [batch], schema=_SCHEMA, mode="append" if copied else "replace")
    if copied:
        with warehouse.transaction():
            if not after:
                warehouse.drop(EVENTS)
            code_events(warehouse)
            warehouse.sql(f"CREATE OR REPLACE TABLE {HEAD} AS SELECT $seq AS seq, $hash AS hash", **head.last)
    warehouse.drop(STAGED)
    return copied


class _Head:
    """Remember the last row that passed."""

    def __init__(self) -> None:
        self.last: dict[str, int | str] = {}

    def passing(self, rows: Iterator[Any]) -> Iterator[Any]:
        for row in rows:
            self.last = {"seq": row.seq, "hash": row.hash}
            yield row


def _copied(store: Store, warehouse: Warehouse) -> int:
    """Return how many events the copy holds; none when it is not of this ledger."""
    if not (warehouse.has(HEAD) and warehouse.has(EVENTS)):
        return 0
    last = warehouse.sql(f"SELECT seq, hash FROM {HEAD}").to_pylist()[0]
    here = sa.select(consent_event.c.hash).where(consent_event.c.seq == last["seq"])
    with store.begin() as connection:
        return int(last["seq"]) if connection.execute(here).scalar() == last["hash"] else 0


# A row of SQLAlchemy has the columns of its query and no type of its own for them.
def _rows(store: Store, query: sa.Select[Any]) -> Iterator[Any]:
    with store.begin() as connection:
        yield from connection.execution_options(yield_per=10_000).execute(query)


def _batches(rows: Iterator[Any]) -> Iterator[pa.RecordBatch]:
    held: list[tuple[object, ...]] = []
    for row in rows:
        held.append(_mirrored(row))
        if len(held) == _BATCH:
            yield _batch(held)
            held = []
    yield _batch(held)


def _mirrored(row: Any) -> tuple[object, ...]:
    return (
        row.identifier_hmac,
        row.purpose,
        row.state,
        row.source_system,
        row.regime,
        row.method,
        _is_proven(row),
        row.notice_version or 0,
        micros(datetime.fromisoformat(row.effective_at)),
        micros(datetime.fromisoformat(row.expires_at)) if row.expires_at else None,
        micros(datetime.fromisoformat(row.recorded_at)),
    )


def _batch(held: list[tuple[object, ...]]) -> pa.RecordBatch:
    columns = list(zip(*held, strict=True)) or [()] * len(_SCHEMA)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _is_proven(row: Any) -> bool:
    """Tell whether a grant can be demonstrated (GDPR Art. 7(1)): what was shown and how it was answered."""
    return bool(row.mechanism) and row.notice_version is not None


def events_of(store: Store, identifiers: dict[str, str], *, known_at: str) -> list[Event]:
    """Read the events of some identifiers from the store itself.

    identifiers: {HMAC as it may stand in the ledger: the identifier's name in the result}.
    """
    c = consent_event.c
    found: list[Event] = []
    with store.begin() as connection:
        for chunk in _chunked(list(identifiers)):
            query = sa.select(consent_event).where(c.identifier_hmac.in_(chunk), c.recorded_at <= known_at)
            found += [_event(row, identifiers[row.identifier_hmac]) for row in connection.execute(query)]
    return found


def _event(row: Any, identifier: str) -> Event:
    return Event(
        identifier=identifier,
        purpose=row.purpose,
        state=row.state,
        source=row.source_system,
        effective_at=datetime.fromisoformat(row.effective_at),
        regime=row.regime,
        method=row.method,
        proven=_is_proven(row),
        notice_version=row.notice_version or 0,
        expires_at=datetime.fromisoformat(row.expires_at) if row.expires_at else None,
    )


def suppressions_of(store: Store, macs: Sequence[str]) -> list[tuple[str, str]]:
    """Read the entries of the suppression list for some HMACs: (HMAC, purpose or `*`)."""
    c = suppression.c
    found: list[tuple[str, str]] = []
    with store.begin() as connection:
        for chunk in _chunked(macs):
            query = sa.select(c.identifier_hmac, c.scope_purpose).where(c.identifier_hmac.in_(chunk))
            found += [(row.identifier_hmac, row.scope_purpose) for row in connection.execute(query)]
    return found


def _chunked(values: Sequence[str]) -> Iterator[Sequence[str]]:
    return (values[at : at + _CHUNK] for at in range(0, len(values), _CHUNK))
