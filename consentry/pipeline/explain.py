"""Say what a job will do, or why one person is where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from consentry.errors import ConfigError
from consentry.identity.explain import Explanation, explain
from consentry.pipeline.left import left_warehouse
from consentry.pipeline.load import Loaded
from consentry.pipeline.plan import Plan, sentences
from consentry.warehouse import DuckDBWarehouse


# Plain JSON, both.
def explain_plan(plan: Plan) -> dict[str, Any]:
    """Return the plan as data, and in sentences."""
    return {
        "job": plan.loaded.job.job,
        "plan_sha256": plan.sha256,
        "stages": [stage.name for stage in plan.stages],
        "syncs": list(plan.syncs),
        "sentences": list(sentences(plan)),
    }


def explain_person(loaded: Loaded, *, person: str | None, by: str | None, value: str | None) -> dict[str, Any]:
    """Return the records, decisions, segments and deliveries of one person, as of the last run.

    Identifiers are shown masked. Raises ConfigError when there is no such person.
    """
    with left_warehouse(loaded, "there is nobody to explain") as warehouse:
        person_id = person or _find(warehouse, by or "", value or "")
        found = explain(warehouse, person_id) if person_id else None
        if found is None:
            raise ConfigError("There is no such person. Look up a person id, or give --by TYPE --value VALUE.")
        return _told(warehouse, found)


def _find(warehouse: DuckDBWarehouse, kind: str, value: str) -> str | None:
    """Find whose identifier this is, in any spelling in which a source has it."""
    found = warehouse.sql(
        "SELECT m.person_id FROM identity.canonical c"
        " JOIN identity.identifier i ON i.type = c.type AND i.value = c.canonical"
        " JOIN identity.membership m ON m.record_id = i.record_id AND m.valid_to_run IS NULL"
        " WHERE c.type = $type AND (c.value = $value OR c.canonical = $value) ORDER BY 1 LIMIT 1",
        type=kind,
        value=value,
    )
    return found["person_id"][0].as_py() if found.num_rows else None


def _told(warehouse: DuckDBWarehouse, found: Explanation) -> dict[str, Any]:
    person = found.person_id
    told: dict[str, Any] = {
        "person_id": person,
        "records": list(found.records),
        "links": [{"type": link.type, "value": link.value, "records": len(link.records)} for link in found.links],
        "decisions": _rows(warehouse, "ops.decision", "target, allow, reason", person),
        "segments": [row["segment"] for row in _rows(warehouse, "segment.membership", "segment", person)],
        "delivered": _rows(warehouse, "delivery.ack", "sync, CAST(acked_at AS TEXT) AS acked_at", person),
    }
    told["sentences"] = list(_sentences(found, told))
    return told


def _rows(warehouse: DuckDBWarehouse, table: str, columns: str, person: str) -> list[dict[str, Any]]:
    if not warehouse.has(table):
        return []
    query = f"SELECT {columns} FROM {table} WHERE person_id = $person ORDER BY ALL"
    return list(warehouse.sql(query, person=person).to_pylist())


def _sentences(found: Explanation, told: dict[str, Any]) -> Iterator[str]:
    yield f"Person {found.person_id}" + (f" (asked as {found.asked})" if found.asked != found.person_id else "")
    yield f"Records: {', '.join(found.records)}"
    for link in found.links:
        note = f", not used: {link.reason}" if link.reason else ""
        yield f"  {link.type} {link.value} on {len(link.records)} records{note}"
    if found.weakest:
        yield f"  The weakest link is {found.weakest.type} {found.weakest.value}."
    yield f"Segments: {', '.join(told['segments']) or 'none'}"
    for row in told["decisions"]:
        yield f"{row['target']}: {'allowed' if row['allow'] else 'refused'} ({row['reason']})"
    for row in told["delivered"]:
        yield f"{row['sync']}: acknowledged {row['acked_at']}"
    for event in found.events:
        yield f"{event.run_id}: {event.kind}"
