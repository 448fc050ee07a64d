"""Decide who is in which segment, for everyone, and publish it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from consentry.segments.atoms import Population, open_population
from consentry.segments.bits import Bits
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock
from consentry.segments.groups import assign
from consentry.segments.membership import publish
from consentry.segments.segment import Segment, steps
from consentry.segments.spell import spell_value
from consentry.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a run of the segments found.

    members, entered, left: people per segment; `left` also names segments that are no longer defined.
    thresholds: the value of each percentile, as the rule spells it. undersized: segments below their minimum.
    notes: sentences for a person to read.
    """

    members: Mapping[str, int]
    population: int
    entered: Mapping[str, int]
    left: Mapping[str, int]
    thresholds: Mapping[str, float | None]
    undersized: frozenset[str]
    notes: tuple[str, ...]


def evaluate(
    warehouse: Warehouse, segments: Sequence[Segment], catalog: Catalog, *, now: datetime, run_id: str
) -> Evaluated:
    """Decide all segments over profile.person and profile.event__<event>, at the one time `now`.

    Writes segment.membership and segment.change in one atomic step. The rules have to be checked against the
    same catalogue (`read_segments` does). Raises StopRun when a table or column of the profile is missing.
    """
    now = now if now.tzinfo else now.replace(tzinfo=UTC)
    rules = [segment.rule for segment in segments if segment.rule is not None]
    scores = [segment.group.score for segment in segments if segment.group and segment.group.score]
    population = open_population(warehouse, catalog, Clock(now, catalog.zone()), [*rules, *scores])
    population.decide(rules, keep=scores)
    members = _members(segments, population)
    changes = publish(warehouse, members, now=now, run_id=run_id)
    sizes = {segment.name: len(members[segment.name]) for segment in segments}
    people = len(population.alive)
    small = {s.name: s.smallest(people) for s in segments if sizes[s.name] < s.smallest(people)}
    return Evaluated(
        members=sizes,
        population=people,
        entered=changes.entered,
        left=changes.left,
        thresholds={spell_value(percentile): value for percentile, value in population.thresholds.items()},
        undersized=frozenset(small),
        notes=_notes(sizes, small, people),
    )


def _members(segments: Sequence[Segment], population: Population) -> dict[str, Bits]:
    """Follow the steps: rules to bits, groups to winners, both to members."""
    known = {segment.name: segment for segment in segments}
    held: dict[str, Bits] = {}
    members: dict[str, Bits] = {}
    for step in steps(segments):
        if step.kind == "rule":
            rule = known[step.name].rule
            bits = Bits.none(population.size) if rule is None else population.holds(rule, members)
            held[step.name] = bits & population.alive
        elif step.kind == "group":
            members |= _group(step.name, segments, held, population)
        elif step.name not in members:
            members[step.name] = held[step.name]
    return members


def _group(name: str, segments: Sequence[Segment], held: Mapping[str, Bits], population: Population) -> dict[str, Bits]:
    return assign(
        name,
        [segment for segment in segments if segment.group and segment.group.group == name],
        held,
        fallback=next((segment.name for segment in segments if segment.fallback_of == name), None),
        everyone=population.alive,
        score=population.value,
    )


def _notes(sizes: Mapping[str, int], small: Mapping[str, int], population: int) -> tuple[str, ...]:
    if population == 0:
        return ("There is nobody in the profile, so that every segment is empty.",)
    return tuple(
        f"The segment {name!r} has {sizes[name]:,} members; its minimum is {smallest:,}."
        for name, smallest in small.items()
    )
