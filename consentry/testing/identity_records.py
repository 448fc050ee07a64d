"""Build the canonical tables that resolve reads, from a few words a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from consentry.identity.config import IdentityConfig
from consentry.identity.resolution import Resolution
from consentry.identity.resolve import resolve
from consentry.warehouse import DuckDBWarehouse

_LINK = pa.schema(
    [
        ("record_id", pa.string()),
        ("source", pa.string()),
        ("trust", pa.int32()),
        ("type", pa.string()),
        ("value", pa.string()),
        ("region", pa.string()),
        ("seen_at", pa.timestamp("us", "UTC")),
    ]
)
_CUSTOMER = pa.schema(
    [
        ("record_id", pa.string()),
        ("source", pa.string()),
        ("trust", pa.int32()),
        ("updated_at", pa.timestamp("us", "UTC")),
        ("email", pa.string()),
        ("phone", pa.string()),
        ("given_name", pa.string()),
        ("family_name", pa.string()),
        ("city", pa.string()),
    ]
)
Values = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its identifiers by type, and what a customer record says; an event has no columns."""

    record_id: str
    ids: Mapping[str, Values] = field(default_factory=dict)
    region: str | None = None
    trust: int = 1
    updated_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    columns: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Return the part of the record id before the colon."""
        return self.record_id.partition(":")[0]


def fill(warehouse: DuckDBWarehouse, records: Iterable[Record]) -> None:
    """Replace clean.link and clean.customer; records of the source `web` are events."""
    whole = list(records)
    links = [_link(record, type_, value) for record in whole for type_, value in _pairs(record)]
    customers = [_customer(record) for record in whole if record.source != "web"]
    warehouse.write("clean.link", [pa.RecordBatch.from_pylist(links, _LINK)], schema=_LINK)
    warehouse.write("clean.customer", [pa.RecordBatch.from_pylist(customers, _CUSTOMER)], schema=_CUSTOMER)


def run(
    warehouse: DuckDBWarehouse, records: Iterable[Record], config: IdentityConfig | None = None, run_id: str = "run-1"
) -> Resolution:
    """Fill the clean tables and resolve them."""
    fill(warehouse, records)
    return resolve(warehouse, config or IdentityConfig(), run_id=run_id)


def groups(warehouse: DuckDBWarehouse) -> set[frozenset[str]]:
    """Return the current partition of the records."""
    found: dict[str, set[str]] = {}
    for record, person in ids(warehouse).items():
        found.setdefault(person, set()).add(record)
    return {frozenset(records) for records in found.values()}


def ids(warehouse: DuckDBWarehouse) -> dict[str, str]:
    """Return the current person of each record."""
    query = "SELECT record_id, person_id FROM identity.membership WHERE valid_to_run IS NULL"
    rows = warehouse.sql(query).to_pylist()
    assert len({row["record_id"] for row in rows}) == len(rows)
    return {row["record_id"]: row["person_id"] for row in rows}


def together(warehouse: DuckDBWarehouse, *records: str) -> bool:
    """Tell whether all these records are one person."""
    current = ids(warehouse)
    return len({current[record] for record in records}) == 1


def _pairs(record: Record) -> Iterable[tuple[str, str]]:
    for type_, values in record.ids.items():
        for value in [values] if isinstance(values, str) else values:
            yield type_, value


def _link(record: Record, type_: str, value: str) -> dict[str, object]:
    return {
        "record_id": record.record_id,
        "source": record.source,
        "trust": record.trust,
        "type": type_,
        "value": value,
        "region": record.region,
        "seen_at": record.updated_at,
    }


def _customer(record: Record) -> dict[str, object]:
    meta: dict[str, object] = {
        "record_id": record.record_id,
        "source": record.source,
        "trust": record.trust,
        "updated_at": record.updated_at,
    }
    known: dict[str, object] = {
        name: record.ids.get(name) for name in ("email", "phone") if isinstance(record.ids.get(name), str)
    }
    return meta | known | dict(record.columns)
