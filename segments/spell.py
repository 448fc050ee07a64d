"""Write a rule as text: one spelling for one meaning, and reading it again gives the same tree."""

from __future__ import annotations

from datetime import date, datetime

from consentry.segments import ast

# How tightly a rule holds together: a looser one inside a tighter one needs brackets.
_OR, _AND, _NOT, _ATOM = range(4)


def spell(rule: ast.Rule) -> str:
    """Return the text of a rule. `parse(spell(rule)) == rule` for every rule that can be read."""
    return _rule(rule, _OR)


def _rule(rule: ast.Rule, around: int) -> str:
    match rule:
        case ast.Or(parts):
            text, own = " or ".join(_rule(part, _AND) for part in parts), _OR
        case ast.And(parts):
            text, own = " and ".join(_rule(part, _NOT) for part in parts), _AND
        case ast.Not(part):
            text, own = f"not {_rule(part, _NOT)}", _NOT
        case _:
            text, own = _atom(rule), _ATOM
    return f"({text})" if own < around else text


def _atom(atom: ast.Atom) -> str:
    match atom:
        case ast.Compare(left, op, right):
            return f"{spell_value(left)} {op} {spell_value(right)}"
        case ast.Between(value, low, high):
            return f"{spell_value(value)} between {spell_value(low)} and {spell_value(high)}"
        case ast.In(value, options, negated):
            listed = ", ".join(spell_value(option) for option in options)
            return f"{spell_value(value)} {'not in' if negated else 'in'} ({listed})"
        case ast.Is(value, missing):
            return f"{spell_value(value)} is {'missing' if missing else 'known'}"
        case ast.Recent(value, duration):
            return f"{spell_value(value)} within last {_duration(duration)}"
        case ast.InSegment(segment):
            return f"in segment({segment})"
        case ast.Truth(value):
            return spell_value(value)
        case ast.Sequence():
            return _sequence(atom)


def _sequence(rule: ast.Sequence) -> str:
    pick = f"{rule.pick} " if rule.pick else ""
    first = f"{pick}{rule.first}{_where(rule.first_where)}"
    then = f"{'no ' if rule.negated else ''}{rule.then}{_where(rule.then_where)}"
    return f"did({first} then {then} within {_duration(rule.within)}{_window(rule.window)})"


def spell_value(value: ast.Value) -> str:
    """Return the text of a value."""
    match value:
        case ast.Literal(constant):
            return spell_constant(constant)
        case ast.Name(name):
            return name
        case ast.Score(family, name):
            return f"{family}.{name}"
        case ast.Ago(duration):
            return f"{_duration(duration)} ago"
        case ast.Percentile(percent, of, over):
            population = f" over {spell(over)}" if over is not None else ""
            return f"percentile({percent:g} of {spell_value(of)}{population})"
        case ast.Aggregate(function, event, prop, where, window):
            name = f"{event}.{prop}" if prop else event
            return f"{function}({name}{_where(where)}{_window(window)})"


def spell_constant(constant: ast.Constant) -> str:
    """Return a constant as it stands in a rule."""
    match constant:
        case bool():
            return "true" if constant else "false"
        case str():
            return "'" + constant.replace("'", "''") + "'"
        case datetime():
            return constant.isoformat().replace("+00:00", "Z")
        case date():
            return constant.isoformat()
        case float():
            text = f"{constant:.12f}".rstrip("0")
            return text + "0" if text.endswith(".") else text
        case _:
            return str(constant)


def _where(where: ast.Rule | None) -> str:
    return f" where {spell(where)}" if where is not None else ""


def _window(window: ast.Window | None) -> str:
    return f", {spell_window(window)}" if window is not None else ""


def spell_window(window: ast.Window) -> str:
    """Return the text of a window."""
    match window:
        case ast.Last(duration):
            return f"last {_duration(duration)}"
        case ast.CalendarDays(days):
            return f"last {days} calendar days"
        case ast.BetweenAgo(low, high, unit):
            return f"between {low} and {high} {unit} ago"
        case ast.Since(day):
            return f"since {day.isoformat()}"
        case ast.AnyWindow(duration):
            return f"any {_duration(duration)}"


def _duration(duration: ast.Duration) -> str:
    unit = duration.unit if duration.count != 1 else duration.unit.removesuffix("s")
    return f"{duration.count} {unit}"
