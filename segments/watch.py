"""Is a segment too small, stale, or suddenly another size? Keep its history, and hold its syncs where that is asked.

`segment.history` has one row a segment and run; `segment.hold` names the segments whose syncs wait, with the reason.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from consentry.segments.catalog import Catalog
from consentry.segments.limits import Action, Limits
from consentry.segments.reads import Input, inputs_of
from consentry.segments.segment import Segment
from consentry.warehouse import Warehouse

HISTORY = "segment.history"
HOLD = "segment.hold"
_REMEMBERED = 90
_ENOUGH = 5
# Scales the median absolute deviation to the standard deviation of a normal distribution.
_ROBUST = 1.4826


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a segment that its owner should know. code: small, stale or anomaly."""

    segment: str
    code: str
    action: Action
    sentence: str


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many members each segment has, out of how many people."""

    members: Mapping[str, int]
    population: int


def watch(
    warehouse: Warehouse,
    segments: Sequence[Segment],
    catalog: Catalog,
    sizes: Sizes,
    limits: Limits,
    *,
    stale: Mapping[Input, str],
    now: datetime,
    run_id: str,
) -> list[Finding]:
    """Compare sizes with minimum and history, inputs with their promise; write segment.history and segment.hold.

    stale: the inputs that are older than promised, each with a sentence. Doing it again for a run changes nothing.
    """
    warehouse.sql(f"DELETE FROM {HISTORY} WHERE run_id = $run_id", run_id=run_id)
    past = _past(warehouse)
    reads = inputs_of(segments, catalog) if stale else {}
    found = [
        *(finding for segment in segments for finding in _small(segment, sizes, limits)),
        *(finding for segment in segments for finding in _odd(segment.name, sizes, past, limits, now)),
        *(finding for segment in segments for finding in _stale(segment.name, reads, stale, limits)),
    ]
    _write(warehouse, sizes, {item.segment for item in found if item.code == "stale"}, now=now, run_id=run_id)
    warehouse.sql(f"DELETE FROM {HOLD}")
    for item in found:
        if item.action == "block":
            row = {"segment": item.segment, "code": item.code, "sentence": item.sentence}
            warehouse.sql(f"INSERT INTO {HOLD} VALUES ($segment, $code, $sentence)", **row)
    return [item for item in found if item.action != "ignore"]


def make_tables(warehouse: Warehouse) -> None:
    """Make the tables of this module where they are not there yet."""
    columns = 'run_id TEXT, "at" TIMESTAMPTZ, segment TEXT, members BIGINT, population BIGINT, stale BOOLEAN'
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {HISTORY} ({columns})")
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {HOLD} (segment TEXT, code TEXT, sentence TEXT)")


def _small(segment: Segment, sizes: Sizes, limits: Limits) -> Iterator[Finding]:
    smallest = segment.smallest(sizes.population, limits.min_share)
    members = sizes.members[segment.name]
    if members < smallest:
        sentence = f"The segment {segment.name!r} has {members:,} members; its minimum is {smallest:,}."
        yield Finding(segment.name, "small", limits.on_small, sentence)


def _odd(
    name: str, sizes: Sizes, past: Mapping[str, list[tuple[datetime, int]]], limits: Limits, now: datetime
) -> Iterator[Finding]:
    earlier = past.get(name, [])
    # A shop's Monday is unlike its Sunday: the same weekday is the better comparison, once there is enough of it.
    alike = [members for at, members in earlier if at.weekday() == now.weekday()]
    values = alike if len(alike) >= _ENOUGH else [members for _, members in earlier]
    if len(values) < _ENOUGH:
        return
    middle = statistics.median(values)
    spread = _ROBUST * statistics.median(abs(value - middle) for value in values)
    # A history that never moved would make any change an alarm: two in a hundred, or one person, is no news.
    distance = abs(sizes.members[name] - middle) / max(spread, 0.02 * middle, 1.0)
    if distance > limits.anomaly:
        usual = f"it usually has {middle:,.0f}, and this is {distance:.0f} robust standard deviations away"
        sentence = f"The segment {name!r} has {sizes.members[name]:,} members; {usual}."
        yield Finding(name, "anomaly", limits.on_anomaly, sentence)


def _stale(
    name: str, reads: Mapping[str, Collection[Input]], stale: Mapping[Input, str], limits: Limits
) -> Iterator[Finding]:
    reasons = sorted({stale[item] for item in reads.get(name, ()) if item in stale})
    if reasons:
        yield Finding(name, "stale", limits.on_stale, f"The segment {name!r} is stale: {' '.join(reasons)}")


def _past(warehouse: Warehouse) -> dict[str, list[tuple[datetime, int]]]:
    query = (
        f'SELECT segment, "at", members FROM {HISTORY} WHERE NOT stale'
        f' QUALIFY row_number() OVER (PARTITION BY segment ORDER BY "at" DESC) <= {_REMEMBERED}'
    )
    found: dict[str, list[tuple[datetime, int]]] = {}
    for row in warehouse.sql(query).to_pylist():
        found.setdefault(row["segment"], []).append((row["at"], row["members"]))
    return found


def _write(warehouse: Warehouse, sizes: Sizes, stale: Iterable[str], *, now: datetime, run_id: str) -> None:
    warehouse.sql(
        f"INSERT INTO {HISTORY} SELECT $run_id, CAST($now AS TIMESTAMPTZ), segment, members, $population,"
        " list_contains($stale, segment) FROM (SELECT unnest($names) AS segment, unnest($members) AS members)",
        run_id=run_id,
        now=now,
        population=sizes.population,
        stale=[*stale, ""],
        names=list(sizes.members),
        members=list(sizes.members.values()),
    )
