"""Do two sources say the same about one person? Compared after records were merged, attribute by attribute."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pyarrow as arrow

from consentry.model.names import quoted
from consentry.warehouse import Warehouse

AGREEMENT: Final = "ops.agreement"
_KEPT_OUT: Final = ("record_id", "source", "trust", "updated_at")
_SCHEMA: Final = arrow.schema(
    [
        ("run_id", arrow.string()),
        ("column_name", arrow.string()),
        ("people", arrow.int64()),
        ("disagree", arrow.int64()),
        ("measured_at", arrow.timestamp("us", "UTC")),
    ]
)


def compare_sources(warehouse: Warehouse, *, run_id: str) -> dict[str, tuple[int, int]]:
    """Return for each attribute of clean.customer: people whom two sources know, and those of whom they say different.

    Case is no difference. The numbers are kept in ops.agreement.
    """
    if not (warehouse.has("clean.customer") and warehouse.has("identity.membership")):
        return {}
    found: dict[str, tuple[int, int]] = {}
    for name in warehouse.columns("clean.customer"):
        if name in _KEPT_OUT:
            continue
        cell = f"c.{quoted(name)}"
        people = (
            f"SELECT m.person_id, count(DISTINCT lower(CAST({cell} AS VARCHAR))) AS said, count(DISTINCT c.source) AS"
            " sources FROM clean.customer AS c JOIN identity.membership AS m ON m.record_id = c.record_id"
            f" WHERE m.valid_to_run IS NULL AND {cell} IS NOT NULL GROUP BY m.person_id"
        )
        counted = "count(*) AS people, coalesce(sum(CASE WHEN said > 1 THEN 1 ELSE 0 END), 0) AS disagree"
        row = warehouse.sql(f"SELECT {counted} FROM ({people}) AS people WHERE sources > 1").to_pylist()[0]
        if row["people"]:
            found[name] = (int(row["people"]), int(row["disagree"]))
    _write(warehouse, found, run_id)
    return found


def _write(warehouse: Warehouse, found: dict[str, tuple[int, int]], run_id: str) -> None:
    if warehouse.has(AGREEMENT):
        warehouse.sql(f"DELETE FROM {AGREEMENT} WHERE run_id = $run", run=run_id)
    now = datetime.now(UTC)
    rows = [
        {"run_id": run_id, "column_name": name, "people": people, "disagree": disagree, "measured_at": now}
        for name, (people, disagree) in found.items()
    ]
    warehouse.write(AGREEMENT, arrow.Table.from_pylist(rows, _SCHEMA).to_batches(), schema=_SCHEMA, mode="append")
