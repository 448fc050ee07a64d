"""Where time alone changes an answer: the window edges that rules have, and who crosses one between two instants.

Somebody's answer changes without any new event only when one of their events, or a time in their attributes, passes
one of a finite set of distances from now. The distances stand in the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.clock import MICROS, Clock, micros
from consentry.segments.masks import inputs
from consentry.segments.person import Person, plain

_TIMES = frozenset({"date", "timestamp"})
# An event (None for attributes) and a column of it; None is the time of the event itself.
Time = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Edge:
    """A time and a distance: when now is `seconds` (or `days` of the calendar) after the time, an answer may change.

    event: whose events it is about, None for attributes. column: a property or an attribute; None is the time of
    the event itself.
    """

    event: str | None
    column: str | None
    seconds: int = 0
    days: int = 0

    def due(self, time_us: int, clock: Clock) -> int | None:
        """Return when, after now, a time next passes the edge; None when it has."""
        if self.days:
            # Days end at midnight: it is the next one at the earliest.
            return clock.next_midnight() if time_us >= clock.bounds(ast.CalendarDays(self.days))[0] else None
        at = time_us + self.seconds * MICROS
        # Windows hold both their ends: at the edge itself it is not over yet. What has come true stays so.
        on_edge = at + 1 if self.seconds else None
        return at if at > clock.now_us else on_edge if at == clock.now_us else None


@dataclass(frozen=True, slots=True)
class Edges:
    """All edges of some rules. everyone: an answer depends on now for everybody alike, so that no edge tells it."""

    found: frozenset[Edge]
    everyone: bool = False

    def by_time(self) -> dict[Time, list[Edge]]:
        """Return the edges of each time."""
        found: dict[Time, list[Edge]] = {}
        for edge in sorted(self.found, key=repr):
            found.setdefault((edge.event, edge.column), []).append(edge)
        return found


def edges(nodes: Iterable[ast.Node], catalog: Catalog) -> Edges:
    """Collect the edges of rules and values, and of what the scores in them are made of."""
    found: set[Edge] = set()
    everyone = False
    waiting: list[tuple[ast.Node, str | None]] = [(node, None) for node in nodes]
    while waiting:
        node, scope = waiting.pop()
        distances = _distances(node)
        if distances:
            times = list(_times(node, scope, catalog))
            everyone = everyone or not times
            found |= {Edge(event, column, seconds) for event, column in times for seconds in distances}
        if isinstance(node, ast.Aggregate):
            found |= set(_window_edges(node.event, node.window))
            waiting += [(node.where, node.event)] if node.where else []
        elif isinstance(node, ast.Sequence):
            found |= set(_sequence_edges(node))
            wheres = ((node.first_where, node.first), (node.then_where, node.then))
            waiting += [(where, event) for where, event in wheres if where]
        elif isinstance(node, ast.Score):
            definition = catalog.scored(node)
            waiting += [(value, None) for value in (definition.values if definition else ())]
        else:
            waiting += [(child, scope) for child in ast.children(node)]
    return Edges(frozenset(found), everyone)


def _distances(node: ast.Node) -> set[int]:
    """Return how far before now the instants lie that an atom compares with."""
    match node:
        case ast.Recent(_, duration):
            return {duration.seconds, 0}
        case ast.Compare() | ast.Between():
            return {child.duration.seconds for child in ast.children(node) if isinstance(child, ast.Ago)}
        case _:
            return set()


def _times(node: ast.Node, scope: str | None, catalog: Catalog) -> Iterator[Time]:
    """Yield the times that an atom looks at."""
    for value in inputs(node):
        match value:
            case ast.Name(name):
                types = catalog.attributes if scope is None else catalog.events[scope]
                if types[name] in _TIMES:
                    yield scope, name
            case ast.Aggregate(_, event, prop):
                yield event, prop if prop and catalog.events[event][prop] in _TIMES else None


def _window_edges(event: str, window: ast.Window | None) -> Iterator[Edge]:
    yield Edge(event, None)  # what lay in the future has happened
    match window:
        case ast.Last(duration):
            yield Edge(event, None, duration.seconds)
        case ast.CalendarDays(days):
            yield Edge(event, None, days=days)
        case ast.BetweenAgo(low, high, unit):
            yield Edge(event, None, low * ast.SECONDS[unit])
            yield Edge(event, None, high * ast.SECONDS[unit])
        case ast.Since() | ast.AnyWindow() | None:
            return


def _sequence_edges(rule: ast.Sequence) -> Iterator[Edge]:
    yield from _window_edges(rule.first, rule.window)
    yield Edge(rule.then, None)
    if rule.negated:
        yield Edge(rule.first, None, rule.within.seconds)


def next_change_us(person: Person, clock: Clock, found: Edges) -> int | None:
    """Return the earliest instant after now at which time alone may change an answer about a person, else None.

    In microseconds since 1970. Until then nothing changes unless something new is learnt about the person.
    """
    times = _known_times(person)
    due = (edge.due(at, clock) for edge in found.found for at in times.get((edge.event, edge.column), ()))
    return min((at for at in due if at is not None), default=None)


def _known_times(person: Person) -> Mapping[Time, list[int]]:
    times: dict[Time, list[int]] = {}
    for name, value in person.attributes.items():
        if (at := plain(value)) is not None and not isinstance(at, str):
            times.setdefault((None, name), []).append(int(at))
    for event in person.events:
        times.setdefault((event.name, None), []).append(micros(event.at))
        for name, value in event.properties.items():
            if (at := plain(value)) is not None and not isinstance(at, str):
                times.setdefault((event.name, name), []).append(int(at))
    return times
