"""Decide rules for one person in process, from attributes and a list of events: no warehouse, no arrays.

It shares the tree and the clock with the batch evaluation and nothing else, so that each can be tested
against the other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import numpy as np

from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock, micros
from consentry.segments.scores import Figures, score

Plain = bool | int | float | str | date | datetime | None
# What a value of a rule becomes: times are microseconds, booleans stay booleans, None is missing.
Known = bool | int | float | str
_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a person did."""

    name: str
    at: datetime
    properties: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Person:
    """What rules can see of one person.

    segments: the memberships that `in segment` looks at. served: what models and experiments say of the person, by
    the name that rules use.
    """

    attributes: Mapping[str, Plain] = field(default_factory=dict)
    events: Sequence[Event] = ()
    segments: Collection[str] = frozenset()
    served: Mapping[str, Plain] = field(default_factory=dict)


def settled(value: float) -> float:
    """Round a sum or an average to the sixth decimal: 0.1 + 0.2 is 0.3, in whatever order it was added."""
    scaled = value * 10**_DECIMALS
    return round(scaled) / 10**_DECIMALS if math.isfinite(scaled) else value


def plain(value: Plain) -> Known | None:
    """Bring a value to what rules compare; a number that is not finite is missing."""
    if isinstance(value, date):
        return float(micros(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        return number if math.isfinite(number) else None
    return value


@dataclass(frozen=True, slots=True)
class Scores:
    """What scores are made of, and the figures of the population that the last run kept."""

    catalog: Catalog
    figures: Mapping[str, Figures | None]


class Judge:
    """Decide any number of rules for one person at one time.

    thresholds: what the run worked out for each percentile. scores: what scores are made of, and what the run knows of
    the population. What is not there is missing.
    """

    def __init__(
        self,
        person: Person,
        clock: Clock,
        thresholds: Mapping[ast.Percentile, float | None] | None = None,
        scores: Scores | None = None,
    ):
        self.person, self.clock = person, clock
        self._thresholds, self._scores = thresholds or {}, scores
        self._events: dict[str, list[tuple[int, Event]]] = {}
        for event in person.events:
            at = micros(event.at)
            if at <= clock.now_us:  # what lies after now has not happened
                self._events.setdefault(event.name, []).append((at, event))
        # Kept by identity, since hashing a tree costs more than most of them; the node is kept so that it lives on.
        self._features: dict[int, tuple[ast.Aggregate, Known | None]] = {}
        self._atoms: dict[int, tuple[ast.Rule, bool]] = {}

    def holds(self, rule: ast.Rule, event: Event | None = None) -> bool:
        """Tell whether a rule holds. event: the one whose properties names mean, inside `where`."""
        match rule:
            case ast.And(parts):
                return all(self.holds(part, event) for part in parts)
            case ast.Or(parts):
                return any(self.holds(part, event) for part in parts)
            case ast.Not(part):
                return not self.holds(part, event)
            case ast.InSegment(segment):
                return segment in self.person.segments
        if event is not None:
            return self._atom(rule, event)
        known = self._atoms.get(id(rule))
        if known is None:
            known = self._atoms[id(rule)] = (rule, self._atom(rule, None))
        return known[1]

    def _atom(self, rule: ast.Atom, event: Event | None) -> bool:
        match rule:
            case ast.Compare(left, op, right):
                return _compare(self.value(left, event), op, self.value(right, event))
            case ast.Between(value, low, high):
                found = self.value(value, event)
                above = _compare(self.value(low, event), "<=", found)
                return above and _compare(found, "<=", self.value(high, event))
            case ast.In(value, options, negated):
                found = self.value(value, event)
                listed = any(_compare(found, "==", plain(option.value)) for option in options)
                return found is not None and listed != negated
            case ast.Is(value, missing):
                return (self.value(value, event) is None) == missing
            case ast.Recent(value, duration):
                found = self.value(value, event)
                begin = float(self.clock.ago(duration.seconds))
                return _compare(begin, "<=", found) and _compare(found, "<=", float(self.clock.now_us))
            case ast.Truth(value):
                return self.value(value, event) is True
            case ast.InSegment(segment):
                return segment in self.person.segments
            case ast.Sequence():
                return self._did(rule)

    def value(self, value: ast.Value, event: Event | None = None) -> Known | None:
        """Return a value of the person, None when it is missing."""
        match value:
            case ast.Literal(constant):
                return plain(constant)
            case ast.Name(name):
                return plain((self.person.attributes if event is None else event.properties).get(name))
            case ast.Ago(duration):
                return float(self.clock.ago(duration.seconds))
            case ast.Percentile():
                return self._thresholds.get(value)
            case ast.Aggregate():
                known = self._features.get(id(value))
                if known is None:
                    known = self._features[id(value)] = (value, self._aggregate(value))
                return known[1]
            case ast.Score():
                return self._score(value)

    def _chosen(self, event: str, where: ast.Rule | None, window: ast.Window | None) -> list[tuple[int, Event]]:
        low, high = self.clock.bounds(window)
        return [
            (at, found)
            for at, found in self._events.get(event, ())
            if low <= at <= high and (where is None or self.holds(where, found))
        ]

    def _aggregate(self, value: ast.Aggregate) -> Known | None:
        chosen = self._chosen(value.event, value.where, value.window)
        if value.property is None:
            pairs: list[tuple[int, Known]] = [(at, float(at)) for at, _ in chosen]
        else:
            found = [(at, plain(event.properties.get(value.property))) for at, event in chosen]
            pairs = [(at, known) for at, known in found if known is not None]
        if isinstance(value.window, ast.AnyWindow):
            return _greatest(value.function, pairs, value.window.duration.seconds * 1_000_000)
        if value.function == "days_active":
            return len({self.clock.day(at) for at, _ in pairs})
        return _reduced(value.function, pairs)

    def _score(self, wanted: ast.Score) -> Known | None:
        if wanted.family not in ("rfm", "score", "band"):
            return plain(self.person.served.get(f"{wanted.family}.{wanted.name}"))
        definition = self._scores.catalog.scored(wanted) if self._scores else None
        if definition is None or self._scores is None:
            return None
        known = self._scores.figures.get("rfm" if wanted.family == "rfm" else wanted.name)
        found = [self.value(value) for value in definition.values]
        values = [np.array([float(value) if isinstance(value, int | float) else np.nan]) for value in found]
        names: list[str] = []

        def word(name: str) -> float:
            names.append(name)
            return float(len(names) - 1)

        number = float(score(definition, wanted, values, known, self.clock.now_us, word)[0])
        if math.isnan(number):
            return None
        return names[int(number)] if self._scores.catalog.score_type(wanted) == "text" else number

    def _did(self, rule: ast.Sequence) -> bool:
        starts = [at for at, _ in self._chosen(rule.first, rule.first_where, rule.window)]
        ends = [at for at, _ in self._chosen(rule.then, rule.then_where, None)]
        if rule.pick == "latest":
            starts = [max(starts)] if starts else []
        length = rule.within.seconds * 1_000_000
        if rule.negated:
            # Whether B follows is known only once the time for it has passed.
            over = [start for start in starts if start + length <= self.clock.now_us]
            return any(not any(start < end <= start + length for end in ends) for start in over)
        return any(start < end <= start + length for start in starts for end in ends)


def instant(value: float) -> datetime:
    """Return the time that a rule's number of microseconds means."""
    return datetime.fromtimestamp(value / 1_000_000, UTC)


def _compare(left: Known | None, op: ast.Comparison, right: Known | None) -> bool:
    if left is None or right is None:
        return False
    match op:
        case "==":
            return left == right
        case "!=":
            return left != right
    # The checker lets only numbers and times be ordered.
    assert not isinstance(left, str) and not isinstance(right, str)
    match op:
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case ">=":
            return left >= right


def _numbers(pairs: Sequence[tuple[int, Known]]) -> list[float]:
    return [float(value) for _, value in pairs if not isinstance(value, str)]


def _greatest(function: str, pairs: Sequence[tuple[int, Known]], length: int) -> float | None:
    windows = [[pair for pair in pairs if end - length <= pair[0] <= end] for end, _ in pairs]
    found = [len(window) if function == "count" else settled(math.fsum(_numbers(window))) for window in windows]
    return max(found, default=0)


def _reduced(function: str, pairs: list[tuple[int, Known]]) -> Known | None:
    match function:
        case "count":
            return len(pairs)
        case "distinct":
            return len({value for _, value in pairs})
        case "sum":
            return settled(math.fsum(_numbers(pairs)))
    if not pairs:
        return None
    match function:
        case "avg":
            return settled(math.fsum(_numbers(pairs)) / len(pairs))
        case "min":
            return min(_numbers(pairs))
        case "max":
            return max(_numbers(pairs))
        case "first":
            return min(pairs)[1]  # of two at the same instant the smaller value
        case _:
            return max(pairs)[1]  # of two at the same instant the greater value
