"""Rows that are kept neither in clean nor in quarantine: discarded by a person, or trimmed to bound the storage.

Each stays known by its number, so that counts are exact: clean + quarantined + discarded = input. A trimmed row was
quarantined and only its content was let go; when the stream is checked again it is judged like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from consentry.model.names import quoted
from consentry.warehouse import Warehouse

Why = Literal["discarded", "trimmed", "erased"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a quarantine keeps of each stream: rows with their content, and days since a row was last seen."""

    max_rows: int = 1_000_000
    keep_days: int = 365


def aside_table(stream: str) -> str:
    """Name the table of a stream's rows that were set aside: `_rid`, why, set_at."""
    return f"quarantine.{quoted(stream + '__aside')}"


def has_aside(warehouse: Warehouse, stream: str) -> bool:
    """Tell whether anything of a stream was ever set aside."""
    return warehouse.has(f"quarantine.{stream}__aside")


def set_aside(warehouse: Warehouse, stream: str, rows: str, why: Why, **params: object) -> int:
    """Note the numbers that a query returns as set aside, and return how many there were."""
    table = aside_table(stream)
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {table} (_rid BIGINT, why TEXT, set_at TIMESTAMPTZ)")
    before = warehouse.count(f"quarantine.{stream}__aside")
    query = f"SELECT _rid, $why, $now FROM ({rows}) AS rows WHERE _rid NOT IN (SELECT _rid FROM {table})"
    warehouse.sql(f"INSERT INTO {table} {query}", why=why, now=datetime.now(UTC), **params)
    return warehouse.count(f"quarantine.{stream}__aside") - before


def discarded(warehouse: Warehouse, stream: str, raw: str, where: str, *, after: int, last: int) -> int:
    """Return how many of the raw rows that a condition takes were discarded."""
    if not has_aside(warehouse, stream):
        return 0
    among = f"_rid IN (SELECT _rid FROM {aside_table(stream)} WHERE why = 'discarded')"
    query = f"SELECT count(*) AS n FROM {raw} WHERE {where} AND {among}"
    return int(warehouse.sql(query, after=after, last=last)["n"][0].as_py())


def forget_trimmed(warehouse: Warehouse, stream: str, where: str) -> None:
    """Take trimmed rows that were judged again off the list: they stand in clean or in quarantine now."""
    if has_aside(warehouse, stream):
        warehouse.sql(f"DELETE FROM {aside_table(stream)} WHERE why = 'trimmed' AND {where}")


def trim(warehouse: Warehouse, stream: str, limits: Limits, *, now: datetime | None = None) -> int:
    """Let go of the content of what a quarantine holds beyond its limits, and return the number of open rows.

    Rows that are no longer open go first, then those that were last seen longest ago.
    """
    if not warehouse.has(f"quarantine.{stream}"):
        return 0
    table = f"quarantine.{quoted(stream)}"
    since = (now or datetime.now(UTC)) - timedelta(days=limits.keep_days)
    order = "ORDER BY CASE WHEN status = 'open' THEN 0 ELSE 1 END, last_seen DESC, _rid DESC"
    ranked = f"SELECT _rid, status, last_seen, row_number() OVER ({order}) AS place FROM {table}"
    beyond = f"SELECT _rid, status FROM ({ranked}) AS ranked WHERE place > $most OR last_seen < $since"
    params = {"most": limits.max_rows, "since": since}
    if not warehouse.sql(f"SELECT count(*) AS n FROM ({beyond}) AS rows", **params)["n"][0].as_py():
        return 0
    with warehouse.transaction():
        trimmed = set_aside(
            warehouse, stream, f"SELECT _rid FROM ({beyond}) AS beyond WHERE status = 'open'", "trimmed", **params
        )
        # A row may stand here twice, once of each status: each is let go by itself.
        gone = f"SELECT 1 FROM ({beyond}) AS gone WHERE gone._rid = held._rid AND gone.status = held.status"
        warehouse.sql(f"DELETE FROM {table} AS held WHERE EXISTS ({gone})", **params)
    return trimmed
