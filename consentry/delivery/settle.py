"""Settle what a crash or a lost answer left open, before anything new is worked out or sent."""

from __future__ import annotations

from consentry.audit import AuditLog
from consentry.connectors.base import Destination, LooksUp
from consentry.delivery import deadletters, journal
from consentry.delivery.config import Sync
from consentry.delivery.tables import forget
from consentry.store import Store
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON

LOOKUP_ROWS = 10_000


def recover(warehouse: Warehouse, store: Store, audit: AuditLog, sync: Sync, *, run_id: str) -> int:
    """Take up the journal where a crash left it; return how many batches had been under way.

    Batches that were answered go into the ledger. Of those under way nobody knows what became: their people
    are noted as unsure.
    """
    batches = journal.interrupted(store, sync.name)
    for batch in batches:
        audit.append(
            "egress.unknown",
            run=run_id,
            batch=batch["batch_id"],
            sync=sync.name,
            destination=batch["destination"],
            operation=batch["operation"],
            counts={"unknown": batch["rows"]},
            result="interrupted",
        )
    journal.fold(warehouse, store, sync.name)
    return len(batches)


def settle(warehouse: Warehouse, store: Store, destination: Destination, sync: Sync) -> None:
    """Find out what became of rows without an answer: ask the destination, else leave it to be sent again.

    Who is not in the audience is no longer unsure. Who is in it may still have the older payload, so that only
    sending again makes sure; where the destination would notice that, the row becomes a dead letter `unknown`.
    A removal may always be sent again. Rows that became dead letters are not asked about again.
    """
    unknown = [x.person_id for x in deadletters.letters(store, sync.name, discarded=True) if x.code == "unknown"]
    query = (
        "SELECT person_id, operation, replace(CAST(payload_hash AS TEXT), '-', '') AS payload_hash, remote_id"
        " FROM delivery.unsure"
        f" WHERE sync = $sync AND person_id NOT IN (SELECT unnest($unknown::{PERSON}[]))"
    )
    found = warehouse.sql(query, sync=sync.name, unknown=unknown).to_pylist()
    if isinstance(destination, LooksUp):
        asked = [row for row in found if row["remote_id"] is not None]
        present = _present(destination, sync.audience, [row["remote_id"] for row in asked])
        absent = {row["person_id"] for row in asked if row["remote_id"] not in present}
        forget(warehouse, sync.name, absent)
        found = [row for row in found if row["person_id"] not in absent]
    if not destination.capabilities.idempotent:
        _set_aside(store, sync, [row for row in found if row["operation"] != "remove"])


def _present(destination: LooksUp, audience: str, remote_ids: list[str]) -> set[str]:
    chunks = (remote_ids[at : at + LOOKUP_ROWS] for at in range(0, len(remote_ids), LOOKUP_ROWS))
    return {found for chunk in chunks for found in destination.lookup(audience, chunk)}


def _set_aside(store: Store, sync: Sync, rows: list[dict[str, str]]) -> None:
    for operation in ("add", "change"):
        letters = [
            journal.letter(row["person_id"], "unknown", row["payload_hash"])
            for row in rows
            if row["operation"] == operation
        ]
        with store.begin() as connection:
            deadletters.note(connection, letters, sync=sync.name, operation=operation, at=journal.now())
