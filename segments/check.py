"""Check a rule against the catalogue: unknown names, types that do not fit; every mistake at once, with its place."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from consentry.model.names import did_you_mean
from consentry.segments import ast
from consentry.segments.ast import Type
from consentry.segments.catalog import Catalog
from consentry.segments.faults import RuleFault
from consentry.segments.parse import RuleError

MAX_SECONDS = 100 * 366 * 86_400
_KIND: Mapping[Type, str] = {
    **{"number": "number", "integer": "number", "text": "text", "boolean": "true or false"},
    **{"date": "time", "timestamp": "time"},
}
_ORDERED = frozenset({"number", "time"})
# Families of served values: what they are called, and where they are declared.
_DECLARED = {"model": ("model output", "models"), "experiment": ("experiment", "experiments")}
# Functions that need a property, and the kinds of property they take; None is any kind.
_NEEDS: Mapping[str, frozenset[str] | None] = {
    "sum": frozenset({"number"}),
    "avg": frozenset({"number"}),
    "min": _ORDERED,
    "max": _ORDERED,
    "distinct": None,
}


def check(rule: ast.Rule, catalog: Catalog, *, segments: Collection[str] | None = None) -> list[RuleFault]:
    """Return the mistakes of a rule, in the order in which they stand.

    segments: the names that `in segment(...)` may use; None leaves these to the caller.
    """
    checker = _Checker(catalog, segments)
    checker.rule(rule, None)
    return sorted(checker.found, key=lambda fault: fault.at)


def check_text(text: str, rule: ast.Rule, catalog: Catalog, *, segments: Collection[str] | None = None) -> None:
    """Raise RuleError with every mistake of the rule that `text` was read into."""
    mistakes = check(rule, catalog, segments=segments)
    if mistakes:
        raise RuleError(text, *mistakes)


def check_number(value: ast.Value, catalog: Catalog) -> list[RuleFault]:
    """Return the mistakes of a value that has to be a number, such as the score of a group."""
    checker = _Checker(catalog, None)
    kind = checker.value(value, None)
    if kind is not None and _KIND[kind] != "number":
        checker.add(value, f"a number is needed here, and this is {kind}.")
    return checker.found


def check_value(value: ast.Value, catalog: Catalog) -> tuple[Type | None, list[RuleFault]]:
    """Return the type of a value, None when it has mistakes, and the mistakes."""
    checker = _Checker(catalog, None)
    return checker.value(value, None), checker.found


def value_faults(value: ast.Value, catalog: Catalog) -> tuple[str | None, list[RuleFault]]:
    """Return whether a value is a "number" or a "time", and its mistakes; it may not compare with the population."""
    checker = _Checker(catalog, None)
    kind = checker.value(value, None)
    if isinstance(value, ast.Percentile | ast.Score):
        checker.add(value, "a score is made of attributes and events, not of other scores and percentiles.")
    elif kind is not None and _KIND[kind] not in _ORDERED:
        checker.add(value, f"a number or a time is needed here, and this is {kind}.")
    return (None if kind is None else _KIND[kind]), checker.found


class _Checker:
    """Walk one rule. `scope` names the event whose properties can be used, None outside `where`."""

    def __init__(self, catalog: Catalog, segments: Collection[str] | None) -> None:
        self.catalog, self.segments = catalog, segments
        self.found: list[RuleFault] = []
        self._in_population = False

    def add(self, node: ast.Node, sentence: str) -> None:
        self.found.append(RuleFault(node.at, sentence))

    # --- rules

    def rule(self, rule: ast.Rule, scope: str | None) -> None:
        match rule:
            case ast.And(parts) | ast.Or(parts):
                for part in parts:
                    self.rule(part, scope)
            case ast.Not(part):
                self.rule(part, scope)
            case ast.Compare(left, op, right):
                self._fit(left, right, scope, ordered=op not in ("==", "!="))
            case ast.Between(value, low, high):
                self._fit(value, low, scope, ordered=True)
                self._fit(value, high, scope, ordered=True, seen=True)
            case ast.In(value, options):
                for n, option in enumerate(options):
                    self._fit(value, option, scope, ordered=False, seen=n > 0)
            case ast.Is(value):
                self._can_be_missing(value, scope)
            case ast.Recent(value, duration):
                self._recent(value, duration, scope)
            case ast.Truth(value):
                self._truth(value, scope)
            case ast.InSegment():
                self._in_segment(rule, scope)
            case ast.Sequence():
                self._sequence(rule, scope)

    def _fit(self, left: ast.Value, right: ast.Value, scope: str | None, *, ordered: bool, seen: bool = False) -> None:
        before = len(self.found)
        first = self.value(left, scope)
        if seen:  # the left side was checked with its first partner
            del self.found[before:]
        second = self.value(right, scope)
        if first is None or second is None:
            return
        if _KIND[first] != _KIND[second]:
            self.add(right, f"{_said(left, first)} cannot be compared with {_said(right, second)}.")
        elif ordered and _KIND[first] not in _ORDERED and not seen:
            self.add(left, f"{_said(left, first)} has no order; use ==, != or in.")
        elif isinstance(left, ast.Literal) and isinstance(right, ast.Literal) and not seen:
            self.add(left, "two constants are compared; name an attribute or an event.")

    def _can_be_missing(self, value: ast.Value, scope: str | None) -> None:
        kind = self.value(value, scope)
        if kind is not None and isinstance(value, ast.Literal | ast.Ago):
            self.add(value, "a constant is never missing; name an attribute or an event.")

    def _recent(self, value: ast.Value, duration: ast.Duration, scope: str | None) -> None:
        kind = self.value(value, scope)
        self._duration(duration)
        if kind is not None and _KIND[kind] != "time":
            self.add(value, f"'within last' needs a date or a timestamp, not {_said(value, kind)}.")

    def _truth(self, value: ast.Value, scope: str | None) -> None:
        kind = self.value(value, scope)
        if kind is not None and kind != "boolean":
            self.add(value, f"{_said(value, kind)} is not true or false by itself; compare it with something.")

    def _in_segment(self, rule: ast.InSegment, scope: str | None) -> None:
        if scope is not None or self._in_population:
            self.add(rule, "'in segment' cannot stand inside 'where' or 'over'.")
        elif self.segments is not None and rule.segment not in self.segments:
            self.add(rule, f"unknown segment {rule.segment!r}{_hint(rule.segment, self.segments)}")

    def _sequence(self, rule: ast.Sequence, scope: str | None) -> None:
        if scope is not None:
            self.add(rule, "'did' cannot stand inside 'where'.")
            return
        if rule.pick is None:
            self.add(rule, "say which event starts the sequence: 'did(any ...' or 'did(latest ...'.")
        for event, where in ((rule.first, rule.first_where), (rule.then, rule.then_where)):
            if self._event(rule, event) and where is not None:
                self.rule(where, event)
        self._duration(rule.within)
        if isinstance(rule.window, ast.AnyWindow):
            self.add(rule.window, "a sequence takes 'last', 'between ... ago' or 'since', not 'any'.")
        self._window(rule.window)

    # --- values

    def value(self, value: ast.Value, scope: str | None) -> Type | None:
        """Return the type of a value; None when a mistake was noted."""
        match value:
            case ast.Literal(_, kind):
                return kind
            case ast.Ago(duration):
                self._duration(duration)
                return "timestamp"
            case ast.Name():
                return self._name(value, scope)
            case ast.Score() if scope is None:
                return self._score(value)
            case ast.Aggregate() if scope is None:
                return self._aggregate(value)
            case ast.Percentile() if scope is None and not self._in_population:
                return self._percentile(value)
            case _:
                self.add(value, "only properties of the event, constants and 'ago' can stand here.")
        return None

    def _name(self, value: ast.Name, scope: str | None) -> Type | None:
        known = self.catalog.attributes if scope is None else self.catalog.events[scope]
        if value.name in known:
            return known[value.name]
        hint = _hint(value.name, known)
        if scope is not None:
            self.add(value, f"unknown property {value.name!r} of the event {scope!r}{hint}")
            return None
        if value.name in self.catalog.events:
            hint = f"; it is an event: write count({value.name}) or last({value.name})."
        self.add(value, f"unknown attribute {value.name!r}{hint}")
        return None

    def _aggregate(self, value: ast.Aggregate) -> Type | None:
        before = len(self.found)
        self._window(value.window)
        if not self._event(value, value.event):
            return None
        if value.where is not None:
            self.rule(value.where, value.event)
        kind = self._property(value)
        if isinstance(value.window, ast.AnyWindow) and value.function not in ("count", "sum"):
            self.add(value.window, f"'any' goes with count and sum, not with {value.function}.")
        return kind if len(self.found) == before else None

    def _property(self, value: ast.Aggregate) -> Type | None:
        needs = value.function in _NEEDS
        if value.property is None:
            if needs:
                self.add(value, f"{value.function} needs a property: {value.function}({value.event}.property).")
            return "timestamp" if value.function in ("first", "last") else "integer"
        properties = self.catalog.events[value.event]
        if value.property not in properties:
            hint = _hint(value.property, properties)
            self.add(value, f"unknown property {value.property!r} of the event {value.event!r}{hint}")
            return None
        if value.function == "days_active":
            self.add(value, f"days_active counts days of an event: days_active({value.event}).")
        kind = properties[value.property]
        allowed = _NEEDS.get(value.function)
        if allowed is not None and _KIND[kind] not in allowed:
            self.add(value, f"{value.function} cannot be taken of {value.event}.{value.property}, which is {kind}.")
        return _result(value.function, kind)

    def _score(self, value: ast.Score) -> Type | None:
        kind = self.catalog.score_type(value)
        if kind is None:
            self.add(value, self._unknown_score(f"{value.family}.{value.name}", value.family))
        return kind

    def _unknown_score(self, name: str, family: str) -> str:
        kind, place = _DECLARED.get(family, ("score", "scores"))
        known = [each for each in self.catalog.score_names() if family not in _DECLARED or each.startswith(family)]
        said = _hint(name, known) if known else f"; declare it under '{place}:' of a segment file."
        return f"unknown {kind} {name!r}{said}"

    def _percentile(self, value: ast.Percentile) -> Type | None:
        before = len(self.found)
        if not 0 <= value.percent <= 100:
            self.add(value, "a percentile lies between 0 and 100.")
        self._in_population = True
        kind = self.value(value.of, None)
        if value.over is not None:
            self.rule(value.over, None)
        self._in_population = False
        if kind is not None and _KIND[kind] != "number":
            self.add(value, f"a percentile is taken of numbers, and {_said(value.of, kind)} is none.")
        return "number" if len(self.found) == before else None

    # --- events and time

    def _event(self, node: ast.Node, event: str) -> bool:
        if event not in self.catalog.events:
            self.add(node, f"unknown event {event!r}{_hint(event, self.catalog.events)}")
        return event in self.catalog.events

    def _window(self, window: ast.Window | None) -> None:
        match window:
            case ast.Last(duration) | ast.AnyWindow(duration):
                self._duration(duration)
            case ast.CalendarDays(days):
                self._seconds(window, days * 86_400)
            case ast.BetweenAgo(_, high, unit):
                self._seconds(window, high * ast.SECONDS[unit])
            case ast.Since() | None:
                return

    def _duration(self, duration: ast.Duration) -> None:
        self._seconds(duration, duration.seconds)

    def _seconds(self, node: ast.Node, seconds: int) -> None:
        if seconds > MAX_SECONDS:
            self.add(node, "this is longer than a hundred years.")


def _result(function: ast.Function, kind: Type) -> Type:
    if function in ("count", "distinct", "days_active"):
        return "integer"
    return "number" if function in ("sum", "avg") else kind


def _hint(name: str, known: Collection[str]) -> str:
    return did_you_mean(name, known) or "."


def _said(value: ast.Value, kind: Type) -> str:
    match value:
        case ast.Name(name):
            return f"{name!r} ({kind})"
        case ast.Literal(constant, "text"):
            return f"the text {constant!r}"
        case ast.Aggregate(function, event):
            return f"{function}({event}) ({kind})"
        case _:
            return f"a value of type {kind}"
