"""The journal: what was about to be sent, what came of it, and how the ledger learns of it.

A batch is `sending` from before the destination hears of it, `pending` while some of its rows are accepted and not
yet applied, `answered` when its outcomes are committed, and `folded` when the warehouse's ledger has them. Each step
is durable before the next begins, and each can be done again: whatever a crash leaves behind is taken up from the
state it stands in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from consentry.delivery import deadletters, identities
from consentry.delivery.tables import LEDGER
from consentry.model.batch import Batch, Operation
from consentry.store import Store
from consentry.store.tables import delivery_batch, delivery_row
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON

# Outcomes that change what is known about a person; `retry`, `rejected` and `halved` change nothing.
_TELLING = ("ok", "skipped", "unknown")
_ANSWERS = pa.schema(
    [(name, pa.string()) for name in ("person_id", "payload_hash", "remote_id", "batch_id", "operation", "outcome")]
)
_NAMES = pa.schema([(name, pa.string()) for name in ("person_id", "kind", "sealed")])


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one row, in the words of the journal."""

    person_id: str
    outcome: str
    code: str | None = None
    field: str | None = None
    remote_id: str | None = None
    job: str | None = None


def now() -> str:
    """Return this instant as the store writes instants."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def begin(
    store: Store,
    batch: Batch,
    hashes: Mapping[str, str],
    *,
    sync: str,
    run_id: str,
    sealed: Mapping[str, str] | None = None,
    keep: bool = False,
) -> None:
    """Commit that a batch is about to be sent; only then may it be sent.

    sealed: what each person is sent under, sealed, where that must be known later. keep: whether the ledger takes it
    over, so that people can be taken out under it.
    """
    rows = [
        {
            "batch_id": batch.batch_id,
            "person_id": row.person_id,
            "payload_hash": hashes[row.person_id],
            "remote_id": row.remote_id,
            "place": place,
            "identity": (sealed or {}).get(row.person_id),
            "keep": keep,
        }
        for place, row in enumerate(batch.rows)
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
    """Commit outcomes of a batch, and write or take away the dead letters that follow from them."""
    at = now()
    refused = [n for n in notes if n.outcome == "rejected"]
    with store.begin() as connection:
        _note(connection, batch.batch_id, notes)
        waits = sa.select(sa.func.count()).where(
            delivery_row.c.batch_id == batch.batch_id, delivery_row.c.outcome == "pending"
        )
        state = "pending" if connection.execute(waits).scalar() else "answered"
        _set_state(connection, batch.batch_id, state, answered_at=at)
        letters = [letter(n.person_id, n.code or "rejected", hashes[n.person_id], n.field) for n in refused]
        deadletters.note(connection, letters, sync=sync, operation=batch.operation, at=at)
        deadletters.clear(connection, sync, [n.person_id for n in notes if n.outcome in ("ok", "skipped")])


def _note(connection: sa.Connection, batch_id: str, notes: Sequence[Note]) -> None:
    update = (
        sa.update(delivery_row)
        .where(delivery_row.c.batch_id == batch_id, delivery_row.c.person_id == sa.bindparam("_person"))
        .values(
            outcome=sa.bindparam("_outcome"),
            code=sa.bindparam("_code"),
            job=sa.bindparam("_job"),
            remote_id=sa.func.coalesce(sa.bindparam("_remote"), delivery_row.c.remote_id),
        )
    )
    rows = [
        {"_person": n.person_id, "_outcome": n.outcome, "_code": n.code, "_job": n.job, "_remote": n.remote_id}
        for n in notes
    ]
    if rows:
        connection.execute(update, rows)


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


@dataclass(frozen=True, slots=True)
class Job:
    """Rows that a destination accepted together and had not applied when it was last asked, in the order sent.

    rows: person_id, payload_hash, remote_id and identity (sealed) of each.
    """

    job: str
    batch_id: str
    destination: str
    audience: str
    operation: Operation
    since: datetime
    rows: tuple[sa.RowMapping, ...]


def under_way(store: Store, sync: str) -> list[Job]:
    """Return the jobs of a sync that destinations have not finished, as far as is known."""
    batch, row = delivery_batch.c, delivery_row.c
    query = (
        sa.select(delivery_batch, row.person_id, row.payload_hash, row.remote_id, row.identity, row.job)
        .join(delivery_row, row.batch_id == batch.batch_id)
        .where(batch.sync == sync, batch.state == "pending", row.outcome == "pending")
        .order_by(batch.batch_id, row.place)
    )
    found: dict[tuple[str, str], list[sa.RowMapping]] = {}
    with store.begin() as connection:
        for line in connection.execute(query).mappings():
            found.setdefault((line["batch_id"], line["job"]), []).append(line)
    return [_job(lines) for lines in found.values()]


def _job(lines: Sequence[sa.RowMapping]) -> Job:
    first = lines[0]
    return Job(
        job=first["job"],
        batch_id=first["batch_id"],
        destination=first["destination"],
        audience=first["audience"],
        operation=first["operation"],
        since=datetime.fromisoformat(first["journalled_at"]),
        rows=tuple(lines),
    )


def fold(warehouse: Warehouse, store: Store, sync: str) -> list[str]:
    """Bring the ledger up to the journal in one transaction; return the batches that are folded now.

    What is still `sending` or `pending` is folded as unknown and stays what it is: its people may be in the audience.
    """
    mine = (delivery_batch.c.sync == sync) & delivery_batch.c.state.in_(("answered", "sending", "pending"))
    with store.begin() as connection:
        found = connection.execute(sa.select(delivery_batch.c.batch_id, delivery_batch.c.state).where(mine)).all()
        if not found:
            return []
        warehouse.write("delivery.answer", _answers(connection, mine), schema=_ANSWERS)
        warehouse.write("delivery.named", _names(connection, mine), schema=_NAMES)
    _fold_answers(warehouse, sync)
    answered = [batch_id for batch_id, state in found if state == "answered"]
    with store.begin() as connection:
        for batch_id in answered:
            _set_state(connection, batch_id, "folded")
            # The ledger has it now; the batch keeps its line, and the audit log its counts.
            connection.execute(sa.delete(delivery_row).where(delivery_row.c.batch_id == batch_id))
    return answered


def _answers(connection: sa.Connection, mine: sa.ColumnElement[bool]) -> Iterator[pa.RecordBatch]:
    query = (
        sa.select(
            delivery_row.c.person_id,
            delivery_row.c.payload_hash,
            delivery_row.c.remote_id,
            delivery_row.c.batch_id,
            delivery_batch.c.operation,
            _OUTCOME.label("outcome"),
        )
        .join(delivery_batch, delivery_batch.c.batch_id == delivery_row.c.batch_id)
        .where(mine, _OUTCOME.in_(_TELLING))
    )
    for rows in connection.execute(query).mappings().partitions(10_000):
        yield pa.RecordBatch.from_pylist([dict(row) for row in rows], schema=_ANSWERS)


def _names(connection: sa.Connection, mine: sa.ColumnElement[bool]) -> Iterator[pa.RecordBatch]:
    """Yield under what the people of the answers are known from now on."""
    query = (
        sa.select(delivery_row.c.person_id, delivery_row.c.identity)
        .join(delivery_batch, delivery_batch.c.batch_id == delivery_row.c.batch_id)
        .where(mine, delivery_batch.c.operation != "remove", delivery_row.c.identity.is_not(None), delivery_row.c.keep)
        .where(_OUTCOME.in_(_TELLING))
    )
    for rows in connection.execute(query).mappings().partitions(10_000):
        yield pa.RecordBatch.from_pylist(identities.tokens([dict(row) for row in rows]), schema=_NAMES)


# Of a row without an answer, or with none yet, nobody knows what became.
_OUTCOME = sa.func.coalesce(sa.func.nullif(delivery_row.c.outcome, "pending"), "unknown")
_PLACES = ("delivery.ack", "delivery.unsure")
_SETTLED = "a.outcome IN ('ok', 'skipped')"
_OUT = f"(SELECT a.person_id, a.remote_id FROM delivery.answer a WHERE a.operation = 'remove' AND {_SETTLED})"


def _out_of(table: str) -> str:
    """Return the query for who is out of the audience: whoever else stood for the same profile there is out as well."""
    return (
        f"SELECT CAST(o.person_id AS {PERSON}) FROM {_OUT} o UNION SELECT t.person_id FROM {table} t"
        f" WHERE t.sync = $sync AND t.remote_id IN (SELECT o.remote_id FROM {_OUT} o)"
    )


_FOLD = (
    f"DELETE FROM identity.payload WHERE target = $sync AND person_id IN ({_out_of('delivery.ack')})",
    *(f"DELETE FROM {table} WHERE sync = $sync AND person_id IN ({_out_of(table)})" for table in _PLACES),
    f"DELETE FROM delivery.known WHERE sync = $sync AND person_id IN"
    f" (SELECT CAST(a.person_id AS {PERSON}) FROM delivery.answer a WHERE a.operation = 'remove' AND {_SETTLED}"
    f" UNION SELECT CAST(n.person_id AS {PERSON}) FROM delivery.named n)",
    f"DELETE FROM delivery.ack WHERE sync = $sync AND person_id IN"
    f" (SELECT CAST(a.person_id AS {PERSON}) FROM delivery.answer a WHERE a.operation <> 'remove' AND {_SETTLED})",
    f"DELETE FROM delivery.unsure WHERE sync = $sync AND person_id IN (SELECT CAST(a.person_id AS {PERSON})"
    " FROM delivery.answer a)",
    "INSERT INTO delivery.ack SELECT $sync, a.person_id, a.payload_hash, a.remote_id, a.batch_id, now()"
    f" FROM delivery.answer a WHERE a.operation <> 'remove' AND {_SETTLED}",
    "INSERT INTO delivery.unsure SELECT $sync, a.person_id, a.operation, a.payload_hash, a.remote_id, a.batch_id, now()"
    " FROM delivery.answer a WHERE a.outcome = 'unknown'",
    "INSERT INTO delivery.known SELECT DISTINCT $sync, n.person_id, n.kind, n.sealed FROM delivery.named n",
)


def _fold_answers(warehouse: Warehouse, sync: str) -> None:
    with warehouse.transaction():
        for statement in _FOLD:
            warehouse.sql(statement, sync=sync)
        warehouse.sql("DROP TABLE delivery.answer")
        warehouse.sql("DROP TABLE delivery.named")


def release(warehouse: Warehouse, sync: str) -> None:
    """Let go of the lines of people who are gone, whose profile there another person of ours now stands for."""
    gone = "(SELECT t.person_id FROM delivery.todo t WHERE t.sync = $sync AND t.operation = 'release')"
    with warehouse.transaction():
        for table, named in LEDGER.items():
            warehouse.sql(f"DELETE FROM {table} WHERE {named} = $sync AND person_id IN {gone}", sync=sync)
        warehouse.sql("DELETE FROM delivery.todo WHERE sync = $sync AND operation = 'release'", sync=sync)
