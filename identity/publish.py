"""Publish what a run found: everything in one transaction, nothing overwritten that history needs."""

from __future__ import annotations

import pyarrow as pa

from consentry.identity.purposes import publish_parts
from consentry.identity.scope import TOUCHED
from consentry.identity.succession import Succession
from consentry.identity.tables import ERASED, clear
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON

_LINKS = (
    "WITH links AS (SELECT c, '{' || string_agg(to_json(type)::TEXT || ':' || n, ',' ORDER BY type) || '}' AS links"
    " FROM identity.staged_link GROUP BY c)"
)
_STATEMENTS = (
    "UPDATE identity.membership SET valid_to_run = $run WHERE valid_to_run IS NULL"
    f" AND record_id IN (SELECT record_id FROM {TOUCHED}) AND NOT EXISTS ("
    "SELECT 1 FROM identity.staged_assignment a WHERE a.record_id = membership.record_id"
    " AND a.person_id = membership.person_id)",
    "INSERT INTO identity.membership SELECT a.record_id, a.person_id, $run, NULL FROM identity.staged_assignment a"
    " WHERE NOT EXISTS (SELECT 1 FROM identity.membership m WHERE m.record_id = a.record_id"
    " AND m.valid_to_run IS NULL)",
    "UPDATE identity.person SET status = s.status, merged_into = s.merged_into FROM identity.staged_person s"
    " WHERE s.person_id = person.person_id AND $run IS NOT NULL",
    "INSERT INTO identity.person SELECT s.person_id, s.status, s.merged_into, $run FROM identity.staged_person s"
    " WHERE NOT EXISTS (SELECT 1 FROM identity.person p WHERE p.person_id = s.person_id)",
    f"INSERT INTO identity.identity_event {_LINKS} SELECT event_id, $run, kind, person_id, other_person_id,"
    " '{\"links\":' || coalesce(l.links, '{}') || ',\"records\":' || e.records || '}'"
    " FROM identity.staged_change e LEFT JOIN links l ON l.c = e.c",
)

# Decisions that hold since this run, or no longer do.
_DECIDED = (
    "INSERT INTO identity.identity_event WITH told AS (SELECT s.*, 'true' AS holds FROM identity.staged_bound s"
    " ANTI JOIN identity.bound b USING (decision_id) UNION ALL SELECT b.*, 'false' FROM identity.bound b"
    " ANTI JOIN identity.staged_bound s USING (decision_id)), who AS (SELECT t.decision_id, t.kind, t.holds,"
    " min(m.person_id) FILTER (WHERE t.side = 0) AS one, min(m.person_id) FILTER (WHERE t.side = 1) AS two,"
    " max(m.person_id) AS last FROM told t LEFT JOIN identity.membership m ON m.record_id = t.record_id"
    " AND m.valid_to_run IS NULL GROUP BY ALL) SELECT uuidv7()::TEXT, $run, 'manual', one,"
    " nullif(coalesce(two, last), one), '{\"decision\":' || to_json(decision_id)::TEXT || ',\"kind\":'"
    " || to_json(kind)::TEXT || ',\"holds\":' || holds || '}' FROM who ORDER BY decision_id"
)


def stage_people(warehouse: Warehouse, found: Succession, links: pa.Table) -> None:
    """Write who belongs to whom beside the published tables."""
    ids = pa.array(found.ids, pa.string())
    # A table that shares its strings: a dictionary is spelled out by the engine, batch by batch.
    persons = pa.DictionaryArray.from_arrays(pa.array(found.cluster), ids) if len(ids) else pa.array([], pa.string())
    who = pa.table({"r": pa.array(range(len(found.cluster)), pa.int64()), "person_id": persons})
    _write(warehouse, "identity.staged_numbered", who)
    warehouse.sql(
        "CREATE TABLE identity.staged_assignment AS SELECT r.record_id,"
        f" CAST(n.person_id::TEXT AS {PERSON}) AS person_id"
        " FROM identity.staged_numbered n JOIN identity.staged_record r USING (r)"
    )
    warehouse.drop("identity.staged_numbered")
    _write(warehouse, "identity.staged_link", links)
    _write(warehouse, "identity.staged_change", found.changes.table())
    _write(warehouse, "identity.staged_person", found.persons)


def publish(warehouse: Warehouse, *, run_id: str, basis: str) -> None:
    """Make the staged tables the current ones, in one step, and clear the stage.

    basis: the name of the settings by which the records were grouped.
    """
    with warehouse.transaction():
        for statement in _STATEMENTS:
            warehouse.sql(statement, run=run_id)
        _publish_demoted(warehouse, run_id)
        for table in ("membership", "golden_override"):
            warehouse.sql(f"DELETE FROM identity.{table} WHERE record_id IN (SELECT record_id FROM {ERASED})")
        warehouse.sql(_DECIDED, run=run_id)
        publish_parts(warehouse)
        for table in ("canonical", "identifier", "bound"):
            _replace(warehouse, table, f"staged_{table}")
        _replace(warehouse, "record", "staged_subject")
        warehouse.sql("CREATE OR REPLACE TABLE identity.basis AS SELECT $basis AS sha256", basis=basis)
    clear(warehouse)


def _replace(warehouse: Warehouse, table: str, staged: str) -> None:
    warehouse.sql(f"DROP TABLE IF EXISTS identity.{table}")
    warehouse.sql(f"ALTER TABLE identity.{staged} RENAME TO {table}")


def _publish_demoted(warehouse: Warehouse, run_id: str) -> None:
    """Keep since when a value is demoted; the events tell of those that came and went."""
    warehouse.sql(
        "CREATE TABLE identity.staged_judged AS SELECT DISTINCT type, value FROM (SELECT record_id, type, value"
        " FROM identity.staged_identifier UNION ALL SELECT record_id, type, value FROM identity.identifier)"
        f" WHERE record_id IN (SELECT record_id FROM {TOUCHED})"
    )
    warehouse.sql(
        "INSERT INTO identity.identity_event SELECT s.event_id, $run, 'demoted', s.person_id, s.other_person_id,"
        " s.evidence FROM identity.staged_demoted s ANTI JOIN identity.demoted d USING (type, value, reason)",
        run=run_id,
    )
    warehouse.sql(
        "INSERT INTO identity.identity_event SELECT uuidv7()::TEXT, $run, 'restored', NULL, NULL,"
        " '{\"type\":' || to_json(d.type)::TEXT || ',\"reason\":' || to_json(d.reason)::TEXT || '}'"
        " FROM identity.demoted d SEMI JOIN identity.staged_judged j USING (type, value)"
        " ANTI JOIN identity.staged_demoted s USING (type, value, reason)",
        run=run_id,
    )
    warehouse.sql(
        "CREATE OR REPLACE TABLE identity.demoted AS SELECT s.type, s.value, s.reason, s.records, s.persons,"
        " coalesce(d.since_run, $run) AS since_run FROM identity.staged_demoted s"
        " LEFT JOIN identity.demoted d USING (type, value, reason) UNION ALL"
        " SELECT d.* FROM identity.demoted d ANTI JOIN identity.staged_judged j USING (type, value)",
        run=run_id,
    )


def _write(warehouse: Warehouse, name: str, table: pa.Table) -> None:
    warehouse.write(name, table.to_batches(max_chunksize=100_000), schema=table.schema)
