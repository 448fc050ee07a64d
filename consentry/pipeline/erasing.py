"""Erase a person from a job's own stores: suppress first, then delete, then settle who is left (GDPR Art. 17).

The order is that of suppression before deletion: whatever is read from a source in the meantime finds the keyed
tombstones there. What destinations hold goes with the next run, which takes out whoever is no longer there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from consentry.consent.normal import normal_forms
from consentry.errors import ConfigError
from consentry.identity.aliases import resolve_alias
from consentry.identity.golden import golden
from consentry.identity.resolve import resolve
from consentry.model.ids import new_run_id
from consentry.model.names import quoted_table
from consentry.pipeline.canonical import streams_of
from consentry.pipeline.context import Context, decisions_of, refused_table
from consentry.pipeline.deleting import delete_records, delete_rows
from consentry.pipeline.holding import refuse_held
from consentry.pipeline.load import Loaded
from consentry.pipeline.purposes import uses
from consentry.pipeline.stewarding import stewarding
from consentry.validation.held import erase as erase_held
from consentry.validation.held import held_streams
from consentry.warehouse.rewriting import rewrite

_GONE = "identity.erasing"
_HISTORY = ("identity.person", "identity.identity_event")


# The answer is plain JSON.
def erase_person(loaded: Loaded, *, person: str | None, kind: str, value: str, by: str) -> dict[str, Any]:
    """Erase all records of a person, found by id or by an identifier; return what was erased, in numbers.

    Identifiers that stand on records of other people, too, are not suppressed: that would erase those as well.
    Raises ConfigError when nobody is found, or several people are; Blocked while a legal hold keeps the data.
    """
    with stewarding(loaded) as opened:
        context = replace(opened, run_id=new_run_id())
        person_id = _one_person(context, person, kind, value)
        warehouse = context.warehouse
        warehouse.sql(
            f"CREATE OR REPLACE TABLE {_GONE} AS SELECT record_id FROM identity.membership"
            " WHERE person_id = $person AND valid_to_run IS NULL",
            person=person_id,
        )
        refuse_held(context, _all_identifiers(context))
        known = _identifiers(context)
        suppressed = sum(_suppress(context, *one) for one in known)
        counts = {"records": warehouse.count(_GONE), "suppressed": suppressed, "rows": _delete(context, known)}
        context.audit.append("identity.erasing", run=context.run_id, person=person_id, by=by, counts=dict(counts))
        config = loaded.job.identity
        found = resolve(
            warehouse,
            config,
            run_id=context.run_id,
            decisions=decisions_of(context),
            erased=_GONE,
            refused=refused_table(context),
        )
        golden(warehouse, config, run_id=context.run_id, uses=uses(loaded))
        _forget(context, person_id)
        context.audit.append("identity.erased", run=context.run_id, person=person_id, by=by, events=dict(found.events))
    rewrite(loaded.state / "warehouse.duckdb", memory_limit=loaded.job.memory_limit)
    return {"person_id": person_id, **counts, "events": dict(found.events)}


def _one_person(context: Context, person: str | None, kind: str, value: str) -> str:
    if person:
        found = resolve_alias(context.warehouse, person)
        people = [found] if found else []
    else:
        rows = context.warehouse.sql(
            "SELECT DISTINCT m.person_id FROM identity.canonical c"
            " JOIN identity.identifier i ON i.type = c.type AND i.value = c.canonical"
            " JOIN identity.membership m ON m.record_id = i.record_id AND m.valid_to_run IS NULL"
            " WHERE c.type = $type AND (c.value = $value OR c.canonical IN (SELECT unnest($forms))) ORDER BY 1",
            type=kind,
            value=value,
            forms=[value, *normal_forms(kind, value)],
        )
        people = rows["person_id"].to_pylist()
    if not people:
        raise ConfigError("There is nobody to erase: no person has this id or identifier.", code="no_person")
    if len(people) > 1:
        shown = ", ".join(people[:5])
        raise ConfigError(
            f"This identifier stands on records of {len(people)} people ({shown}). Name one of them with --person.",
            code="several_people",
        )
    return people[0]


def _all_identifiers(context: Context) -> list[tuple[str, str, str | None]]:
    """Return each identifier, as it came, that stands on the records to erase."""
    rows = context.warehouse.sql(
        "SELECT DISTINCT c.type, c.value, nullif(c.region, '') AS region FROM identity.canonical c"
        " JOIN identity.identifier i ON i.type = c.type AND i.value = c.canonical"
        f" JOIN {_GONE} g USING (record_id)"
    ).to_pylist()
    return [(row["type"], row["value"], row["region"]) for row in rows]


def _identifiers(context: Context) -> list[tuple[str, str, str | None]]:
    """Return each identifier, as it came, that stands on the records to erase and on no others."""
    rows = context.warehouse.sql(
        "WITH mine AS (SELECT DISTINCT i.type, i.value FROM identity.identifier i"
        f" JOIN {_GONE} g USING (record_id) WHERE i.status = 'ok'), shared AS (SELECT DISTINCT i.type, i.value"
        " FROM identity.identifier i JOIN mine m USING (type, value)"
        f" WHERE i.record_id NOT IN (SELECT record_id FROM {_GONE}))"
        " SELECT DISTINCT c.type, c.value, nullif(c.region, '') AS region FROM identity.canonical c"
        " JOIN (SELECT * FROM mine EXCEPT SELECT * FROM shared) m ON m.type = c.type AND m.value = c.canonical"
        " ORDER BY 1, 2, 3"
    ).to_pylist()
    return [(row["type"], row["value"], row["region"]) for row in rows]


def _suppress(context: Context, kind: str, value: str, region: str | None) -> int:
    if not normal_forms(kind, value, region):
        return 0
    return context.ledger.suppress(kind, value, reason="erasure", region=region, since=datetime.now(UTC))


def _delete(context: Context, known: Sequence[tuple[str, str, str | None]]) -> int:
    """Delete the rows behind the records in every zone that holds them; return how many landed rows that were."""
    warehouse = context.warehouse
    values: dict[str, list[str]] = {}
    for kind, value, _ in known:
        values.setdefault(kind, []).append(value)
    rows = sum(erase_held(warehouse, stream, values) for stream in held_streams(warehouse))
    rows += delete_records(context, _GONE)
    for source, name, where, params in _feeds(context, values):
        rows += delete_rows(context, source, name, where, params)
    for table in warehouse.tables("clean"):
        if "record_id" in warehouse.columns(table):
            warehouse.sql(f"DELETE FROM {quoted_table(table)} WHERE record_id IN (SELECT record_id FROM {_GONE})")
    return rows


def _feeds(context: Context, values: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, str, dict[str, object]]]:
    """Yield each consent feed with the condition by which its clean rows are the person's, and its parameters."""
    told = sorted({text.lower() for texts in values.values() for text in texts})
    if not told:
        return
    for source, name in streams_of(context.loaded.job, "consent"):
        # What a platform told may stand anywhere in its row, also inside a payload.
        held = "EXISTS (SELECT 1 FROM unnest($told) t(word) WHERE contains(lower(to_json(rows)::TEXT), t.word))"
        yield source, name, held, {"told": told}


def _forget(context: Context, person: str) -> None:
    """Take the person out of everything that runs write anew; that there was one, and is erased, stays known."""
    tables = [table for zone in ("identity", "profile", "ops") for table in context.warehouse.tables(zone)]
    tables += [table for table in context.warehouse.tables("segment") if table.startswith("segment.model__")]
    for table in tables:
        if table not in _HISTORY and "person_id" in context.warehouse.columns(table):
            context.warehouse.sql(f"DELETE FROM {quoted_table(table)} WHERE person_id = $person", person=person)
    context.warehouse.drop(_GONE)
