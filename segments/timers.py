"""When does each person's answer next change by time alone? One timer a person, so that nobody has to be looked at.

An evaluation leaves `segment.due` behind, with everybody's timer; a refresh appends the timers of those it decided
anew. An older timer of theirs may stand beside it: it costs one look at a person for whom nothing changed.
`segment.timer` shows each person's next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyroaring import BitMap

from consentry.segments import ast
from consentry.segments.bits import bitmap
from consentry.segments.clock import MICROS, Clock, micros
from consentry.segments.edges import Edge, Edges, Time
from consentry.segments.people import ORDINALS
from consentry.warehouse import Warehouse

DUE = "segment.due"
TIMER = "segment.timer"
NEVER = 2**62
_SCHEMA = pa.schema([("ordinal", pa.uint32()), ("due_us", pa.int64())])
Instants = NDArray[np.int64]
Places = NDArray[np.int64]


@dataclass(slots=True)
class Timers:
    """People's timers as times become known.

    due: microseconds since 1970, one a person. people: their ordinals; None for everybody. read: the times known.
    """

    edges: Mapping[Time, Sequence[Edge]]
    clock: Clock
    due: Instants
    people: Places | None
    read: set[Time] = field(default_factory=set)

    @classmethod
    def unset(cls, found: Edges, clock: Clock, size: int, *, people: Places | None = None) -> Timers:
        """Return the timers of `size` people of whom nothing is known yet."""
        return cls(found.by_time(), clock, np.full(size, NEVER), people)

    @property
    def unread(self) -> list[Time]:
        """Return the times with edges that were not noted yet."""
        return [time for time in self.edges if time not in self.read]

    def since(self, time: Time) -> int:
        """Return from when on a time still has an edge before it, in microseconds since 1970; NEVER without edges."""
        own = self.edges.get(time, ())
        return min((self._begin(edge) for edge in own), default=NEVER)

    def note(self, time: Time, people: Places, person: Places, times: Instants) -> None:
        """Set the timers of people who are due before. person: whose each of the times is, by place in `people`."""
        self.read.add(time)
        if time in self.edges:
            earliest = np.full(len(people), NEVER)
            np.minimum.at(earliest, person, self._due(self.edges[time], times))
            self.due[people] = np.minimum(self.due[people], earliest)

    def _begin(self, edge: Edge) -> int:
        return self.clock.bounds(ast.CalendarDays(edge.days))[0] if edge.days else self.clock.ago(edge.seconds)

    def _due(self, own: Sequence[Edge], times: Instants) -> Instants:
        now = self.clock.now_us
        lengths = sorted({edge.seconds * MICROS for edge in own if not edge.days})
        passed: NDArray[np.integer[Any]] = np.zeros(len(times), dtype=np.uint8 if len(lengths) < 256 else np.int64)
        for length in lengths:
            # Windows hold both their ends: at the edge itself it is not over yet. What has come true stays so.
            passed += times < now - length if length else times <= now
        due: Instants = times + np.array([*lengths, NEVER])[passed]
        np.maximum(due, now + 1, out=due)
        days = [self._begin(edge) for edge in own if edge.days]
        if days:  # they end at midnight: it is the next one at the earliest
            inside = times >= min(days)
            due[inside] = np.minimum(due[inside], self.clock.next_midnight())
        return due


def make_timers(warehouse: Warehouse) -> None:
    """Make the table of timers where it is not there yet, and the view of each person's next."""
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {DUE} (ordinal UINTEGER, due_us BIGINT)")
    warehouse.sql(
        f"CREATE OR REPLACE VIEW {TIMER} AS SELECT o.person_id, make_timestamptz(min(d.due_us)) AS due_at"
        f" FROM {DUE} AS d JOIN {ORDINALS} AS o USING (ordinal)"
        f' WHERE d.due_us > (SELECT max(epoch_us("at")) FROM segment.evaluated) GROUP BY o.person_id'
    )


def write_timers(warehouse: Warehouse, timers: Timers) -> None:
    """Write everybody's timer in the place of all before, or append those of some."""
    waiting = np.flatnonzero(timers.due < NEVER // 2)
    ordinals = waiting if timers.people is None else timers.people[waiting]
    rows = pa.record_batch([ordinals.astype(np.uint32), timers.due[waiting]], schema=_SCHEMA)
    warehouse.write(DUE, [rows], schema=_SCHEMA, mode="replace" if timers.people is None else "append")


def due_between(warehouse: Warehouse, before: datetime, now: datetime) -> BitMap:
    """Return whose timers went off after `before`, up to now."""
    query = f"SELECT ordinal FROM {DUE} WHERE due_us > $before AND due_us <= $now"
    return bitmap(warehouse.sql(query, before=micros(before), now=micros(now))["ordinal"].to_numpy())


def earliest_due(warehouse: Warehouse, *, after: datetime) -> datetime | None:
    """Return when somebody's answer next changes by time alone, None when nobody's does or no timer was ever set."""
    if not warehouse.has(DUE):
        return None
    query = f"SELECT min(due_us) AS due FROM {DUE} WHERE due_us > $after"
    found = warehouse.sql(query, after=micros(after))["due"][0].as_py()
    return None if found is None else datetime.fromtimestamp(found / MICROS, UTC)
