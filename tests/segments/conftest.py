"""A small catalogue, and a warehouse that holds given people: shared by the tests of segments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from consentry.config import Faults
from consentry.segments.ast import Type
from consentry.segments.catalog import Catalog
from consentry.segments.evaluate import Evaluated, evaluate
from consentry.segments.files import Segment, read_segments
from consentry.segments.person import Person
from consentry.warehouse import DuckDBWarehouse

NOW = datetime(2026, 3, 31, 12, 0, tzinfo=UTC)
CATALOG = Catalog(
    attributes={
        "age": "integer",
        "income": "number",
        "country": "text",
        "home": "text",
        "device": "text",
        "subscribed": "boolean",
        "born": "date",
        "seen": "timestamp",
    },
    events={
        "purchase": {"value": "number", "items": "integer", "category": "text", "gift": "boolean", "due": "date"},
        "product_view": {},
        "add_to_cart": {},
        "page_view": {"device": "text", "hour": "integer"},
        "page_time": {"page": "text", "seconds": "number"},
        "category_view": {"category": "text"},
        "login": {},
    },
)
_ARROW: Mapping[Type, pa.DataType] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
}
Populate = Callable[[Mapping[str, Person]], None]
Decide = Callable[..., Evaluated]
Write = Callable[[str], tuple[Segment, ...]]


def fill(warehouse: DuckDBWarehouse, catalog: Catalog, people: Mapping[str, Person]) -> None:
    """Write people to the profile tables."""
    fill_events(warehouse, catalog, people)
    persons = pa.schema([("person_id", pa.string()), *((n, _ARROW[kind]) for n, kind in catalog.attributes.items())])
    rows = [{"person_id": name, **person.attributes} for name, person in people.items()]
    warehouse.write("profile.person", [pa.RecordBatch.from_pylist(rows, schema=persons)], schema=persons)


def fill_events(warehouse: DuckDBWarehouse, catalog: Catalog, people: Mapping[str, Person]) -> None:
    """Write what people did to the profile tables."""
    for event, properties in catalog.events.items():
        columns = [("person_id", pa.string()), ("occurred_at", pa.timestamp("us", "UTC"))]
        schema = pa.schema([*columns, *((name, _ARROW[kind]) for name, kind in properties.items())])
        happened = [
            {"person_id": name, "occurred_at": found.at, **found.properties}
            for name, person in people.items()
            for found in person.events
            if found.name == event
        ]
        batch = pa.RecordBatch.from_pylist(happened, schema=schema)
        warehouse.write(f"profile.event__{event}", [batch], schema=schema)


def members(warehouse: DuckDBWarehouse) -> dict[str, set[str]]:
    """Return the published members of each segment that has any."""
    found: dict[str, set[str]] = {}
    for row in warehouse.sql("SELECT segment, person_id FROM segment.membership").to_pylist():
        found.setdefault(row["segment"], set()).add(row["person_id"])
    return found


def rule_segments(rules: Mapping[str, str], folder: Path, catalog: Catalog = CATALOG) -> tuple[Segment, ...]:
    """Read one segment for each rule, through a file."""
    path = folder / "rules.yaml"
    entries = [
        f'  - {{segment: {name}, description: test, purpose: ads, rule: "{rule}"}}' for name, rule in rules.items()
    ]
    path.write_text("segments:\n" + "\n".join(entries), encoding="utf-8")
    faults = Faults()
    segments = read_segments(path, catalog, faults)
    faults.check()
    return segments


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def catalog() -> Catalog:
    return CATALOG


@pytest.fixture
def warehouse() -> DuckDBWarehouse:
    return DuckDBWarehouse(threads=1)


@pytest.fixture
def populate(warehouse: DuckDBWarehouse) -> Populate:
    """Write people to the profile tables of the warehouse."""
    return lambda people: fill(warehouse, CATALOG, people)


@pytest.fixture
def who(warehouse: DuckDBWarehouse, tmp_path: Path) -> Callable[..., set[str]]:
    """Publish one rule over people and return its members."""

    def decide(rule: str, people: Mapping[str, Person], now: datetime = NOW, catalog: Catalog = CATALOG) -> set[str]:
        fill(warehouse, catalog, people)
        evaluate(warehouse, rule_segments({"s": rule}, tmp_path, catalog), catalog, now=now, run_id="run")
        return members(warehouse).get("s", set())

    return decide


@pytest.fixture
def published(warehouse: DuckDBWarehouse) -> Callable[[], dict[str, set[str]]]:
    return lambda: members(warehouse)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Read segments from the text of one YAML file; raises ConfigError with every fault."""

    def read(text: str) -> tuple[Segment, ...]:
        path = tmp_path / "segments.yaml"
        path.write_text(text, encoding="utf-8")
        faults = Faults()
        segments = read_segments(path, CATALOG, faults)
        faults.check()
        return segments

    return read


@pytest.fixture
def decide(warehouse: DuckDBWarehouse) -> Decide:
    """Evaluate segments over what the warehouse holds."""

    def run(segments: Sequence[Segment], *, at: datetime = NOW, run_id: str = "run") -> Evaluated:
        return evaluate(warehouse, segments, CATALOG, now=at, run_id=run_id)

    return run
