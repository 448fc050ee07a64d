"""Take people out under what they were known by before, when that has changed.

A destination that finds people by value alone (KnowsByValue) holds somebody who changed an address under the old one,
and adding the new one leaves both. So the old goes first, and the person is added again; who cannot be taken out is
not added under a second name either, and stands among the dead letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from consentry.connectors.base import KnowsByValue, Removes
from consentry.delivery.identities import Seals, changed, known, shared
from consentry.delivery.people import Person
from consentry.delivery.tables import forget
from consentry.model.ids import uuid7s
from consentry.warehouse.people import PERSON

if TYPE_CHECKING:
    from consentry.delivery.work import Delivery

CAUSE = "renamed"
# Who left or has another address must not take somebody else out with a value that both have.
_SPARES_OTHERS = ("left", CAUSE)
_CHUNK = 5_000


def take_out_former(work: Delivery) -> None:
    """Take out who is due and is known there by a value that is theirs no more; they are due as adds then."""
    if not isinstance(work.destination, KnowsByValue) or not isinstance(work.destination, Removes):
        return
    renamed = [person for operation in ("change", "add") for person in _renamed(work, work.destination, operation)]
    if not renamed:
        return
    these = f" AND person_id IN (SELECT unnest($people::{PERSON}[]))"
    _due(work, "operation = 'remove', cause = $cause", these, people=renamed)
    work.phase("remove", cause=CAUSE)
    out = (
        " AND cause = $cause AND NOT EXISTS (SELECT 1 FROM delivery.ack a WHERE a.sync = $sync"
        " AND a.person_id = t.person_id) AND NOT EXISTS (SELECT 1 FROM delivery.unsure u WHERE u.sync = $sync"
        " AND u.person_id = t.person_id)"
    )
    _due(work, "operation = 'add', cause = 'decided', held = false, remote_id = NULL", out)


def _due(work: Delivery, change: str, which: str, **more: object) -> None:
    query = f"UPDATE delivery.todo t SET {change} WHERE sync = $sync{which}"
    work.warehouse.sql(query, sync=work.sync.name, cause=CAUSE, **more)


def _renamed(work: Delivery, there: KnowsByValue, operation: str) -> list[str]:
    found: list[str] = []
    for people in work.people(operation, "decided", size=_CHUNK):
        held = [person for person in people if person.held]
        before = known(work.warehouse, work.sync.name, [person.person_id for person in held], _seals(work))
        rows = [person.row for person in held if before.get(person.person_id)]
        if not rows:
            continue
        sealed = work.gate.seal(work.warehouse, work.sync.target(), "change", rows, batch_id=uuid7s(1)[0])
        for row in sealed.batch.rows:
            if changed(before[row.person_id], there.known_by(row)):
                found.append(row.person_id)
    return found


def under_what(work: Delivery, people: Sequence[Person], cause: str) -> tuple[list[Person], dict[str, dict[str, str]]]:
    """Return who is to be taken out by a call, and under what, where the ledger keeps it.

    Who left, or has another address, and is known only by what somebody else has who stays is let go of without a
    call. Who may not be there is taken out under everything, and whom that takes out as well is added again.
    """
    if not isinstance(work.destination, KnowsByValue):
        return list(people), {}
    ids = [person.person_id for person in people]
    found = known(work.warehouse, work.sync.name, ids, _seals(work))
    sharing = shared(work.warehouse, work.sync.name, ids)
    if cause not in _SPARES_OTHERS:
        _add_again(work, sorted({other for _, _, other in sharing}))
        return list(people), found
    theirs = {(person, kind) for person, kind, _ in sharing}
    own = {
        person: {kind: value for kind, value in values.items() if (person, kind) not in theirs}
        for person, values in found.items()
    }
    spared = {person for person, values in own.items() if not values}
    forget(work.warehouse, work.sync.name, spared)
    return [person for person in people if person.person_id not in spared], own


def _add_again(work: Delivery, people: Sequence[str]) -> None:
    """Note that nobody knows whether people are still there, and that they are due, in this run or a later one."""
    if not people:
        return
    for table, what in (
        ("unsure", "'add', a.payload_hash, a.remote_id, a.batch_id, now()"),
        ("todo", "'add', a.payload_hash, a.remote_id, 'decided', true"),
    ):
        work.warehouse.sql(
            f"INSERT INTO delivery.{table} SELECT $sync, a.person_id, {what} FROM delivery.ack a"
            f" WHERE a.sync = $sync AND a.person_id IN (SELECT unnest($people::{PERSON}[])) AND NOT EXISTS"
            f" (SELECT 1 FROM delivery.{table} x WHERE x.sync = $sync AND x.person_id = a.person_id)",
            sync=work.sync.name,
            people=list(people),
        )


def _seals(work: Delivery) -> Seals:
    return Seals(work.gate.ledger.keyring, work.sync.destination)
