"""Say how the last runs of a job ended, and what each destination holds."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from consentry.pipeline import runs
from consentry.pipeline.left import has_run, left_store, left_warehouse
from consentry.pipeline.load import Loaded
from consentry.pipeline.tasks import told
from consentry.store import Store
from consentry.store.tables import dead_letter


# Plain JSON.
def status_of(loaded: Loaded) -> dict[str, Any]:
    """Return the last ten runs, what was acknowledged and set aside per sync, and what is to be done by hand."""
    state = loaded.state
    with left_store(loaded) as store:
        if store is None:
            return {"job": loaded.job.job, "state": str(state), "runs": [], "syncs": {}, "tasks": []}
        acknowledged = _acknowledged(loaded)
        letters = _dead_letters(store)
        syncs = {
            name: {"acknowledged": acknowledged.get(name, 0), "dead_letters": letters.get(name, 0)}
            for name in loaded.job.syncs
        }
        recent = runs.recent(store, loaded.job.job)
        tasks = told(store)
        return {"job": loaded.job.job, "state": str(state), "runs": recent, "syncs": syncs, "tasks": tasks}


def _acknowledged(loaded: Loaded) -> dict[str, int]:
    if not has_run(loaded):
        return {}
    with left_warehouse(loaded) as warehouse:
        if not warehouse.has("delivery.ack"):
            return {}
        found = warehouse.sql("SELECT sync, count(*) AS n FROM delivery.ack GROUP BY sync")
    return dict(zip(found["sync"].to_pylist(), found["n"].to_pylist(), strict=True))


def _dead_letters(store: Store) -> dict[str, int]:
    query = sa.select(dead_letter.c.sync, sa.func.count()).group_by(dead_letter.c.sync)
    with store.begin() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}
