"""What somebody must do by hand for a job: list it, and note that it is done."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from consentry.audit import AuditLog
from consentry.delivery.tables import make_tables
from consentry.delivery.tasks import finish, tasks
from consentry.errors import ConfigError
from consentry.pipeline.load import Loaded
from consentry.store import Store
from consentry.warehouse import DuckDBWarehouse


# Tasks are plain JSON from here on.
def list_tasks(loaded: Loaded, *, closed: bool = False) -> list[dict[str, Any]]:
    """Return the tasks of a job, the most urgent first; those that are closed only when asked for."""
    path = loaded.state / "control.db"
    if not path.exists():
        return []
    store = Store.in_file(path)
    try:
        return told(store, closed=closed)
    finally:
        store.close()


def told(store: Store, *, closed: bool = False) -> list[dict[str, Any]]:
    """Return tasks as plain JSON, each with whether it is overdue."""
    return [{**asdict(task), "overdue": task.is_overdue} for task in tasks(store, closed=closed)]


def finish_task(loaded: Loaded, task_id: str, *, by: str | None) -> dict[str, Any]:
    """Note that somebody took the person out by hand. Raises ConfigError when no such task is open."""
    task = None
    if (loaded.state / "control.db").exists():
        # The log is held by one process at a time: no ledger changes under a run.
        audit = AuditLog(loaded.state / "audit")
        store = Store.in_file(loaded.state / "control.db")
        warehouse = DuckDBWarehouse(loaded.state / "warehouse.duckdb")
        try:
            make_tables(warehouse)
            task = finish(warehouse, store, task_id, by=by)
            if task:
                audit.append("task.done", task=task_id, sync=task.sync, destination=task.destination, by=by)
        finally:
            warehouse.close()
            store.close()
            audit.close()
    if task is None:
        raise ConfigError(f"There is no open task {task_id!r}. See: consentry tasks list.")
    return asdict(task)
