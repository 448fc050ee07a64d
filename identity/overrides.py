"""Values that a steward set by hand in golden records: records of their own, with who, when and why.

An override hangs on the record that gave the value it replaces, so that it stays with that record's person through
every merge and split. It holds a personal value, and so lies in the identity zone, not in the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consentry.errors import ConfigError
from consentry.identity.config import IdentityConfig, kind_of
from consentry.identity.decisions import now
from consentry.model.ids import uuid7s
from consentry.model.names import did_you_mean, quoted
from consentry.warehouse import Warehouse

TABLE = "identity.golden_override"
# Of each person and field the newest that was not ended.
_HOLDING = (
    f"SELECT m.person_id, o.* FROM {TABLE} o JOIN identity.membership m ON m.record_id = o.record_id"
    " AND m.valid_to_run IS NULL WHERE o.ended_at IS NULL{counts}"
    " QUALIFY row_number() OVER (PARTITION BY m.person_id, o.field ORDER BY o.override_id DESC) = 1"
)


def override(
    warehouse: Warehouse, config: IdentityConfig, person: str, field: str, value: str, *, by: str, why: str
) -> str:
    """Set a field of a golden record from the next run on; return the id of the override.

    Raises ConfigError when there is no such field, when it cannot hold the value, or when it identifies people: an
    address nobody's record has would be reached on nobody's consent.
    """
    columns = warehouse.columns("identity.golden")
    fields = [name for name in columns if name != "person_id"]
    if field not in fields:
        raise ConfigError(f"Golden records have no field {field!r}{did_you_mean(field, fields) or '.'}")
    if field in config.identifiers or kind_of(field) in ("email", "phone"):
        raise ConfigError(f"The field {field!r} identifies people. Correct it at its source.")
    fits = warehouse.sql(f"SELECT TRY_CAST($value AS {columns[field]}) IS NOT NULL AS ok", value=value)
    if not fits["ok"][0].as_py():
        raise ConfigError(f"The field {field!r} holds {columns[field]}, and the value is none.")
    made = uuid7s(1)[0]
    warehouse.sql(
        f"INSERT INTO {TABLE} SELECT $id, $record, $field, $value, $by, $why, $at, NULL",
        id=made,
        record=_anchor(warehouse, person, field),
        field=field,
        value=value,
        by=by,
        why=why,
        at=now(),
    )
    return made


def end_override(warehouse: Warehouse, person: str, field: str) -> int:
    """Let the records decide over a field again, from the next run on; return how many overrides ended."""
    held = (
        "ended_at IS NULL AND field = $field AND record_id IN"
        " (SELECT record_id FROM identity.membership WHERE person_id = $person AND valid_to_run IS NULL)"
    )
    params = {"field": field, "person": person}
    ending = int(warehouse.sql(f"SELECT count(*) AS n FROM {TABLE} WHERE {held}", **params)["n"][0].as_py())
    warehouse.sql(f"UPDATE {TABLE} SET ended_at = $at WHERE {held}", at=now(), **params)
    return ending


# A listed override is plain JSON.
def overrides(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return the overrides that hold, without their values."""
    holding = _HOLDING.format(counts="")
    query = f"SELECT person_id, field, override_id, said_by, why, decided_at FROM ({holding}) ORDER BY override_id"
    return list(warehouse.sql(query).to_pylist())


def apply_overrides(
    warehouse: Warehouse, fields: Sequence[str], *, golden: str, sources: str | None = None, left_out: str | None = None
) -> None:
    """Write the overrides over staged golden records, and their provenance as of the source `steward`.

    left_out: a table of records that do not count; what was set in place of what they say does not count either.
    """
    if not warehouse.count(TABLE):
        return
    holding = _HOLDING.format(counts=f" AND o.record_id NOT IN (SELECT record_id FROM {left_out})" if left_out else "")
    columns = warehouse.columns(golden)
    for field in fields:
        warehouse.sql(
            f"UPDATE {golden} SET {quoted(field)} = coalesce(TRY_CAST(o.value AS {columns[field]}), {quoted(field)})"
            f" FROM ({holding}) o WHERE o.person_id = {golden.partition('.')[2]}.person_id AND o.field = $field",
            field=field,
        )
    if sources:
        warehouse.sql(f"DELETE FROM {sources} WHERE (person_id, field) IN (SELECT (person_id, field) FROM ({holding}))")
        warehouse.sql(f"INSERT INTO {sources} SELECT person_id, field, record_id, 'steward' FROM ({holding})")


def _anchor(warehouse: Warehouse, person: str, field: str) -> str:
    found = warehouse.sql(
        "SELECT m.record_id FROM identity.membership m LEFT JOIN identity.golden_source s"
        " ON s.person_id = m.person_id AND s.record_id = m.record_id AND s.field = $field"
        " WHERE m.person_id = $person AND m.valid_to_run IS NULL"
        " ORDER BY s.record_id IS NULL, m.record_id LIMIT 1",
        field=field,
        person=person,
    )
    record: str = found["record_id"][0].as_py()
    return record
