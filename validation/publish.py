"""Publish clean and quarantined rows in one atomic step, and only when they add up to the rows that came in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consentry.errors import StopRun
from consentry.model.names import quoted
from consentry.validation.aside import discarded, forget_trimmed
from consentry.validation.check import BAD, FAILED_RULES
from consentry.validation.quarantine import COLUMNS
from consentry.validation.rules import Rule
from consentry.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Staged:
    """The tables of one check, quoted for SQL: what was judged, and where it goes."""

    name: str
    raw: str
    clean: str
    checked: str
    duplicates: str
    staged: str
    run_id: str

    @property
    def quarantine(self) -> str:
        """The table that keeps the rows that did not pass."""
        return f"quarantine.{quoted(self.name)}"


def publish(
    warehouse: Warehouse,
    tables: Staged,
    rules: Sequence[Rule],
    *,
    where: str,
    key: Sequence[str],
    content: Sequence[str],
    replace: bool,
    bounds: tuple[int, int],
    digest: str | None,
    whole: bool,
    beside: Callable[[], None],
) -> tuple[int, int, int]:
    """Return the rows that went to clean and to quarantine, and those that were discarded before.

    where: the condition on the rows taken; bounds: its parameters, `_rid` above the first and at most the second.
    digest: the contract's, kept with the watermark; None keeps no watermark, and the rows no number. whole: the rows
    are all there are. beside: what else belongs to the same step; it sees the new clean table. Raises StopRun when
    a row is in neither half or in both.
    """
    stopping = ", ".join(str(n) for n, rule in enumerate(rules) if rule.severity != "warn")
    repeated = f"SELECT _rid FROM {tables.duplicates} WHERE rule IN ({stopping})"
    passing = f"FROM {tables.checked} WHERE NOT {BAD} AND _rid NOT IN ({repeated})"
    with warehouse.transaction():
        rows = f"SELECT * EXCLUDE ({FAILED_RULES}, {BAD}{', _rid' if digest is None else ''}) {passing}"
        clean = _publish_clean(warehouse, tables, rows, key=key, content=content, replace=replace)
        quarantined = _publish_quarantine(warehouse, tables, whole=whole)
        aside = discarded(warehouse, tables.name, tables.raw, where, after=bounds[0], last=bounds[1])
        rows_in = _count(warehouse, f"FROM {tables.raw} WHERE {where}", after=bounds[0], last=bounds[1]) - aside
        _conserved(warehouse, tables, passing, rows_in=rows_in, clean=clean, quarantined=quarantined)
        beside()
        if digest is not None:
            _move_watermark(warehouse, tables.name, bounds[1], digest)
    return clean, quarantined, aside


def _move_watermark(warehouse: Warehouse, name: str, last: int, digest: str) -> None:
    # Never backwards: the numbers of rows grow over runs, also when a source was empty for once.
    known = warehouse.sql("SELECT max(rid) AS rid FROM ops.validated WHERE stream = $name", name=name)["rid"][0].as_py()
    warehouse.sql("DELETE FROM ops.validated WHERE stream = $name", name=name)
    rows = "INSERT INTO ops.validated VALUES ($name, $last, $digest)"
    warehouse.sql(rows, name=name, last=max(last, -1 if known is None else known), digest=digest)


def _publish_clean(
    warehouse: Warehouse, tables: Staged, rows: str, *, key: Sequence[str], content: Sequence[str], replace: bool
) -> int:
    if replace:
        warehouse.sql(f"CREATE OR REPLACE TABLE {tables.clean} AS {rows}")
        return _count(warehouse, f"FROM {tables.clean}")
    _widen(warehouse, tables)
    compared = [f"held.{quoted(name)} IS NOT DISTINCT FROM fresh.{quoted(name)}" for name in key or content]
    same = " AND ".join(compared)
    warehouse.sql(f"DELETE FROM {tables.clean} AS held WHERE EXISTS (SELECT 1 FROM ({rows}) AS fresh WHERE {same})")
    before = _count(warehouse, f"FROM {tables.clean}")
    warehouse.sql(f"INSERT INTO {tables.clean} BY NAME {rows}")
    return _count(warehouse, f"FROM {tables.clean}") - before


def _widen(warehouse: Warehouse, tables: Staged) -> None:
    """Give the clean table the columns that the source has gained; types change with the contract alone."""
    there = warehouse.columns(_bare(tables.clean))
    for name, kind in warehouse.columns(_bare(tables.checked)).items():
        if name not in there and name not in (FAILED_RULES, BAD):
            warehouse.sql(f"ALTER TABLE {tables.clean} ADD COLUMN {quoted(name)} {kind}")


def _publish_quarantine(warehouse: Warehouse, tables: Staged, *, whole: bool) -> int:
    """Add the staged rows; one that failed before with the same content keeps the time it was first seen."""
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {tables.quarantine} ({COLUMNS})")
    seen = (
        f"SELECT payload, min(first_seen) AS first_seen FROM {tables.quarantine} WHERE status = 'open' GROUP BY payload"
    )
    warehouse.sql(
        f"UPDATE {tables.staged} AS fresh SET first_seen = seen.first_seen FROM ({seen}) AS seen"
        " WHERE seen.payload = fresh.payload"
    )
    again = f"payload IN (SELECT payload FROM {tables.staged})"
    warehouse.sql(f"DELETE FROM {tables.quarantine} WHERE status = 'open' AND {again}")
    # What is still open was checked again and passed, or is no longer in a source that was read whole.
    ended = "TRUE" if whole else f"_rid IN (SELECT _rid FROM {tables.checked})"
    status = "superseded" if whole else "replayed"
    forget_trimmed(warehouse, tables.name, ended)
    warehouse.sql(f"UPDATE {tables.quarantine} SET status = $status WHERE status = 'open' AND {ended}", status=status)
    before = _count(warehouse, f"FROM {tables.quarantine}")
    warehouse.sql(f"INSERT INTO {tables.quarantine} BY NAME SELECT * FROM {tables.staged}")
    return _count(warehouse, f"FROM {tables.quarantine}") - before


def _conserved(
    warehouse: Warehouse, tables: Staged, passing: str, *, rows_in: int, clean: int, quarantined: int
) -> None:
    both = _count(warehouse, f"{passing} AND _rid IN (SELECT _rid FROM {tables.staged})")
    if rows_in != clean + quarantined or both:
        counted = f"{rows_in:,} rows came in, {clean:,} are clean and {quarantined:,} in quarantine"
        sentence = f"The rows of {tables.name} do not add up: {counted}, {both:,} of them in both."
        raise StopRun(f"{sentence} Nothing was published. Run again, and report it if it stays.", code="not_conserved")


def _count(warehouse: Warehouse, rest: str, **params: int) -> int:
    return int(warehouse.sql(f"SELECT count(*) AS n {rest}", **params)["n"][0].as_py())


def _bare(table: str) -> str:
    return table.replace('"', "")
