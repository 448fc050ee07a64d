"""Which records a run has to look at again: those that changed, and all that hang together with them.

A record hangs together with those that share a value with it, now or in the run before, demoted values included; with
those of its person; and with those of a decision about it. Whatever decides on a group of records lies inside such a
component, so that looking at the touched components alone gives what looking at everything would.
"""

from __future__ import annotations

import hashlib

from consentry.identity.config import IdentityConfig
from consentry.warehouse import Warehouse

TOUCHED = "identity.staged_touched"
_FRONTIER = "identity.staged_frontier"
# Above this share of changed records, following what hangs together costs more than it saves.
_MOST = 0.3
# Raise it when the same records and settings would give other people than before.
_RULES = "3"

_COMPARED = (
    ("staged_identifier", "identifier", "record_id, source, type, value, status, unlinked, seen_day"),
    ("staged_subject", "record", "record_id, source, customer, agreement, said"),
    ("staged_bound", "bound", "record_id, decision_id, kind, forced, side"),
)
_CHANGED = " UNION ".join(
    f"SELECT record_id FROM (SELECT {columns} FROM identity.{one} EXCEPT SELECT {columns} FROM identity.{other})"
    for staged, published, columns in _COMPARED
    for one, other in ((staged, published), (published, staged))
)
_TIES = (
    "SELECT record_id, type AS kind, value AS name FROM identity.staged_identifier WHERE status = 'ok' UNION ALL"
    " SELECT record_id, type, value FROM identity.identifier WHERE status = 'ok' UNION ALL"
    " SELECT record_id, 'person', CAST(person_id AS TEXT) FROM identity.membership UNION ALL"
    " SELECT record_id, 'decision', decision_id FROM identity.staged_bound UNION ALL"
    " SELECT record_id, 'decision', decision_id FROM identity.bound"
)


def basis(config: IdentityConfig) -> str:
    """Name the settings on which the grouping depends."""
    settings = config.model_dump_json(exclude={"golden"})
    return hashlib.sha256(f"{_RULES} {settings}".encode()).hexdigest()


def is_comparable(warehouse: Warehouse, config: IdentityConfig) -> bool:
    """Tell whether the last run grouped by the same settings, so that what did not change may stay."""
    if not warehouse.has("identity.record"):
        return False
    found = warehouse.sql("SELECT sha256 FROM identity.basis")["sha256"]
    return basis(config) in found.to_pylist()


def stage_touched(warehouse: Warehouse, *, comparable: bool) -> None:
    """Write the records to look at to `identity.staged_touched`, those that are gone included."""
    everything = "SELECT record_id FROM identity.staged_subject UNION SELECT record_id FROM identity.membership"
    if comparable:
        warehouse.sql(f"CREATE TABLE {TOUCHED} AS {_CHANGED}")
        if warehouse.count(TOUCHED) <= _MOST * warehouse.count("identity.staged_subject"):
            spread(warehouse, TOUCHED)
            return
        warehouse.drop(TOUCHED)
    warehouse.sql(f"CREATE TABLE {TOUCHED} AS {everything}")


def spread(warehouse: Warehouse, table: str) -> None:
    """Add to a table of record ids all records that hang together with them, step by step."""
    warehouse.sql(f"CREATE TABLE {_FRONTIER} AS SELECT record_id FROM {table}")
    while warehouse.count(_FRONTIER):
        found = warehouse.sql(
            f"WITH tie AS ({_TIES}), reached AS (SELECT DISTINCT kind, name FROM tie"
            f" WHERE record_id IN (SELECT record_id FROM {_FRONTIER}))"
            " SELECT DISTINCT tie.record_id FROM tie JOIN reached USING (kind, name)"
            f" WHERE tie.record_id NOT IN (SELECT record_id FROM {table})"
        )
        warehouse.write(_FRONTIER, found.to_batches(), schema=found.schema)
        warehouse.sql(f"INSERT INTO {table} SELECT record_id FROM {_FRONTIER}")
    warehouse.drop(_FRONTIER)
