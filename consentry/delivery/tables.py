"""The tables of delivery in the warehouse; none of them in the zone `delivery` holds a personal value.

`delivery.ack` is what each destination acknowledged. `delivery.unsure` names the people of whom nobody knows
whether the destination took the last thing sent: they may be in the audience or not, and are sent again or
taken out, never forgotten. `delivery.known` holds, sealed, what people were sent under, for destinations that give
them no name of their own. `delivery.todo` is the difference last worked out.
`identity.payload` remembers from which golden record each acknowledged payload was made, so that only records that
changed are hashed again; it names contents of golden records and therefore lies in the restricted zone with them.
"""

from __future__ import annotations

from collections.abc import Iterable

from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON, make_table

_TABLES = {
    "delivery.ack": (
        f"sync TEXT, person_id {PERSON}, payload_hash {PERSON}, remote_id TEXT, batch_id TEXT, acked_at TIMESTAMPTZ"
    ),
    "delivery.unsure": (
        f"sync TEXT, person_id {PERSON}, operation TEXT, payload_hash {PERSON}, remote_id TEXT, batch_id TEXT,"
        " since TIMESTAMPTZ"
    ),
    "delivery.known": f"sync TEXT, person_id {PERSON}, kind TEXT, sealed TEXT",
    "delivery.todo": (
        f"sync TEXT, person_id {PERSON}, operation TEXT, payload_hash {PERSON}, remote_id TEXT, cause TEXT,"
        " held BOOLEAN"
    ),
    "identity.payload": f"target TEXT, person_id {PERSON}, fingerprint UBIGINT, payload_hash {PERSON}",
    "segment.holdout": "segment TEXT, person_id TEXT",
    "segment.hold": "segment TEXT, code TEXT, sentence TEXT",
}

# What is known of a person at a destination, and which column names the sync; all of it goes when the person is out.
LEDGER = {"delivery.ack": "sync", "delivery.unsure": "sync", "delivery.known": "sync", "identity.payload": "target"}


def make_tables(warehouse: Warehouse) -> None:
    """Make the tables of delivery where they are not there yet."""
    for table, columns in _TABLES.items():
        make_table(warehouse, table, columns)


def forget(warehouse: Warehouse, sync: str, people: Iterable[str]) -> None:
    """Let the ledger go of people: the destination does not have them any more."""
    gone = sorted(people)
    if not gone:
        return
    with warehouse.transaction():
        for table, named in LEDGER.items():
            those = f"person_id IN (SELECT unnest($gone::{PERSON}[]))"
            warehouse.sql(f"DELETE FROM {table} WHERE {named} = $sync AND {those}", sync=sync, gone=gone)


def forget_everybody(warehouse: Warehouse, sync: str) -> None:
    """Let the ledger go of everybody: the destination has no such audience any more."""
    with warehouse.transaction():
        for table, named in LEDGER.items():
            warehouse.sql(f"DELETE FROM {table} WHERE {named} = $sync", sync=sync)
