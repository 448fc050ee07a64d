"""Take people out who may not be there any more, by whatever the destination can do, in the policy's order.

`on_withdraw` of the policy names the rungs: take the member out, replace the whole list, delete the audience, have
somebody do it by hand. Facebook refuses a removal that leaves an audience too small (grouparoo PR #1108), and some
destinations cannot remove at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consentry.connectors.base import DeletesAudience, Ok, Removes, Replaces, Skipped
from consentry.delivery import deadletters, report, tasks
from consentry.delivery.tables import forget, forget_everybody
from consentry.errors import DestinationFailed
from consentry.model.ids import uuid7s

if TYPE_CHECKING:
    from consentry.delivery.work import Delivery

_ALL_ROWS = 2**31


def take_out(work: Delivery, cause: str) -> None:
    """Take out everybody of `delivery.todo` who is to go for one cause, rung by rung, until nobody is left.

    Who is asked for again, or of whom nobody knows, is not pushed up the ladder: the next run tries the same again.
    Raises DestinationFailed when the audience had to be deleted: nothing can be added to it then.
    """
    can_remove = isinstance(work.destination, Removes)
    owed = _owed(work, cause)
    for rung in work.gate.policy.destinations[work.sync.destination].on_withdraw:
        if not owed:
            return
        if rung == "remove_member" and can_remove:
            work.unremoved.clear()
            work.phase("remove", cause=cause)
            owed = list(work.unremoved)
        elif rung == "replace_list" and isinstance(work.destination, Replaces):
            owed = _replace(work, work.destination, owed)
        elif rung == "delete_audience" and isinstance(work.destination, DeletesAudience):
            _delete(work, work.destination, owed)
        elif rung == "manual":
            _hand_over(work, owed)
            break
    if owed and not can_remove:
        work.cannot_remove(cause, owed)


def _owed(work: Delivery, cause: str) -> list[str]:
    found = work.warehouse.sql(
        "SELECT person_id FROM delivery.todo WHERE sync = $sync AND operation = 'remove' AND cause = $cause",
        sync=work.sync.name,
        cause=cause,
    )
    owed: list[str] = found["person_id"].to_pylist()
    return owed


def _replace(work: Delivery, destination: Replaces, owed: list[str]) -> list[str]:
    """Make the audience of those who may stay; return who is still owed."""
    name = work.sync.name
    work.warehouse.sql(
        "INSERT INTO delivery.todo SELECT $sync, a.person_id, 'keep', a.payload_hash, a.remote_id, 'stays', true"
        " FROM delivery.ack a JOIN delivery.desired d ON d.person_id = a.person_id WHERE a.sync = $sync",
        sync=name,
    )
    people = next(work.people("keep", "stays", size=_ALL_ROWS), [])
    work.warehouse.sql("DELETE FROM delivery.todo WHERE sync = $sync AND operation = 'keep'", sync=name)
    rows = [person.row for person in people]
    sealed = work.gate.seal(work.warehouse, work.sync.target(), "add", rows, batch_id=uuid7s(1)[0])
    report.decided(work.audit, work.gate, work.sync, sealed, run_id=work.run_id)
    work.note_refused(sealed, people, "add")
    answer, _ = work.send_sealed(sealed, people, via=destination.replace)
    if answer.stop:
        raise answer.stop
    work.fold()
    if answer.is_whole_refusal or not all(isinstance(outcome, Ok | Skipped) for outcome in answer.outcomes):
        return owed
    _settle(work, owed)
    return []


def _settle(work: Delivery, people: list[str]) -> None:
    """Note that people are out of the audience."""
    facts = {"sync": work.sync.name, "destination": work.sync.destination, "audience": work.sync.audience}
    counts = {"ok": len(people)}
    work.audit.append("egress.replaced", facts, run=work.run_id, operation="remove", counts=counts, result="answered")
    forget(work.warehouse, work.sync.name, people)
    with work.store.begin() as connection:
        deadletters.clear(connection, work.sync.name, people)
    work.tally["ok"] += len(people)


def _delete(work: Delivery, destination: DeletesAudience, owed: list[str]) -> None:
    sync = work.sync
    facts = {"sync": sync.name, "destination": sync.destination, "audience": sync.audience}
    work.audit.append("audience.delete", facts, run=work.run_id, counts={"owed": len(owed)}, result="decided")
    destination.delete_audience(sync.audience)
    work.audit.append("audience.deleted", facts, run=work.run_id, result="answered")
    forget_everybody(work.warehouse, sync.name)
    work.tally["ok"] += len(owed)
    message = (
        f"Audience {sync.audience!r} was deleted: {len(owed):,} people had to be taken out of it and could not be"
        " otherwise (on_withdraw of the policy). Make a new audience there and name it in the sync."
    )
    raise DestinationFailed(message, code="audience_deleted")


def _hand_over(work: Delivery, owed: list[str]) -> None:
    new = tasks.assign(work.store, work.sync, owed)
    facts = {"sync": work.sync.name, "destination": work.sync.destination, "audience": work.sync.audience}
    work.audit.append("task.opened", facts, run=work.run_id, counts={"owed": len(owed), "new": new}, result="manual")
