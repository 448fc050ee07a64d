"""What a person must do by hand, and until when: people to be taken out where no call can do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from consentry.delivery.config import Sync
from consentry.delivery.journal import now
from consentry.delivery.tables import forget
from consentry.model.ids import uuid7s
from consentry.store import Store
from consentry.store.tables import manual_task
from consentry.warehouse import Warehouse

# A withdrawal ends the processing at once, and what was done must be told within one month (GDPR Art. 7(3), 12(3)).
DEADLINE = timedelta(days=30)
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Task:
    """One person who must be taken out of one audience by hand. state: open, done or obsolete."""

    task_id: str
    sync: str
    destination: str
    audience: str
    person_id: str
    state: str
    created_at: str
    due_at: str
    closed_at: str | None
    closed_by: str | None

    @property
    def is_overdue(self) -> bool:
        """Tell whether its deadline has passed while it is open."""
        return self.state == "open" and self.due_at < now()


def tasks(store: Store, *, sync: str | None = None, closed: bool = False) -> list[Task]:
    """List the tasks that are open, the most urgent first; those that are closed only when asked for."""
    query = sa.select(manual_task).order_by(manual_task.c.due_at, manual_task.c.task_id)
    if sync is not None:
        query = query.where(manual_task.c.sync == sync)
    if not closed:
        query = query.where(manual_task.c.state == "open")
    with store.begin() as connection:
        return [Task(**row) for row in connection.execute(query).mappings()]


def assign(store: Store, sync: Sync, people: Sequence[str]) -> int:
    """Open a task for each person who has none; a deadline that runs goes on. Return how many are new."""
    known = {task.person_id for task in tasks(store, sync=sync.name)}
    at = datetime.now(UTC)
    rows = [
        {
            "task_id": uuid7s(1)[0],
            "sync": sync.name,
            "destination": sync.destination,
            "audience": sync.audience,
            "person_id": person,
            "state": "open",
            "created_at": _written(at),
            "due_at": _written(at + DEADLINE),
        }
        for person in dict.fromkeys(people)
        if person not in known
    ]
    with store.begin() as connection:
        if rows:
            connection.execute(sa.insert(manual_task), rows)
    return len(rows)


def close_settled(warehouse: Warehouse, store: Store, sync: str) -> None:
    """Close the tasks of people who need not be taken out any more: the destination did it, or they may stay."""
    waiting = [task.person_id for task in tasks(store, sync=sync)]
    if not waiting:
        return
    found = warehouse.sql(
        "SELECT t.person_id FROM delivery.todo t WHERE t.sync = $sync AND t.operation = 'remove' AND EXISTS"
        " (SELECT 1 FROM delivery.ack a WHERE a.sync = $sync AND a.person_id = t.person_id UNION ALL"
        " SELECT 1 FROM delivery.unsure u WHERE u.sync = $sync AND u.person_id = t.person_id)",
        sync=sync,
    )
    settled = sorted(set(waiting) - set(found["person_id"].to_pylist()))
    mine = (manual_task.c.sync == sync) & (manual_task.c.state == "open")
    with store.begin() as connection:
        for at in range(0, len(settled), _CHUNK):
            those = mine & manual_task.c.person_id.in_(settled[at : at + _CHUNK])
            connection.execute(sa.update(manual_task).where(those).values(state="obsolete", closed_at=now()))


def finish(warehouse: Warehouse, store: Store, task_id: str, *, by: str | None = None) -> Task | None:
    """Note that somebody took the person out by hand; the ledger lets go of the person then."""
    with store.begin() as connection:
        values: dict[str, Any] = {"state": "done", "closed_at": now(), "closed_by": by}
        mine = (manual_task.c.task_id == task_id) & (manual_task.c.state == "open")
        if not connection.execute(sa.update(manual_task).where(mine).values(values)).rowcount:
            return None
        row = connection.execute(sa.select(manual_task).where(manual_task.c.task_id == task_id)).mappings().one()
        task = Task(**row)
    forget(warehouse, task.sync, [task.person_id])
    return task


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
