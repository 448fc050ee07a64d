"""Which attributes and events does each segment read? Through references, groups, scores and models too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.segment import Segment, grouped, references, steps
from consentry.segments.spell import spell_value

# What a rule reads: ("event", name) or ("attribute", name).
Input = tuple[str, str]


def inputs_of(segments: Sequence[Segment], catalog: Catalog | None = None) -> dict[str, frozenset[Input]]:
    """Return what each segment reads. Without a catalogue, what scores and models are made of is left out.

    Who of a group somebody belongs to depends on all its rules: its segments read what any of them reads.
    Raises Cycle.
    """
    known, groups = {segment.name: segment for segment in segments}, grouped(segments)
    held: dict[str, frozenset[Input]] = {}
    found: dict[str, frozenset[Input]] = {}
    for step in steps(segments):
        if step.kind == "rule":
            rule = known[step.name].rule
            held[step.name] = frozenset(_own(known[step.name], catalog)).union(*(found[it] for it in references(rule)))
        elif step.kind == "group":
            whole = frozenset[Input]().union(*(held[it.name] for it in groups[step.name]))
            found |= {it.name: whole for it in groups[step.name]}
            found |= {it.name: whole for it in segments if it.fallback_of == step.name}
        else:
            found.setdefault(step.name, held[step.name])
    return found


def _own(segment: Segment, catalog: Catalog | None) -> Iterator[Input]:
    for node in (segment.rule, segment.group.score if segment.group else None):
        if node is not None:
            yield from read_by(node, catalog)


def read_by(node: ast.Node, catalog: Catalog | None = None) -> Iterator[Input]:
    """Yield the events and attributes that a rule or value reads; names inside `where` are properties."""
    waiting: list[ast.Node] = [node]
    while waiting:
        found = waiting.pop()
        match found:
            case ast.Name(name):
                yield "attribute", name
            case ast.Aggregate():
                yield "event", found.event
            case ast.Sequence():
                yield "event", found.first
                yield "event", found.then
            case ast.Score() if catalog is not None:
                scored, served = catalog.scored(found), catalog.served.get(spell_value(found))
                waiting.extend(scored.values if scored else ())
                yield from served.reads if served else ()
            case _:
                waiting.extend(ast.children(found))
