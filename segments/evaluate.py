"""Decide who is in which segment, for everyone, and publish it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from pyroaring import BitMap

from consentry.segments import ast, holdout, membership, state, transitions, watch
from consentry.segments.atoms import Population, open_population
from consentry.segments.bits import Bits, roaring
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock
from consentry.segments.edges import edges
from consentry.segments.frozen import bits_of, freeze, frozen
from consentry.segments.groups import assign
from consentry.segments.holdout import Split
from consentry.segments.limits import Limits
from consentry.segments.reads import Input
from consentry.segments.scores import Figures
from consentry.segments.segment import Segment, steps
from consentry.segments.served import versions
from consentry.segments.state import State, fingerprint, spelled
from consentry.segments.timers import Timers, make_timers, write_timers
from consentry.segments.watch import Finding, Sizes
from consentry.warehouse import Warehouse

STATED = Limits(min_share=0.0)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a run of the segments found.

    definition: the fingerprint of the segments and the catalogue that were evaluated.
    members, entered, left: people per segment; `left` also names segments that are no longer defined.
    thresholds: the value of each percentile, as the rule spells it. figures: what each score knows of
    the population (cut points, ranges). findings: segments that are too small, stale or of
    an unusual size. holdouts: how many members are held back. notes: sentences for a person to read.
    """

    definition: str
    members: Mapping[str, int]
    population: int
    entered: Mapping[str, int]
    left: Mapping[str, int]
    thresholds: Mapping[str, float | None]
    figures: Mapping[str, Figures | None]
    findings: tuple[Finding, ...]
    holdouts: Mapping[str, Split]
    notes: tuple[str, ...]

    @property
    def undersized(self) -> frozenset[str]:
        """Name the segments below their minimum."""
        return frozenset(finding.segment for finding in self.findings if finding.code == "small")


def evaluate(
    warehouse: Warehouse,
    segments: Sequence[Segment],
    catalog: Catalog,
    *,
    now: datetime,
    run_id: str,
    limits: Limits = STATED,
    stale: Mapping[Input, str] = MappingProxyType({}),
) -> Evaluated:
    """Decide all segments over profile.person and profile.event__<event>, at the one time `now`.

    Writes memberships, changes, holdouts, history, holds and timers in one atomic step. The rules have to be checked
    against the same catalogue (`read_segments` does). limits: without them only minimums that segments state count.
    stale: inputs older than promised, each with a sentence. Raises StopRun when a table or column of the profile is
    missing.
    """
    now = now if now.tzinfo else now.replace(tzinfo=UTC)
    nodes, clock = nodes_of(segments), Clock(now, catalog.zone())
    definition = fingerprint(segments, catalog, versions(warehouse))
    population = open_population(warehouse, catalog, clock, nodes)
    timers = population.timers = Timers.unset(edges(nodes, catalog), clock, population.size)
    decide(segments, population)
    fixed = frozen(warehouse, segments)
    members = {name: roaring(bits) for name, bits in decided(segments, population, fixed).items()}
    for part in (membership, transitions, holdout, watch, state):
        part.make_tables(warehouse)
    make_timers(warehouse)
    return finish(
        population,
        segments,
        members,
        definition=definition,
        timers=timers,
        run_id=run_id,
        limits=limits,
        stale=stale,
    )


@dataclass(frozen=True, slots=True)
class Previewed:
    """How many people the rule of a segment holds for, and the ordinals of those whom its group leaves it."""

    rule: int
    members: tuple[int, ...]


def preview(
    warehouse: Warehouse, segments: Sequence[Segment], catalog: Catalog, *, now: datetime
) -> dict[str, Previewed]:
    """Decide all segments as `evaluate` does, and publish nothing."""
    clock = Clock(now if now.tzinfo else now.replace(tzinfo=UTC), catalog.zone())
    population = open_population(warehouse, catalog, clock, nodes_of(segments))
    decide(segments, population)
    members = decided(segments, population, frozen(warehouse, segments))
    found: dict[str, Previewed] = {}
    for segment in segments:
        inside = members[segment.name]
        held = inside if segment.rule is None else population.holds(segment.rule, members) & population.alive
        found[segment.name] = Previewed(len(held), tuple(inside.ordinals().tolist()))
    return found


