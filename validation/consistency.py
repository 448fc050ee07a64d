"""Do two sources say the same about one person? Compared after records were merged, attribute by attribute."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Final

import pyarrow as arrow

from consentry.model.names import quoted
from consentry.validation.drift import is_strange
from consentry.validation.spec import WatchSpec
from consentry.validation.watch import ENOUGH, FLOOR, Finding, Severity, write_findings
from consentry.warehouse import Warehouse

AGREEMENT: Final = "ops.agreement"
# What findings about sources are filed under, as those about a stream are under its name.
SOURCES: Final = "sources"
_LOADS: Final = 60
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


def watch_agreement(
    warehouse: Warehouse,
    watch: WatchSpec,
    found: Mapping[str, tuple[int, int]],
    *,
    run_id: str,
    accepted: Collection[str] = (),
) -> list[Finding]:
    """Return and keep the attributes about which sources disagree more than is allowed, or more than they used to.

    found: what `compare_sources` returned. accepted: attributes that somebody has looked at; they are only told.
    """
    told: list[Finding] = []
    for name, (people, disagree) in found.items() if watch.agreement != "ignore" else ():
        share, most = disagree / people, watch.max_disagree.get(name)
        before = _earlier(warehouse, name, run_id)
        strange, usual = is_strange(share, before, floor=FLOOR) if len(before) >= ENOUGH else (False, 0.0)
        if most is not None and share > most:
            bound, known = most, f"{most:.1%} is allowed"
        elif strange and share >= usual + 0.01:
            bound, known = usual, f"{usual:.1%} is ordinary"
        else:
            continue
        sentence = f"Sources disagree about {name} of {share:.1%} of the people whom two of them know; {known}."
        severity: Severity = "fail" if watch.agreement == "fail" and name not in accepted else "warn"
        told.append(Finding(name, "agreement", severity, sentence, share, bound))
    write_findings(warehouse, told, stream=SOURCES, run_id=run_id)
    return told


def _earlier(warehouse: Warehouse, name: str, run_id: str) -> list[float]:
    query = (
        f"SELECT disagree / people AS share FROM {AGREEMENT} WHERE column_name = $name AND run_id <> $run"
        " ORDER BY measured_at DESC LIMIT $most"
    )
    shares: list[float] = warehouse.sql(query, name=name, run=run_id, most=_LOADS)["share"].to_pylist()
    return shares


def _write(warehouse: Warehouse, found: dict[str, tuple[int, int]], run_id: str) -> None:
    if warehouse.has(AGREEMENT):
        warehouse.sql(f"DELETE FROM {AGREEMENT} WHERE run_id = $run", run=run_id)
    now = datetime.now(UTC)
    rows = [
        {"run_id": run_id, "column_name": name, "people": people, "disagree": disagree, "measured_at": now}
        for name, (people, disagree) in found.items()
    ]
    warehouse.write(AGREEMENT, arrow.Table.from_pylist(rows, _SCHEMA).to_batches(), schema=_SCHEMA, mode="append")
