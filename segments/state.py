"""What the last evaluation knew: when it was, of which definitions, and what it worked out of the population."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pyroaring import BitMap

from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.scores import Figures
from consentry.segments.segment import Segment
from consentry.segments.spell import spell, spell_value
from consentry.warehouse import Warehouse

STATE = "segment.evaluated"
_COLUMNS = 'run_id TEXT, "at" TIMESTAMPTZ, definition TEXT, thresholds TEXT, figures TEXT, people BLOB'


@dataclass(frozen=True, slots=True)
class State:
    """The last evaluation. thresholds: percentiles as rules spell them. people: who was in the profile, by ordinal."""

    at: datetime
    definition: str
    thresholds: Mapping[str, float | None]
    figures: Mapping[str, Figures | None]
    people: BitMap


def fingerprint(segments: Sequence[Segment], catalog: Catalog, served: Mapping[str, str]) -> str:
    """Name what is evaluated: another name, another meaning.

    served: the versions of what models and experiments say.
    """
    written = [
        (
            segment.name,
            None if segment.rule is None else spell(segment.rule),
            None if segment.group is None else (segment.group.group, segment.group.priority),
            None if segment.group is None or segment.group.score is None else spell_value(segment.group.score),
            segment.fallback_of,
            segment.static,
        )
        for segment in sorted(segments, key=lambda segment: segment.name)
    ]
    known = (sorted(catalog.attributes.items()), sorted((e, sorted(p.items())) for e, p in catalog.events.items()))
    made = sorted((name, repr(found)) for name, found in (*catalog.scores.items(), *catalog.served.items()))
    whole = (written, known, catalog.time_zone, made, sorted(served.items()))
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def make_tables(warehouse: Warehouse) -> None:
    """Make the table of the last evaluation where it is not there yet."""
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {STATE} ({_COLUMNS})")


def write_state(warehouse: Warehouse, state: State, *, run_id: str) -> None:
    """Remember an evaluation in the place of the one before."""
    warehouse.sql(f"DELETE FROM {STATE}")
    warehouse.sql(
        f"INSERT INTO {STATE} VALUES ($run_id, $at, $definition, $thresholds, $figures, $people)",
        run_id=run_id,
        at=state.at,
        definition=state.definition,
        thresholds=json.dumps(state.thresholds),
        figures=json.dumps(state.figures),
        people=state.people.serialize(),
    )


def read_state(warehouse: Warehouse) -> State | None:
    """Return the last evaluation, None when there was none."""
    if not warehouse.has(STATE):
        return None
    rows = warehouse.sql(f"SELECT * FROM {STATE}").to_pylist()
    if not rows:
        return None
    row = rows[0]
    figures = {name: None if found is None else tuple(found) for name, found in json.loads(row["figures"]).items()}
    people = BitMap.deserialize(row["people"])
    return State(row["at"], row["definition"], json.loads(row["thresholds"]), figures, people)


def spelled(thresholds: Mapping[ast.Percentile, float | None]) -> dict[str, float | None]:
    """Name percentiles as rules spell them."""
    return {spell_value(percentile): value for percentile, value in thresholds.items()}