def nodes_of(segments: Sequence[Segment]) -> list[ast.Rule | ast.Value]:
    """Return the atoms of all rules, each once however many share it, and the group scores."""
    rules = (segment.rule for segment in segments if segment.rule is not None)
    return [*dict.fromkeys(atom for rule in rules for atom in ast.atoms(rule)), *_group_scores(segments)]


def _group_scores(segments: Sequence[Segment]) -> list[ast.Value]:
    return [segment.group.score for segment in segments if segment.group and segment.group.score]


def decide(segments: Sequence[Segment], population: Population) -> None:
    """Decide everything that the segments need of a population."""
    rules = [segment.rule for segment in segments if segment.rule is not None]
    population.decide(rules, keep=_group_scores(segments))


def finish(
    population: Population,
    segments: Sequence[Segment],
    members: Mapping[str, BitMap],
    *,
    definition: str,
    timers: Timers,
    run_id: str,
    limits: Limits,
    stale: Mapping[Input, str],
    before: Mapping[str, BitMap] | None = None,
) -> Evaluated:
    """Publish the members of each segment, with everything that is kept about a run, in one atomic step.

    definition: the name of what was evaluated. timers: of those who were decided. before: who was in the segments, when
    that was read already.
    """
    warehouse, catalog, now = population.warehouse, population.catalog, population.clock.now
    sizes = Sizes({segment.name: len(members[segment.name]) for segment in segments}, len(population.alive))
    thresholds = spelled(population.thresholds)
    people = roaring(population.alive)
    with warehouse.transaction():
        changes = membership.publish(warehouse, members, now=now, run_id=run_id, before=before)
        freeze(warehouse, segments, members, now=now)
        transitions.note_groups(warehouse, segments)
        holdouts = holdout.hold_out(warehouse, segments)
        findings = watch.watch(warehouse, segments, catalog, sizes, limits, stale=stale, now=now, run_id=run_id)
        state.write_state(warehouse, State(now, definition, thresholds, population.figures, people), run_id=run_id)
        write_timers(warehouse, timers)
    return Evaluated(
        definition=definition,
        members=sizes.members,
        population=sizes.population,
        entered=changes.entered,
        left=changes.left,
        thresholds=thresholds,
        figures=population.figures,
        findings=tuple(findings),
        holdouts=holdouts,
        notes=_notes(sizes, findings, holdouts),
    )


def decided(segments: Sequence[Segment], population: Population, fixed: Mapping[str, BitMap]) -> dict[str, Bits]:
    """Return the members of each segment. It follows the steps: rules to bits, groups to winners, both to members.

    fixed: who is in the static segments.
    """
    known = {segment.name: segment for segment in segments}
    held: dict[str, Bits] = {}
    members: dict[str, Bits] = {}
    for step in steps(segments):
        if step.kind == "rule":
            held[step.name] = _held(known[step.name], population, members, fixed) & population.alive
        elif step.kind == "group":
            members |= _group(step.name, segments, held, population)
        elif step.name not in members:
            members[step.name] = held[step.name]
    return members


def _held(segment: Segment, population: Population, members: Mapping[str, Bits], fixed: Mapping[str, BitMap]) -> Bits:
    if segment.name in fixed:
        return bits_of(fixed[segment.name], population)
    return Bits.none(population.size) if segment.rule is None else population.holds(segment.rule, members)


def _group(name: str, segments: Sequence[Segment], held: Mapping[str, Bits], population: Population) -> dict[str, Bits]:
    return assign(
        name,
        [segment for segment in segments if segment.group and segment.group.group == name],
        held,
        fallback=next((segment.name for segment in segments if segment.fallback_of == name), None),
        everyone=population.alive,
        score=population.value,
    )


def _notes(sizes: Sizes, findings: Sequence[Finding], holdouts: Mapping[str, Split]) -> tuple[str, ...]:
    if sizes.population == 0:
        return ("There is nobody in the profile, so that every segment is empty.",)
    split = (
        f"The holdout of the segment {name!r} is {found.held:,} of {found.members:,}, too far from {found.share:.0%}"
        " for chance. Check whether person ids changed."
        for name, found in holdouts.items()
        if found.is_mismatch
    )
    return (*(finding.sentence for finding in findings), *split)
