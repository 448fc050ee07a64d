"""Who was in which segment at an earlier instant: what was published then, read from the changes that are kept.

The evaluation in force at an instant is the one with the latest time at or before it; of two with the same time the
later run. Times are those of the job's clock, which a job may fix or put back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from consentry.segments.membership import CHANGE_SET, PEOPLE_SET
from consentry.segments.people import ORDINALS
from consentry.segments.watch import HISTORY
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation of the segments, and those that were defined then."""

    run_id: str
    at: datetime
    segments: frozenset[str]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a person stood to a segment: in it or out of it, since when and by which run."""

    segment: str
    member: bool
    since: datetime
    run_id: str


def evaluation_at(warehouse: Warehouse, at: datetime) -> Evaluation | None:
    """Return the evaluation that was in force at an instant, None before the first."""
    query = (
        f'SELECT run_id, "at", list(segment) AS segments FROM {HISTORY} WHERE "at" <= $at'
        ' GROUP BY ALL ORDER BY "at" DESC, run_id DESC LIMIT 1'
    )
    rows = warehouse.sql(query, at=at).to_pylist()
    return Evaluation(rows[0]["run_id"], rows[0]["at"], frozenset(rows[0]["segments"])) if rows else None


def is_numbered(warehouse: Warehouse, person: str) -> bool:
    """Say whether somebody was ever in the profile when segments were evaluated, and was not erased since."""
    query = f"SELECT 1 AS n FROM {ORDINALS} WHERE person_id = TRY_CAST($person AS {PERSON})"
    return len(warehouse.sql(query, person=person).to_pylist()) > 0


def standings(warehouse: Warehouse, person: str, evaluation: Evaluation) -> dict[str, Standing]:
    """Return how a person stood after an evaluation to each segment that they had ever come into, by its name."""
    # Sets are numbered in the order they are published, and run ids sort in the order runs begin.
    query = (
        f'SELECT c.segment, c.change, c."at", c.run_id FROM {CHANGE_SET} AS c JOIN {PEOPLE_SET} AS p USING (set_id)'
        f" JOIN {ORDINALS} AS o ON list_contains(p.ordinals, o.ordinal)"
        f" WHERE o.person_id = TRY_CAST($person AS {PERSON})"
        f" AND c.set_id <= (SELECT max(set_id) FROM {CHANGE_SET} WHERE run_id <= $run_id)"
        " QUALIFY row_number() OVER (PARTITION BY c.segment ORDER BY c.set_id DESC) = 1 ORDER BY c.segment"
    )
    rows = warehouse.sql(query, person=person, run_id=evaluation.run_id).to_pylist()
    return {
        row["segment"]: Standing(row["segment"], row["change"] == "enter", row["at"], row["run_id"]) for row in rows
    }
