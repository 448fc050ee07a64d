"""Bring memberships up to date for the people whose answers may have changed, and no others: exactly a full run.

Affected is (1) who is said to have changed, who came and who left, (2) who crossed an edge of a window by time alone,
and (3) for whom a percentile or a score means something else now. Their answers are worked out by the same code as
everyone's; the others keep theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from pyroaring import BitMap

from consentry.model.names import quoted
from consentry.segments import ast
from consentry.segments.atoms import Population, compares_with_everyone, open_population, stream
from consentry.segments.bits import Bits, bitmap, ordinals_of, roaring
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock
from consentry.segments.edges import Edge, Edges, edges, merged
from consentry.segments.evaluate import STATED, Evaluated, decide, decided, evaluate, finish, nodes_of
from consentry.segments.features import CHOSEN, Query
from consentry.segments.frozen import frozen
from consentry.segments.limits import Limits
from consentry.segments.membership import rosters
from consentry.segments.people import ORDINALS, PLACE
from consentry.segments.segment import Segment
from consentry.segments.served import versions
from consentry.segments.spell import spell_value
from consentry.segments.state import State, fingerprint, read_state
from consentry.segments.watch import Input
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
    state = read_state(warehouse)
    if state is None or state.definition != fingerprint(segments, catalog, versions(warehouse)) or now < state.at:
        return evaluate(warehouse, segments, catalog, now=now, run_id=run_id, limits=limits, stale=stale)
    found = edges(with_scores(nodes_of(segments), catalog), catalog)
    if found.everyone or any(s.group and isinstance(s.group.score, ast.Percentile) for s in segments):
        return evaluate(warehouse, segments, catalog, now=now, run_id=run_id, limits=limits, stale=stale)
    whole = open_population(warehouse, catalog, Clock(now, catalog.zone()), nodes_of(segments))
    affected = _shifted(whole, segments, state)
    affected |= BitMap(state.people) ^ roaring(whole.alive)
    affected |= _numbers(warehouse, touched)
    affected |= _crossing(whole, found, Clock(state.at, catalog.zone()))
    before = rosters(warehouse)
    members = _patched(whole, segments, affected, before)
    return finish(whole, segments, members, run_id=run_id, limits=limits, stale=stale, before=before)


def with_scores(nodes: Sequence[ast.Node], catalog: Catalog) -> list[ast.Node]:
    """Add what the scores in rules and values are made of."""
    wanted = {node for root in nodes for node, _ in ast.walk(root) if isinstance(node, ast.Score)}
    made = [definition for each in wanted if (definition := catalog.scored(each)) is not None]
    return [*nodes, *(value for definition in made for value in definition.values)]


def _shifted(whole: Population, segments: Sequence[Segment], state: State) -> BitMap:
    """Return for whom a percentile or score means something else than before, though they did not change themselves.

    What compares with everybody is worked out for everybody, with the population of now and with that of then.
    """
    rules = [segment.rule for segment in segments if segment.rule is not None]
    atoms = {atom for rule in rules for atom in ast.atoms(rule) if compares_with_everyone(atom)}
    scores = [s.group.score for s in segments if s.group and isinstance(s.group.score, ast.Score)]
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


def _crossing(whole: Population, found: Edges, before: Clock) -> BitMap:
    """Return whose times passed an edge between the last evaluation and now."""
    crossed = BitMap()
    for event, own in found.sources():
        query = Query(whole.catalog, whole.clock, whole.layout)
        source = whole.layout.persons() if event is None else whole.layout.events(event)
        # Scanned once for each interval: one range is looked for in packed columns, several joined by OR in unpacked.
        parts = (f"SELECT ordinal FROM {source} WHERE {condition}" for condition in _conditions(query, own, before))
        rows = stream(whole.warehouse, " UNION ALL ".join(parts), query.params)
        for batch in rows:
            crossed |= bitmap(batch.column(0).to_numpy(zero_copy_only=False).astype(np.uint32))
    return crossed


def _conditions(query: Query, own: Sequence[Edge], before: Clock) -> Iterator[str]:
    for name in sorted({edge.column for edge in own}, key=str):
        intervals = merged([edge.crossed(before, query.clock) for edge in own if edge.column == name])
        for low, high in intervals:
            first, last = query.bind(low), query.bind(high)
            if name is None:  # compared as it is stored, which is quicker than turning every row into a number
                yield f"occurred_at BETWEEN make_timestamptz({first}) AND make_timestamptz({last})"
            else:
                yield f"epoch_us({quoted(name)}) BETWEEN {first} AND {last}"


def _patched(
    whole: Population, segments: Sequence[Segment], affected: BitMap, before: Mapping[str, BitMap]
) -> dict[str, BitMap]:
    """Return the members of each segment: the affected as they are decided now, the others as they were."""
    warehouse, alive = whole.warehouse, roaring(whole.alive)
    places = ordinals_of(affected & alive).astype(np.int64)
    schema = pa.schema([("ordinal", pa.uint32()), (PLACE, pa.uint32())])
    chosen = pa.record_batch([places.astype(np.uint32), np.arange(len(places), dtype=np.uint32)], schema=schema)
    warehouse.write(CHOSEN, [chosen], schema=schema)
    some = replace(
        whole,
        layout=replace(whole.layout, chosen=True),
        alive=Bits.all(len(places)),
        places=places,
        bits={},
        kept={},
    )
    decide(segments, some)
    found = decided(segments, some, frozen(warehouse, segments))
    warehouse.drop(CHOSEN)
    return {
        name: (before.get(name, BitMap()) - affected) | bitmap(places[bits.ordinals()].astype(np.uint32))
        for name, bits in found.items()
    }
