"""Say a rule in plain English, and say why a person is in or out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from consentry.segments import ast
from consentry.segments.clock import Clock
from consentry.segments.masks import inputs
from consentry.segments.person import Judge, Known, Person, Scores, instant
from consentry.segments.spell import spell, spell_constant, spell_value, spell_window

_COMPARED: Mapping[ast.Comparison, str] = {
    "==": "is",
    "!=": "is not",
    "<": "is below",
    "<=": "is at most",
    ">": "is above",
    ">=": "is at least",
}
_TAKEN: Mapping[ast.Function, str] = {
    "sum": "the sum of",
    "avg": "the average of",
    "min": "the smallest",
    "max": "the greatest",
    "distinct": "the number of different values of",
    "first": "the first",
    "last": "the last",
    "count": "the number of",
    "days_active": "the number of days with",
}


def describe(rule: ast.Rule) -> str:
    """Return a rule as one English sentence."""
    text = _rule(rule, top=True)
    return f"{text[0].upper()}{text[1:]}."


def _rule(rule: ast.Rule, *, top: bool = False) -> str:
    match rule:
        case ast.And(parts):
            text = ", and ".join(_rule(part) for part in parts)
            return text if top else f"({text})"
        case ast.Or(parts):
            text = ", or ".join(_rule(part) for part in parts)
            return text if top else f"({text})"
        case ast.Not(part):
            return f"it is not so that {_rule(part)}"
        case _:
            return _atom(rule)


def _atom(atom: ast.Atom) -> str:
    match atom:
        case ast.Compare(left, op, right):
            return f"{_value(left)} {_COMPARED[op]} {_value(right)}"
        case ast.Between(value, low, high):
            return f"{_value(value)} is from {_value(low)} to {_value(high)}"
        case ast.In(value, options, negated):
            listed = ", ".join(_value(option) for option in options)
            return f"{_value(value)} is {'known and none' if negated else 'one'} of {listed}"
        case ast.Is(value, missing):
            return f"{_value(value)} is {'missing' if missing else 'known'}"
        case ast.Recent(value, duration):
            return f"{_value(value)} lies in the last {_length(duration)}"
        case ast.Truth(value):
            return f"{_value(value)} is true"
        case ast.InSegment(segment):
            return f"the person is in the segment {segment}"
        case ast.Sequence():
            return _sequence(atom)


def _sequence(rule: ast.Sequence) -> str:
    first = f"{'the latest' if rule.pick == 'latest' else 'any'} {rule.first}{_where(rule.first_where)}"
    follows = "was not followed by" if rule.negated else "was followed by"
    then = f"{rule.then}{_where(rule.then_where)} within {_length(rule.within)}"
    return f"{first}{_window(rule.window)} {follows} {then}"


def _value(value: ast.Value) -> str:
    match value:
        case ast.Literal(constant):
            return spell_constant(constant)
        case ast.Name(name):
            return name
        case ast.Score(family, name):
            return f"the {family} {name}"
        case ast.Ago(duration):
            return f"{_length(duration)} before now"
        case ast.Percentile(percent, of, over):
            population = "everyone" if over is None else f"those for whom {_rule(over)}"
            return f"the {percent:g}th percentile of {_value(of)} over {population}"
        case ast.Aggregate(function, event, prop, where, window):
            taken = f"{prop} of {event}" if prop else f"{event} events" if function == "count" else event
            if prop and function == "count":
                taken = f"{event} events with a known {prop}"
            return f"{_TAKEN[function]} {taken}{_where(where)}{_window(window)}"


def _where(where: ast.Rule | None) -> str:
    return f" where {_rule(where)}" if where is not None else ""


def _window(window: ast.Window | None) -> str:
    match window:
        case None:
            return ""
        case ast.Last(duration):
            return f" in the last {_length(duration)}"
        case ast.CalendarDays(days):
            return f" today and in the {days - 1} days before" if days > 1 else " today"
        case ast.AnyWindow(duration):
            return f" in any {_length(duration)}"
        case _:
            return f" {spell_window(window)}"


def _length(duration: ast.Duration) -> str:
    return f"{duration.count} {duration.unit if duration.count != 1 else duration.unit.removesuffix('s')}"


@dataclass(frozen=True, slots=True)
class Reason:
    """One atom of a rule for one person: its text, what its values are, and whether it holds."""

    atom: str
    values: Mapping[str, Known | datetime | None]
    holds: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a rule holds for a person or does not."""

    holds: bool
    reasons: tuple[Reason, ...]


def explain(
    rule: ast.Rule,
    person: Person,
    clock: Clock,
    thresholds: Mapping[ast.Percentile, float | None] | None = None,
    scores: Scores | None = None,
) -> Explanation:
    """Return each atom of a rule with the person's values and its verdict. It shows values: treat it as personal."""
    judge = Judge(person, clock, thresholds, scores)
    reasons = [
        Reason(spell(atom), {spell_value(value): _shown(judge, value) for value in inputs(atom)}, judge.holds(atom))
        for atom in dict.fromkeys(ast.atoms(rule))
    ]
    return Explanation(judge.holds(rule), tuple(reasons))


def _shown(judge: Judge, value: ast.Value) -> Known | datetime | None:
    """Show a time as a time: the time of an event is the one value whose type the rule itself tells."""
    found = judge.value(value)
    is_time = isinstance(value, ast.Aggregate) and value.function in ("first", "last") and value.property is None
    return instant(found) if is_time and isinstance(found, float) else found
