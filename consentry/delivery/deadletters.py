"""Rows that a destination refused, or of which nobody knows what became: kept until someone decides.

A letter is `open` (it holds the row back), `replay` (the next difference sends the row again, decided anew), or
`discarded` (it holds the row back and is listed no more). A rejected row waits only while its payload is the
one that was rejected. It names the person by our id and the reason by its code; no payload, no identifier.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from consentry.store import Store
from consentry.store.tables import dead_letter
from consentry.warehouse import Warehouse

CHUNK = 500
_STAGED = pa.schema([("person_id", pa.string()), ("code", pa.string()), ("payload_hash", pa.string())])


@dataclass(frozen=True, slots=True)
class Letter:
    """One row that waits: whose, for which sync, and why."""

    sync: str
    person_id: str
    operation: str
    code: str
    field: str | None
    payload_hash: str
    attempts: int
    first_at: str
    last_at: str
    state: str


def letters(store: Store, sync: str | None = None, *, discarded: bool = False) -> list[Letter]:
    """List the letters of one sync or of all, oldest first; those discarded only when asked for."""
    query = sa.select(dead_letter).order_by(dead_letter.c.first_at, dead_letter.c.sync, dead_letter.c.person_id)
    if sync is not None:
        query = query.where(dead_letter.c.sync == sync)
    if not discarded:
        query = query.where(dead_letter.c.state != "discarded")
    with store.begin() as connection:
        return [Letter(**row) for row in connection.execute(query).mappings()]


def show(store: Store, sync: str, person_id: str) -> Letter | None:
    """Return the letter of one person in one sync, if there is one."""
    found = (letter for letter in letters(store, sync, discarded=True) if letter.person_id == person_id)
    return next(found, None)


def replay(store: Store, sync: str, people: Sequence[str] | None = None) -> int:
    """Let the next run send the rows again, decided anew; return how many. people: all of the sync when None."""
    return _mark(store, sync, people, "replay")


def discard(store: Store, sync: str, people: Sequence[str] | None = None) -> int:
    """Leave the rows unsent and list them no more; return how many. A rejected row with a new payload is sent."""
    return _mark(store, sync, people, "discarded")


def _mark(store: Store, sync: str, people: Sequence[str] | None, state: str) -> int:
    update = sa.update(dead_letter).where(dead_letter.c.sync == sync).values(state=state)
    with store.begin() as connection:
        if people is None:
            return connection.execute(update).rowcount
        chunks = (people[at : at + CHUNK] for at in range(0, len(people), CHUNK))
        return sum(connection.execute(update.where(dead_letter.c.person_id.in_(some))).rowcount for some in chunks)


def stage(warehouse: Warehouse, store: Store, sync: str) -> None:
    """Put the letters that hold something back into `delivery.letter`, for the difference to join."""
    # What is owed to someone who said no is tried in every run: a refused removal holds nothing back.
    held = [letter for letter in letters(store, sync, discarded=True) if letter.state != "replay"]
    rows = [{name: getattr(x, name) for name in _STAGED.names} for x in held if x.operation != "remove"]
    batch = pa.RecordBatch.from_pylist(rows, schema=_STAGED)
    warehouse.write("delivery.letter", [batch], schema=_STAGED)


def note(connection: sa.Connection, rows: Iterable[dict[str, Any]], *, sync: str, operation: str, at: str) -> None:
    """Write a letter for each row: person_id, code, field, payload_hash; one more attempt where there is one."""
    for row in rows:
        key = (dead_letter.c.sync == sync) & (dead_letter.c.person_id == row["person_id"])
        values = {**row, "operation": operation, "last_at": at, "state": "open"}
        update = sa.update(dead_letter).where(key).values(**values, attempts=dead_letter.c.attempts + 1)
        if not connection.execute(update).rowcount:
            connection.execute(sa.insert(dead_letter).values(**values, sync=sync, attempts=1, first_at=at))


def clear(connection: sa.Connection, sync: str, people: Sequence[str]) -> None:
    """Take the letters of these people away: the destination took the row after all."""
    for at in range(0, len(people), CHUNK):
        mine = (dead_letter.c.sync == sync) & dead_letter.c.person_id.in_(people[at : at + CHUNK])
        connection.execute(sa.delete(dead_letter).where(mine))


def reopen(connection: sa.Connection, sync: str, people: Sequence[str]) -> None:
    """Close the door again behind rows that are being replayed: another replay needs another word."""
    for at in range(0, len(people), CHUNK):
        mine = (dead_letter.c.sync == sync) & dead_letter.c.person_id.in_(people[at : at + CHUNK])
        again = sa.update(dead_letter).where(mine, dead_letter.c.state == "replay").values(state="open")
        connection.execute(again)
