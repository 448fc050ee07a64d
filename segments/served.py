"""What models and experiments say of people, as rules see it: one value a person, as it was last worked out.

It is read from where it was written, and never worked out while rules are evaluated. Somebody it says nothing about
has no value. `segment.served` keeps the version of each, so that a refresh knows when something else is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from consentry.segments.ast import Type
from consentry.segments.people import ORDINALS, PLACE
from consentry.warehouse import Warehouse

VERSIONS = "segment.served"


@dataclass(frozen=True, slots=True)
class Served:
    """A value a person has elsewhere. query: gives `person_id` and `value`; table: the one it needs, if any.

    reads: what it was worked out from, ("event", name) or ("attribute", name).
    """

    type: Type
    query: str
    table: str
    params: Mapping[str, object] = field(default_factory=dict)
    reads: tuple[tuple[str, str], ...] = ()

    def rows(self, warehouse: Warehouse, *, among: str | None = None) -> Iterator[pa.RecordBatch]:
        """Yield ordinal and value of everyone, or place and value of those in a table; nothing before it is written."""
        if not warehouse.has(self.table):
            return
        kind = "VARCHAR" if self.type == "text" else "DOUBLE"
        number, some = (PLACE, f" JOIN {among} USING (ordinal)") if among else ("ordinal", "")
        query = (
            f"SELECT {number} AS ordinal, CAST(s.value AS {kind}) AS value FROM ({self.query}) AS s"
            f" JOIN {ORDINALS} AS o ON o.person_id = s.person_id{some}"
        )
        # The protocol's own keyword has another type than a bound value, which the checker cannot tell apart.
        yield from warehouse.stream(query, **self.params)  # type: ignore[arg-type]

    # Whatever the table holds: a number or a text.
    def of(self, warehouse: Warehouse, person: str) -> Any:
        """Return the value of one person, None when there is none."""
        if not warehouse.has(self.table):
            return None
        query = f"SELECT s.value FROM ({self.query}) AS s WHERE s.person_id = $person"
        found = warehouse.sql(query, person=person, **self.params)["value"].to_pylist()
        return found[0] if found else None


def served_to(warehouse: Warehouse, served: Mapping[str, Served], person: str) -> dict[str, Any]:
    """Return everything that is served about one person, by the name that rules use."""
    return {name: entry.of(warehouse, person) for name, entry in served.items()}


def versions(warehouse: Warehouse) -> dict[str, str]:
    """Return the version of everything that is served."""
    if not warehouse.has(VERSIONS):
        return {}
    rows = warehouse.sql(f"SELECT name, version FROM {VERSIONS} ORDER BY name").to_pylist()
    return {row["name"]: row["version"] for row in rows}


def note_version(warehouse: Warehouse, name: str, version: str) -> None:
    """Note that something else is served from now on; part of the transaction that writes it."""
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {VERSIONS} (name TEXT, version TEXT)")
    warehouse.sql(f"DELETE FROM {VERSIONS} WHERE name = $name", name=name)
    warehouse.sql(f"INSERT INTO {VERSIONS} VALUES ($name, $version)", name=name, version=version)
