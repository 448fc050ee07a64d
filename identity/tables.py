"""The tables of the identity zone, and the rows that outlive a run.

identity.canonical       type, value (as it came), region, canonical, status, reason: every distinct identifier
identity.identifier      record_id, source, type, value (canonical; null unless ok), status, reason, unlinked (why a
                         good one links nobody), seen_day (where its type has a window)
identity.demoted         type, value, reason, records, persons, since_run: values that no longer link
identity.record          record_id, source, customer, agreement, said (a hash): what the last run knew of each record
identity.basis           sha256: the settings by which the last run grouped
identity.bound           decision_id, kind, forced, side, record_id: what stewards decided, as the last run heeded it
identity.membership      record_id, person_id, valid_from_run, valid_to_run (null = current)
identity.person          person_id, status, merged_into, created_run
identity.identity_event  event_id, run_id, kind, person_id, other_person_id, evidence (JSON: types and counts only)

All but identity_event hold or lead to personal values; the zone is restricted.
"""

from __future__ import annotations

from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON, make_table

_LASTING = {
    "identity.canonical": "type TEXT, value TEXT, region TEXT, canonical TEXT, status TEXT, reason TEXT",
    "identity.identifier": (
        "record_id TEXT, source TEXT, type TEXT, value TEXT, status TEXT, reason TEXT, unlinked TEXT, seen_day BIGINT"
    ),
    "identity.record": "record_id TEXT, source TEXT, customer BOOLEAN, agreement TEXT, said TEXT",
    "identity.basis": "sha256 TEXT",
    "identity.membership": f"record_id TEXT, person_id {PERSON}, valid_from_run TEXT, valid_to_run TEXT",
    "identity.person": f"person_id {PERSON}, status TEXT, merged_into {PERSON}, created_run TEXT",
    "identity.identity_event": (
        f"event_id TEXT, run_id TEXT, kind TEXT, person_id {PERSON}, other_person_id {PERSON}, evidence TEXT"
    ),
    "identity.bound": "decision_id TEXT, kind TEXT, forced BOOLEAN, side BIGINT, record_id TEXT",
    "identity.demoted": "type TEXT, value TEXT, reason TEXT, records BIGINT, persons BIGINT, since_run TEXT",
}
STAGED = (
    "identity.staged_subject",
    "identity.staged_touched",
    "identity.staged_frontier",
    "identity.staged_judged",
    "identity.staged_bound",
    "identity.staged_canonical",
    "identity.staged_identifier",
    "identity.staged_type",
    "identity.staged_record",
    "identity.staged_value",
    "identity.staged_demoted",
    "identity.staged_numbered",
    "identity.staged_reason",
    "identity.staged_assignment",
    "identity.staged_link",
    "identity.staged_change",
    "identity.staged_person",
)


def prepare(warehouse: Warehouse) -> None:
    """Create the lasting tables that are not there, and clear what an interrupted run left staged."""
    for table, columns in _LASTING.items():
        make_table(warehouse, table, columns)
    clear(warehouse)


def clear(warehouse: Warehouse) -> None:
    """Remove the staged tables."""
    for table in STAGED:
        warehouse.drop(table)
