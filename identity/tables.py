"""The tables of the identity zone, and the rows that outlive a run.

identity.canonical       type, value (as it came), region, canonical, status, reason: every distinct identifier
identity.identifier      record_id, source, type, value (canonical; null unless ok), status, reason, unlinked (why a
                         good one links nobody), seen_day (where its type has a window)
identity.demoted         type, value, reason, records, persons, since_run: values that no longer link
identity.record          record_id, source, customer, agreement, said (a hash): what the last run knew of each record
identity.basis           sha256: the settings by which the last run grouped
identity.bound           decision_id, kind, forced, side, record_id: what stewards decided, as the last run heeded it
identity.golden_override override_id, record_id, field, value, said_by, why, decided_at, ended_at: values set by hand
identity.linked_for      purpose, record_id, person_id, part: people whose records may not all be linked for a purpose
identity.membership      record_id, person_id, valid_from_run, valid_to_run (null = current)
identity.person          person_id, status, merged_into, created_run
identity.identity_event  event_id, run_id, kind, person_id, other_person_id, evidence (JSON: types and counts only)

All but identity_event hold or lead to personal values; the zone is restricted.
"""

from __future__ import annotations

from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON, make_table

# Known records that are erased in this run.
ERASED = "identity.staged_erased"
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
    "identity.golden_override": (
        "override_id TEXT, record_id TEXT, field TEXT, value TEXT, said_by TEXT, why TEXT, decided_at TEXT,"
        " ended_at TEXT"
    ),
    "identity.linked_for": f"purpose TEXT, record_id TEXT, person_id {PERSON}, part BIGINT",
    "identity.demoted": "type TEXT, value TEXT, reason TEXT, records BIGINT, persons BIGINT, since_run TEXT",
}
STAGED = (
    "identity.staged_subject",
    ERASED,
    "identity.staged_affected",
    "identity.staged_linked_for",
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
    "identity.compared_record",
    "identity.compared_pair",
    "identity.compared_feature",
    "identity.staged_shown",
    "identity.staged_person",
)


def prepare(warehouse: Warehouse) -> None:
    """Create the lasting tables that are not there, and clear what an interrupted run left staged."""
    create(warehouse)
    clear(warehouse)


def create(warehouse: Warehouse) -> None:
    """Create the lasting tables that are not there."""
    # Written anew by every run, so that one from an earlier version is no loss.
    if "unlinked" not in warehouse.columns("identity.identifier"):
        warehouse.drop("identity.identifier")
    for table, columns in _LASTING.items():
        make_table(warehouse, table, columns)


def clear(warehouse: Warehouse) -> None:
    """Remove the staged tables."""
    for table in STAGED:
        warehouse.drop(table)
