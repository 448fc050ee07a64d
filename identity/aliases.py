"""Follow an old person id to the person it means today."""

from __future__ import annotations

from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON

# Whatever somebody typed in place of an id is nobody's.
_NEXT = f"SELECT status, merged_into FROM identity.person WHERE person_id = TRY_CAST($person AS {PERSON})"


def resolve_alias(warehouse: Warehouse, person_id: str) -> str | None:
    """Return the id under which a person is kept now, or None when the id was never given or is erased.

    An id that went into another leads there, over any number of steps; the id of somebody whose records were
    scattered leads to the one who has most of them.
    """
    if not warehouse.has("identity.person"):
        return None
    seen: set[str] = set()
    while person_id not in seen:
        seen.add(person_id)
        row = next(iter(warehouse.sql(_NEXT, person=person_id).to_pylist()), None)
        if row is None or row["status"] == "erased":
            return None
        if row["merged_into"] is None:
            return person_id
        person_id = row["merged_into"]
    return None
