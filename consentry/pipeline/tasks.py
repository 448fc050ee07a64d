"""What somebody must do by hand for a job: list it, and note that it is done."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from consentry.delivery.tables import make_tables
from consentry.delivery.tasks import finish, tasks
from consentry.errors import ConfigError
from consentry.pipeline.left import has_run, held_log, left_store, left_warehouse
from consentry.pipeline.load import Loaded
from consentry.store import Store


# Tasks are plain JSON from here on.
def list_tasks(loaded: Loaded, *, closed: bool = False) -> list[dict[str, Any]]:
    """Return the tasks of a job, the most urgent first; those that are closed only when asked for."""
    with left_store(loaded) as store:
        return told(store, closed=closed) if store else []


def told(store: Store, *, closed: bool = False) -> list[dict[str, Any]]:
    """Return tasks as plain JSON, each with whether it is overdue."""
    return [{**asdict(task), "overdue": task.is_overdue} for task in tasks(store, closed=closed)]


def finish_task(loaded: Loaded, task_id: str, *, by: str | None) -> dict[str, Any]:
    """Note that somebody took the person out by hand. Raises ConfigError when no such task is open."""
    task = None
    if has_run(loaded):
        with held_log(loaded) as audit, left_store(loaded) as store, left_warehouse(loaded) as warehouse:
            assert store is not None
            make_tables(warehouse)
            task = finish(warehouse, store, task_id, by=by)
            if task:
                audit.append("task.done", task=task_id, sync=task.sync, destination=task.destination, by=by)
    if task is None:
        raise ConfigError(f"There is no open task {task_id!r}. See: consentry tasks list.")
    return asdict(task)
