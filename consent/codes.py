"""Number identifiers and kinds of events in the warehouse: everybody is joined by whole numbers, not by 64 letters.

A number is given once and never again, in the order in which identifiers are first met; it says nothing of anybody.
"""

from __future__ import annotations

from consentry.warehouse import Warehouse

STAGED = "ops.consent_staged"
EVENTS, KINDS, IDENTIFIERS = "ops.consent_coded", "ops.consent_kind", "ops.identifier_code"
SUBJECTS, FACTS = "ops.subject", "ops.person_fact"
SUBJECT_CODES, ALIASES = "ops.subject_code", "ops.subject_alias"

# Events that differ in nothing but whose they are and when they were said are of one kind; a ledger has a few dozen.
_KIND = ("purpose", "state", "source_system", "regime", "method", "proven", "notice_version")
_TABLES = {
    IDENTIFIERS: "code INTEGER, identifier_hmac TEXT",
    KINDS: "kind INTEGER, purpose TEXT, state TEXT, source_system TEXT, regime TEXT, method TEXT, proven BOOLEAN, "
    "notice_version INTEGER",
    EVENTS: "identifier INTEGER, kind INTEGER, effective_us BIGINT, expires_us BIGINT, recorded_us BIGINT",
}


def code_events(warehouse: Warehouse) -> None:
    """Add the events of ops.consent_staged to ops.consent_coded (identifier, kind, and the instants), by numbers."""
    _make(warehouse)
    _number_identifiers(warehouse, f"SELECT identifier_hmac FROM {STAGED}")
    same = " AND ".join(f"s.{name} IS NOT DISTINCT FROM k.{name}" for name in _KIND)
    names = ", ".join(_KIND)
    warehouse.sql(
        f"INSERT INTO {KINDS} SELECT (SELECT coalesce(max(kind), 0) FROM {KINDS}) + row_number() OVER (), s.* FROM "
        f"(SELECT DISTINCT {names} FROM {STAGED}) s WHERE NOT EXISTS (SELECT 1 FROM {KINDS} k WHERE {same})"
    )
    warehouse.sql(
        f"INSERT INTO {EVENTS} SELECT i.code, k.kind, s.effective_us, s.expires_us, s.recorded_us FROM {STAGED} s "
        f"JOIN {IDENTIFIERS} i USING (identifier_hmac) JOIN {KINDS} k ON {same} ORDER BY i.code"
    )


def code_subjects(warehouse: Warehouse) -> None:
    """Write ops.subject_code(person, identifier, kind, served, shared_by) from ops.subject and ops.person_fact.

    And ops.subject_alias(code, identifier): under which numbers an identifier stands in the ledger besides its own,
    which is that of the active key.
    """
    _make(warehouse)
    _number_identifiers(warehouse, f"SELECT identifier_hmac FROM {SUBJECTS} WHERE list = 'ledger'")
    warehouse.sql(
        f"CREATE OR REPLACE TABLE {SUBJECT_CODES} AS SELECT f.person, i.code AS identifier, s.identifier_type AS kind, "
        f"bool_or(s.served) AS served, max(s.shared_by) AS shared_by FROM {SUBJECTS} s "
        f"JOIN {FACTS} f USING (person_id) JOIN {IDENTIFIERS} i ON i.identifier_hmac = s.identifier "
        "WHERE s.list = 'ledger' GROUP BY ALL"
    )
    warehouse.sql(
        f"CREATE OR REPLACE TABLE {ALIASES} AS SELECT DISTINCT old.code, own.code AS identifier FROM {SUBJECTS} s "
        f"JOIN {IDENTIFIERS} old ON old.identifier_hmac = s.identifier_hmac "
        f"JOIN {IDENTIFIERS} own ON own.identifier_hmac = s.identifier "
        "WHERE s.list = 'ledger' AND s.identifier <> s.identifier_hmac"
    )


def _make(warehouse: Warehouse) -> None:
    for table, columns in _TABLES.items():
        warehouse.sql(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")


def _number_identifiers(warehouse: Warehouse, query: str) -> None:
    warehouse.sql(
        f"INSERT INTO {IDENTIFIERS} SELECT (SELECT coalesce(max(code), 0) FROM {IDENTIFIERS}) + row_number() OVER (), "
        f"n.identifier_hmac FROM (SELECT DISTINCT identifier_hmac FROM ({query})) n "
        f"WHERE NOT EXISTS (SELECT 1 FROM {IDENTIFIERS} i WHERE i.identifier_hmac = n.identifier_hmac)"
    )
