"""The feed of what happened to people: created, joined, merged, split, closed, erased, decided by hand."""

from __future__ import annotations

import json
from typing import Any

from consentry.warehouse import Warehouse


# A change is plain JSON.
def changes_since(warehouse: Warehouse, since: str | None, *, limit: int = 1000) -> list[dict[str, Any]]:
    """Return the events after one, oldest first, at most `limit` of them.

    since: the id of the last event that was read, or of a run, whose own events are left out; None reads from the
    first. Ids of events and of runs are ordered by time, so that a reader that goes on from the last id misses none.
    """
    rows = warehouse.sql(
        "SELECT event_id, run_id, kind, person_id, other_person_id, evidence FROM identity.identity_event"
        " WHERE $since IS NULL OR (event_id > $since AND run_id <> $since) ORDER BY event_id LIMIT $limit",
        since=since,
        limit=limit,
    ).to_pylist()
    return [{**row, "evidence": json.loads(row["evidence"])} for row in rows]
