"""Gather what a job holds of one person, and who was given it (GDPR Art. 15 and 20).

The answer is one JSON object, described in docs/consent.md. It holds personal data: it is for that person, and is
written to a file of mode 0600 or to standard output; the audit log keeps that it was made, and not what stands in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from consentry.consent.ledger import Ledger
from consentry.consent.normal import identifying
from consentry.consent.subjects import Keyed
from consentry.delivery.golden import SERVED, imputed_columns
from consentry.errors import ConfigError
from consentry.model.names import quoted_table
from consentry.pipeline.job import instant
from consentry.pipeline.left import held_log, left_warehouse
from consentry.pipeline.load import Loaded
from consentry.pipeline.privacy import ledger_of
from consentry.segments.earlier import EARLIER
from consentry.warehouse import DuckDBWarehouse

_RECORDS = "SELECT m.record_id FROM identity.membership m WHERE m.valid_to_run IS NULL AND m.person_id = $person"
_HELD = {
    "identifiers": (
        "identity.identifier",
        f"SELECT DISTINCT type, value, source FROM identity.identifier WHERE record_id IN ({_RECORDS})",
    ),
    "records": ("clean.customer", f"SELECT * FROM clean.customer WHERE record_id IN ({_RECORDS})"),
    "golden_record": ("identity.golden", "SELECT * FROM identity.golden WHERE person_id = $person"),
    "profile": ("profile.person", "SELECT * FROM profile.person WHERE person_id = $person"),
    "earlier": (
        EARLIER,
        f"SELECT name, value, until FROM {EARLIER} WHERE person_id = $person ORDER BY until, name",
    ),
    "segments": (
        "segment.membership",
        "SELECT segment, entered_at FROM segment.membership WHERE person_id = $person ORDER BY segment",
    ),
    "decisions": (
        "ops.decision",
        "SELECT target, allow, reason FROM ops.decision WHERE person_id = $person ORDER BY target",
    ),
}


# The answer is plain JSON.
def access(loaded: Loaded, kind: str, value: str, region: str | None) -> dict[str, Any]:
    """Return everything that is held of whoever has an identifier, by person.

    Raises ConfigError when the job has not run, or nobody has this identifier.
    """
    form = identifying(kind, value, region)
    with ledger_of(loaded) as ledger, left_warehouse(loaded) as warehouse:
        name = Keyed(ledger.keyring).ledger(kind, form)[0]
        query = "SELECT DISTINCT CAST(person_id AS TEXT) AS person FROM ops.subject WHERE identifier = $name ORDER BY 1"
        found = warehouse.sql(query, name=name)["person"].to_pylist() if warehouse.has("ops.subject") else []
        if not found:
            raise ConfigError(f"Nobody in the job has this {kind}.")
        people = [_person(loaded, warehouse, ledger, person) for person in found]
    with held_log(loaded) as audit:
        audit.append("access.exported", people=len(people))
    made = instant(datetime.now(UTC))
    return {"job": loaded.job.job, "made_at": made, "purposes": _purposes(loaded), "people": people}


def _person(loaded: Loaded, warehouse: DuckDBWarehouse, ledger: Ledger, person: str) -> dict[str, Any]:
    found: dict[str, Any] = {"person_id": person}
    for part, (table, query) in _HELD.items():
        found[part] = warehouse.sql(query, person=person).to_pylist() if warehouse.has(table) else []
    found["events"] = {
        table.removeprefix("profile.event__"): warehouse.sql(
            f"SELECT * FROM {quoted_table(table)} WHERE person_id = $person", person=person
        ).to_pylist()
        for table in warehouse.tables("profile")
        if table.startswith("profile.event__")
    }
    found["consents"] = [
        event
        for one in found["identifiers"]
        if one["value"] is not None
        for event in ledger.history(one["type"], one["value"])
    ]
    found["disclosures"] = _disclosures(loaded, warehouse, person)
    return found


def _disclosures(loaded: Loaded, warehouse: DuckDBWarehouse, person: str) -> list[dict[str, Any]]:
    """Return who holds the person now, with what, why and under which guarantees (CJEU C-154/21: whom, by name)."""
    if not warehouse.has("delivery.ack"):
        return []
    query = "SELECT sync, batch_id, acked_at FROM delivery.ack WHERE person_id = $person ORDER BY sync"
    told = []
    for row in warehouse.sql(query, person=person).to_pylist():
        sync = loaded.job.syncs.get(row["sync"])
        allowed = loaded.policy.destinations.get(sync.destination) if sync else None
        if sync and allowed:
            row |= {
                "recipient": sync.destination,
                "role": allowed.role,
                "transfer": allowed.transfer.mechanism,
                "purpose": sync.purpose,
                "data": [*sync.identifiers, *sync.fields.values()],
                "imputed": _imputed(warehouse, imputed_columns(warehouse, loaded.policy, sync.target()), person),
            }
        told.append(row)
    return told


def _imputed(warehouse: DuckDBWarehouse, columns: Sequence[str], person: str) -> list[str]:
    """Return which of some columns have an imputed value for a person, as of the last run."""
    found = warehouse.sql(f"SELECT * FROM {SERVED} WHERE person_id = $person", person=person) if columns else None
    return [name for name in columns if found and found[name][0].as_py() is not None]


def _purposes(loaded: Loaded) -> dict[str, Any]:
    return {
        name: {"description": one.description, "basis": dict(one.basis), "consent_lasts_months": one.ttl.months}
        for name, one in loaded.policy.purposes.items()
    }
