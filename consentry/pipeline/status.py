"""Say how the last runs of a job ended, and what each destination holds."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from consentry.pipeline import runs
from consentry.pipeline.load import Loaded
from consentry.store import Store
from consentry.store.tables import dead_letter
from consentry.warehouse import DuckDBWarehouse


# Plain JSON.
def status_of(loaded: Loaded) -> dict[str, Any]:
    """Return the last ten runs, and per sync what was acknowledged and what is set aside."""
    state = loaded.state
    if not (state / "control.db").exists():
        return {"job": loaded.job.job, "state": str(state), "runs": [], "syncs": {}}
    store = Store.in_file(state / "control.db")
    warehouse = DuckDBWarehouse(state / "warehouse.duckdb")
    try:
        acknowledged = _acknowledged(warehouse)
        letters = _dead_letters(store)
        syncs = {
            name: {"acknowledged": acknowledged.get(name, 0), "dead_letters": letters.get(name, 0)}
            for name in loaded.job.syncs
        }
        recent = runs.recent(store, loaded.job.job)
        return {"job": loaded.job.job, "state": str(state), "runs": recent, "syncs": syncs}
    finally:
        warehouse.close()
        store.close()


def _acknowledged(warehouse: DuckDBWarehouse) -> dict[str, int]:
    if not warehouse.has("delivery.ack"):
        return {}
    found = warehouse.sql("SELECT sync, count(*) AS n FROM delivery.ack GROUP BY sync")
    return dict(zip(found["sync"].to_pylist(), found["n"].to_pylist(), strict=True))


def _dead_letters(store: Store) -> dict[str, int]:
    query = sa.select(dead_letter.c.sync, sa.func.count()).group_by(dead_letter.c.sync)
    with store.begin() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}
