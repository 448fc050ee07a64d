"""Bring memberships up to date for the people whose answers may have changed, and no others: exactly a full run.

Affected is (1) who is said to have changed, who came and who left, (2) whose timer went off, so that time alone may
have changed an answer, and (3) for whom a percentile or a score means something else now. Their answers are worked out
by the same code as everyone's; the others keep theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from pyroaring import BitMap

from consentry.segments import ast
from consentry.segments.atoms import Population, compares_with_everyone, open_population
from consentry.segments.bits import Bits, bitmap, ordinals_of, roaring
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock
from consentry.segments.edges import edges
from consentry.segments.evaluate import STATED, Evaluated, decide, decided, evaluate, finish, nodes_of
from consentry.segments.features import CHOSEN
from consentry.segments.frozen import frozen
from consentry.segments.limits import Limits
from consentry.segments.membership import rosters
from consentry.segments.people import ORDINALS, PLACE
from consentry.segments.reads import Input
from consentry.segments.segment import Segment
from consentry.segments.served import versions
from consentry.segments.spell import spell_value
from consentry.segments.state import State, fingerprint, read_state
from consentry.segments.timers import DUE, Timers, due_between
from consentry.warehouse import Warehouse


def refresh(
    warehouse: Warehouse,
    segments: Sequence[Segment],
    catalog: Catalog,
    *,
    now: datetime,
    run_id: str,
    touched: Collection[str] = (),
    limits: Limits = STATED,
    stale: Mapping[Input, str] = MappingProxyType({}),
) -> Evaluated:
    """Decide all segments at `now`, knowing what the last evaluation found; the result is that of `evaluate`.

    touched: the person ids of everybody whose attributes or events are others than at the last evaluation, however
    old the events. People who came into the profile or left it are noticed without being named. Evaluates everyone
    when segments, catalogue or what models say changed since, when nothing was evaluated yet, and when the clock went
    back.
    """
    now = now if now.tzinfo else now.replace(tzinfo=UTC)
    state, nodes = read_state(warehouse), nodes_of(segments)
    definition = fingerprint(segments, catalog, versions(warehouse))
    found = edges(nodes, catalog)
    if (
        state is None
        or state.definition != definition
        or now < state.at
        or found.everyone
        or not warehouse.has(DUE)
        or any(s.group and isinstance(s.group.score, ast.Percentile) for s in segments)
    ):
        return evaluate(warehouse, segments, catalog, now=now, run_id=run_id, limits=limits, stale=stale)
    clock = Clock(now, catalog.zone())
    whole = open_population(warehouse, catalog, clock, nodes)
    affected = _shifted(whole, nodes, state)
    alive = roaring(whole.alive)
    affected |= state.people ^ alive
    affected |= _numbers(warehouse, touched)
    affected |= due_between(warehouse, state.at, now)
    before = rosters(warehouse)
    some = _chosen(whole, affected & alive)
    timers = some.timers = Timers.unset(found, clock, some.size, people=some.places)
    members = _patched(some, segments, affected, before)
    return finish(
        whole,
        segments,
        members,
        definition=definition,
        timers=timers,
        before=before,
        run_id=run_id,
        limits=limits,
        stale=stale,
    )


def _shifted(whole: Population, nodes: Sequence[ast.Rule | ast.Value], state: State) -> BitMap:
    """Return for whom a percentile or score means something else than before, though they did not change themselves.

    What compares with everybody is worked out for everybody, with the population of now and with that of then.
    """
    atoms = {node for node in nodes if isinstance(node, ast.Atom) and compares_with_everyone(node)}
    scores = [node for node in nodes if isinstance(node, ast.Score)]
    if not atoms and not scores:
        return BitMap()
    whole.decide(atoms, keep=scores)
    before = replace(
        whole,
        clock=Clock(state.at, whole.clock.zone),
        bits={},
        kept=dict(whole.kept),
        thresholds={found: state.thresholds.get(spell_value(found)) for found in whole.thresholds},
        figures={name: state.figures.get(name) for name in whole.figures},
    )
    before.score_again(scores)
    moved = Bits.none(whole.size)
    for atom in atoms:
        moved = moved | (whole.bits[atom] - before.again(atom)) | (before.again(atom) - whole.bits[atom])
    for each in scores:
        now, then = whole.kept[each], before.kept[each]
        moved = moved | Bits.of(~((now == then) | (np.isnan(now) & np.isnan(then))))
    return roaring(moved & whole.alive)


def _numbers(warehouse: Warehouse, persons: Collection[str]) -> BitMap:
    if not persons:
        return BitMap()
    query = f"SELECT o.ordinal FROM {ORDINALS} o JOIN (SELECT unnest($persons) AS person_id) USING (person_id)"
    return BitMap(warehouse.sql(query, persons=list(persons))["ordinal"].to_pylist())


def _chosen(whole: Population, people: BitMap) -> Population:
    """Return some of the population, by ordinal, as a population of their own."""
    places = ordinals_of(people).astype(np.int64)
    schema = pa.schema([("ordinal", pa.uint32()), (PLACE, pa.uint32())])
    chosen = pa.record_batch([places.astype(np.uint32), np.arange(len(places), dtype=np.uint32)], schema=schema)
    whole.warehouse.write(CHOSEN, [chosen], schema=schema)
    return replace(
        whole,
        layout=replace(whole.layout, chosen=True),
        alive=Bits.all(len(places)),
        places=places,
        bits={},
        kept={},
    )


def _patched(
    some: Population, segments: Sequence[Segment], affected: BitMap, before: Mapping[str, BitMap]
) -> dict[str, BitMap]:
    """Return the members of each segment: the affected as they are decided now, the others as they were."""
    decide(segments, some)
    found = decided(segments, some, frozen(some.warehouse, segments))
    some.warehouse.drop(CHOSEN)
    assert some.places is not None
    return {
        name: _moved(before.get(name, BitMap()), affected, bitmap(some.places[bits.ordinals()].astype(np.uint32)))
        for name, bits in found.items()
    }


def _moved(before: BitMap, affected: BitMap, inside: BitMap) -> BitMap:
    """Return members, now that of the affected these are inside."""
    outside = (before & affected) - inside
    # Most segments stay as they are, and to compare a few people is quicker than to write out all the others.
    return (before - outside) | inside if outside or not inside <= before else before
