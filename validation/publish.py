"""Publish clean and quarantined rows in one atomic step, and only when they add up to the rows that came in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consentry.errors import StopRun
from consentry.model.names import quoted
from consentry.validation.aside import discarded, forget_trimmed
from consentry.validation.check import BAD, FAILED_RULES
from consentry.validation.quarantine import COLUMNS
from consentry.validation.task import Task, bare
from consentry.warehouse import Warehouse


def publish(
    task: Task,
    *,
    content: Sequence[str],
    replace: bool,
    bounds: tuple[int, int],
    digest: str | None,
    whole: bool,
    beside: Callable[[], None],
) -> tuple[int, int, int]:
    """Return the rows that went to clean and to quarantine, and those that were discarded before.

    bounds: the rows taken have a `_rid` above the first and at most the second. digest: the contract's, kept with
    the watermark; None keeps no watermark, and the rows no number. whole: the rows are all there are. beside: what
    else belongs to the same step; it sees the new clean table. Raises StopRun when a row is in neither half or in
    both.
    """
    warehouse = task.warehouse
    _settle(task)
    with warehouse.transaction():
        clean = _count(warehouse, f"FROM {task.sound}")
        quarantined = _publish_quarantine(task, whole=whole)
        aside = discarded(warehouse, task.name, task.raw, task.rows, after=bounds[0], last=bounds[1])
        rows_in = _count(warehouse, f"FROM {task.raw} WHERE {task.rows}", after=bounds[0], last=bounds[1]) - aside
        _conserved(task, rows_in=rows_in, clean=clean, quarantined=quarantined)
        if digest is None:
            warehouse.sql(f"ALTER TABLE {task.sound} DROP COLUMN _rid")
        _publish_clean(task, content=content, replace=replace, rows=clean)
        beside()
        if digest is not None:
            _move_watermark(warehouse, task.name, bounds[1], digest)
    return clean, quarantined, aside


def _settle(task: Task) -> None:
    """Make the sound rows those for clean: without duplicates, with rows that were only warned about."""
    repeated = f"SELECT _rid FROM {task.duplicates} WHERE rule IN ({task.stopping})"
    task.warehouse.sql(f"DELETE FROM {task.sound} WHERE _rid IN ({repeated})")
    warned = f"SELECT * EXCLUDE ({FAILED_RULES}, {BAD}) FROM {task.broken} WHERE NOT {BAD} AND _rid NOT IN ({repeated})"
    task.warehouse.sql(f"INSERT INTO {task.sound} BY NAME {warned}")


def _move_watermark(warehouse: Warehouse, name: str, last: int, digest: str) -> None:
    # Never backwards: the numbers of rows grow over runs, also when a source was empty for once.
    known = warehouse.sql("SELECT max(rid) AS rid FROM ops.validated WHERE stream = $name", name=name)["rid"][0].as_py()
    warehouse.sql("DELETE FROM ops.validated WHERE stream = $name", name=name)
    rows = "INSERT INTO ops.validated VALUES ($name, $last, $digest)"
    warehouse.sql(rows, name=name, last=max(last, -1 if known is None else known), digest=digest)


def _publish_clean(task: Task, *, content: Sequence[str], replace: bool, rows: int) -> None:
    warehouse = task.warehouse
    if replace:
        warehouse.sql(f"DROP TABLE IF EXISTS {task.clean}")
        warehouse.sql(f"ALTER TABLE {task.sound} RENAME TO {quoted(bare(task.clean).partition('.')[2])}")
        return
    _widen(task)
    same = " AND ".join(f"held.{quoted(n)} IS NOT DISTINCT FROM fresh.{quoted(n)}" for n in task.key or content)
    warehouse.sql(f"DELETE FROM {task.clean} AS held WHERE EXISTS (SELECT 1 FROM {task.sound} AS fresh WHERE {same})")
    before = _count(warehouse, f"FROM {task.clean}")
    warehouse.sql(f"INSERT INTO {task.clean} BY NAME SELECT * FROM {task.sound}")
    if _count(warehouse, f"FROM {task.clean}") - before != rows:
        raise StopRun(f"Not every sound row of {task.name} reached clean. Nothing was published.", code="not_conserved")


def _widen(task: Task) -> None:
    """Give the clean table the columns that the source has gained; types change with the contract alone."""
    there = task.warehouse.columns(bare(task.clean))
    for name, kind in task.warehouse.columns(bare(task.sound)).items():
        if name not in there:
            task.warehouse.sql(f"ALTER TABLE {task.clean} ADD COLUMN {quoted(name)} {kind}")


def _publish_quarantine(task: Task, *, whole: bool) -> int:
    """Add the staged rows; one that failed before with the same content keeps the time it was first seen."""
    warehouse, held = task.warehouse, task.quarantine
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {held} ({COLUMNS})")
    seen = f"SELECT payload, min(first_seen) AS first_seen FROM {held} WHERE status = 'open' GROUP BY payload"
    warehouse.sql(
        f"UPDATE {task.staged} AS fresh SET first_seen = seen.first_seen FROM ({seen}) AS seen"
        " WHERE seen.payload = fresh.payload"
    )
    warehouse.sql(f"DELETE FROM {held} WHERE status = 'open' AND payload IN (SELECT payload FROM {task.staged})")
    # What is still open was checked again and passed, or is no longer in a source that was read whole.
    ended = f"_rid IN (SELECT _rid FROM {task.sound} UNION ALL SELECT _rid FROM {task.staged})"
    ended, status = ("TRUE", "superseded") if whole else (ended, "replayed")
    forget_trimmed(warehouse, task.name, ended)
    warehouse.sql(f"UPDATE {held} SET status = $status WHERE status = 'open' AND {ended}", status=status)
    before = _count(warehouse, f"FROM {held}")
    warehouse.sql(f"INSERT INTO {held} BY NAME SELECT * FROM {task.staged}")
    return _count(warehouse, f"FROM {held}") - before


def _conserved(task: Task, *, rows_in: int, clean: int, quarantined: int) -> None:
    both = _count(task.warehouse, f"FROM {task.sound} WHERE _rid IN (SELECT _rid FROM {task.staged})")
    if rows_in != clean + quarantined or both:
        counted = f"{rows_in:,} rows came in, {clean:,} are clean and {quarantined:,} in quarantine"
        sentence = f"The rows of {task.name} do not add up: {counted}, {both:,} of them in both."
        raise StopRun(f"{sentence} Nothing was published. Run again, and report it if it stays.", code="not_conserved")


def _count(warehouse: Warehouse, rest: str, **params: int) -> int:
    return int(warehouse.sql(f"SELECT count(*) AS n {rest}", **params)["n"][0].as_py())
