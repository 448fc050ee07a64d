"""The journal: what was about to be sent, what came of it, and how the ledger learns of it.

A batch is `sending` from before the destination hears of it, `answered` when its outcomes are committed, and
`folded` when the warehouse's ledger has them. Each step is durable before the next begins, and each can be
done again: whatever a crash leaves behind is taken up from the state it stands in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from consentry.delivery import deadletters
from consentry.model.batch import Batch
from consentry.store import Store
from consentry.store.tables import delivery_batch, delivery_row
from consentry.warehouse import Warehouse

# Outcomes that change what is known about a person; `retry`, `rejected` and `halved` change nothing.
_TELLING = ("ok", "skipped", "unknown")
_ANSWERS = pa.schema(
    [(name, pa.string()) for name in ("person_id", "payload_hash", "remote_id", "batch_id", "operation", "outcome")]
)


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one row, in the words of the journal."""

    person_id: str
    outcome: str
    code: str | None = None
    field: str | None = None
    remote_id: str | None = None


def now() -> str:
    """Return this instant as the store writes instants."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def begin(store: Store, batch: Batch, hashes: Mapping[str, str], *, sync: str, run_id: str) -> None:
    """Commit that a batch is about to be sent; only then may it be sent."""
    rows = [
        {
            "batch_id": batch.batch_id,
            "person_id": row.person_id,
            "payload_hash": hashes[row.person_id],
            "remote_id": row.remote_id,
        }
        for row in batch.rows
    ]
    head = {
        "batch_id": batch.batch_id,
        "run_id": run_id,
        "sync": sync,
        "destination": batch.destination,
        "audience": batch.audience,
        "operation": batch.operation,
        "state": "sending",
        "rows": len(rows),
        "journalled_at": now(),
    }
    with store.begin() as connection:
        connection.execute(sa.insert(delivery_batch), [head])
        if rows:
            connection.execute(sa.insert(delivery_row), rows)
        deadletters.reopen(connection, sync, [row.person_id for row in batch.rows])


def answer(store: Store, batch: Batch, notes: Sequence[Note], hashes: Mapping[str, str], *, sync: str) -> None:
    """Commit the outcomes of a batch, and write or take away the dead letters that follow from them."""
    at = now()
    update = (
        sa.update(delivery_row)
        .where(delivery_row.c.batch_id == batch.batch_id, delivery_row.c.person_id == sa.bindparam("_person"))
        .values(
            outcome=sa.bindparam("_outcome"),
            code=sa.bindparam("_code"),
            remote_id=sa.func.coalesce(sa.bindparam("_remote"), delivery_row.c.remote_id),
        )
    )
    rows = [{"_person": n.person_id, "_outcome": n.outcome, "_code": n.code, "_remote": n.remote_id} for n in notes]
    refused = [n for n in notes if n.outcome == "rejected"]
    with store.begin() as connection:
        if rows:
            connection.execute(update, rows)
        _set_state(connection, batch.batch_id, "answered", answered_at=at)
        letters = [letter(n.person_id, n.code or "rejected", hashes[n.person_id], n.field) for n in refused]
        deadletters.note(connection, letters, sync=sync, operation=batch.operation, at=at)
        deadletters.clear(connection, sync, [n.person_id for n in notes if n.outcome in ("ok", "skipped")])


def letter(person_id: str, code: str, payload_hash: str, field: str | None = None) -> dict[str, Any]:
    """Return the values of a dead letter."""
    return {"person_id": person_id, "code": code[:63], "field": field and field[:255], "payload_hash": payload_hash}


def _set_state(connection: sa.Connection, batch_id: str, state: str, **values: str) -> None:
    change = sa.update(delivery_batch).where(delivery_batch.c.batch_id == batch_id).values(state=state, **values)
    connection.execute(change)


def interrupted(store: Store, sync: str) -> list[sa.RowMapping]:
    """Mark the batches that a crash left in `sending` as answered with nobody knows; return their lines."""
    mine = (delivery_batch.c.sync == sync) & (delivery_batch.c.state == "sending")
    with store.begin() as connection:
        found = connection.execute(sa.select(delivery_batch).where(mine).order_by(delivery_batch.c.batch_id))
        batches = list(found.mappings())
        for batch in batches:
            rows = sa.update(delivery_row).where(delivery_row.c.batch_id == batch["batch_id"])
            connection.execute(rows.values(outcome="unknown", code="interrupted"))
            _set_state(connection, batch["batch_id"], "answered", answered_at=now())
    return batches


def fold(warehouse: Warehouse, store: Store, sync: str) -> list[str]:
    """Bring the ledger up to the journal in one transaction; return the batches that are folded now.

    A batch still in `sending` is folded as unknown and stays what it is: its people may be in the audience.
    """
    mine = (delivery_batch.c.sync == sync) & delivery_batch.c.state.in_(("answered", "sending"))
    with store.begin() as connection:
        found = connection.execute(sa.select(delivery_batch.c.batch_id, delivery_batch.c.state).where(mine)).all()
        if not found:
            return []
        warehouse.write("delivery.answer", _answers(connection, mine), schema=_ANSWERS)
    _fold_answers(warehouse, sync)
    answered = [batch_id for batch_id, state in found if state == "answered"]
    with store.begin() as connection:
        for batch_id in answered:
            _set_state(connection, batch_id, "folded")
            # The ledger has it now; the batch keeps its line, and the audit log its counts.
            connection.execute(sa.delete(delivery_row).where(delivery_row.c.batch_id == batch_id))
    return answered


def _answers(connection: sa.Connection, mine: sa.ColumnElement[bool]) -> Iterator[pa.RecordBatch]:
    outcome = sa.func.coalesce(delivery_row.c.outcome, "unknown").label("outcome")
    query = (
        sa.select(
            delivery_row.c.person_id,
            delivery_row.c.payload_hash,
            delivery_row.c.remote_id,
            delivery_row.c.batch_id,
            delivery_batch.c.operation,
            outcome,
        )
        .join(delivery_batch, delivery_batch.c.batch_id == delivery_row.c.batch_id)
        .where(mine, outcome.in_(_TELLING))
    )
    for rows in connection.execute(query).mappings().partitions(10_000):
        yield pa.RecordBatch.from_pylist([dict(row) for row in rows], schema=_ANSWERS)


_SETTLED = "a.outcome IN ('ok', 'skipped')"
_FOLD = (
    # Out of the audience: whoever else stood for the same profile there is out as well.
    *(
        f"DELETE FROM delivery.{table} t WHERE t.sync = $sync AND EXISTS (SELECT 1 FROM delivery.answer a"
        f" WHERE a.operation = 'remove' AND {_SETTLED} AND {same})"
        for table in ("ack", "unsure")
        for same in ("a.person_id = t.person_id", "a.remote_id = t.remote_id")
    ),
    f"DELETE FROM delivery.ack WHERE sync = $sync AND person_id IN"
    f" (SELECT a.person_id FROM delivery.answer a WHERE a.operation <> 'remove' AND {_SETTLED})",
    "DELETE FROM delivery.unsure WHERE sync = $sync AND person_id IN (SELECT a.person_id FROM delivery.answer a)",
    "INSERT INTO delivery.ack SELECT $sync, a.person_id, a.payload_hash, a.remote_id, a.batch_id, now()"
    f" FROM delivery.answer a WHERE a.operation <> 'remove' AND {_SETTLED}",
    "INSERT INTO delivery.unsure SELECT $sync, a.person_id, a.operation, a.payload_hash, a.remote_id, a.batch_id, now()"
    " FROM delivery.answer a WHERE a.outcome = 'unknown'",
)


def _fold_answers(warehouse: Warehouse, sync: str) -> None:
    with warehouse.transaction():
        for statement in _FOLD:
            warehouse.sql(statement, sync=sync)
        warehouse.sql("DROP TABLE delivery.answer")


def release(warehouse: Warehouse, sync: str) -> None:
    """Let go of the lines of people who are gone, whose profile there another person of ours now stands for."""
    gone = "(SELECT t.person_id FROM delivery.todo t WHERE t.sync = $sync AND t.operation = 'release')"
    with warehouse.transaction():
        for table in ("ack", "unsure"):
            warehouse.sql(f"DELETE FROM delivery.{table} WHERE sync = $sync AND person_id IN {gone}", sync=sync)
        warehouse.sql("DELETE FROM delivery.todo WHERE sync = $sync AND operation = 'release'", sync=sync)
