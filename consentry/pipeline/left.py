"""What the runs of a job left in its state folder, opened to be looked at and closed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from consentry.audit import AuditLog
from consentry.errors import ConfigError
from consentry.pipeline.load import Loaded
from consentry.pipeline.purposes import serving
from consentry.store import Store
from consentry.warehouse import DuckDBWarehouse


def has_run(loaded: Loaded) -> bool:
    """Say whether any run of a job got as far as its warehouse."""
    return (loaded.state / "warehouse.duckdb").exists()


def check_has_run(loaded: Loaded, so_that: str = "") -> None:
    """Raise ConfigError when a job has not run; so_that says what is therefore missing."""
    if not has_run(loaded):
        because = f", so that {so_that}" if so_that else ""
        raise ConfigError(f"The job {loaded.job.job} has not run yet{because}. Run it first.")


@contextmanager
def left_warehouse(loaded: Loaded, so_that: str = "") -> Iterator[DuckDBWarehouse]:
    """Open the warehouse of a job that has run. Raises ConfigError for one that has not."""
    check_has_run(loaded, so_that)
    with closing(DuckDBWarehouse(loaded.state / "warehouse.duckdb", memory_limit=loaded.job.memory_limit)) as warehouse:
        yield warehouse


@contextmanager
def left_store(loaded: Loaded) -> Iterator[Store | None]:
    """Open the control store of a job that has run before; None for one that has not."""
    path = loaded.state / "control.db"
    if not path.exists():
        yield None
        return
    with closing(Store.in_file(path)) as store:
        yield store


@contextmanager
def held_log(loaded: Loaded) -> Iterator[AuditLog]:
    """Open the audit log, which one process holds at a time: nothing changes under a run."""
    with closing(AuditLog(loaded.state / "audit", serves=serving(loaded))) as audit:
        yield audit
