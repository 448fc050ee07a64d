"""What a rule is once it is read: frozen nodes, equal when they mean the same, wherever they stand.

`at` is the place in the rule's text and takes no part in equality, so that two rules share their atoms.
A rule is `And`, `Or`, `Not` over atoms; an atom compares values; a value is an attribute, an aggregate of events...
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from typing import Any, TypeVar, cast
from typing import Literal as OneOf

Type = OneOf["number", "integer", "text", "boolean", "date", "timestamp"]
Function = OneOf["count", "sum", "avg", "min", "max", "distinct", "first", "last", "days_active"]
Comparison = OneOf["==", "!=", "<", "<=", ">", ">="]
Unit = OneOf["minutes", "hours", "days", "weeks"]
Pick = OneOf["any", "latest"]
Constant = bool | int | float | str | date | datetime

SECONDS: dict[Unit, int] = {"minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800}


@dataclass(frozen=True, slots=True)
class Node:
    """Any part of a rule."""

    at: int = field(default=0, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Duration(Node):
    """A length of time, as it was written."""

    count: int
    unit: Unit

    @property
    def seconds(self) -> int:
        return self.count * SECONDS[self.unit]


# --- windows: which events an aggregate looks at -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Last(Node):
    """`last 7 days`: from now minus the duration up to now, both included."""

    duration: Duration


@dataclass(frozen=True, slots=True)
class CalendarDays(Node):
    """`last 7 calendar days`: today and the six days before it, in the catalogue's time zone."""

    days: int


@dataclass(frozen=True, slots=True)
class BetweenAgo(Node):
    """`between 7 and 14 days ago`: both ends included."""

    low: int
    high: int
    unit: Unit


@dataclass(frozen=True, slots=True)
class Since(Node):
    """`since 2026-01-31`: from the beginning of that day, in the catalogue's time zone, up to now."""

    day: date


@dataclass(frozen=True, slots=True)
class AnyWindow(Node):
    """`any 30 days`: the greatest value that any window of this length has."""

    duration: Duration


Window = Last | CalendarDays | BetweenAgo | Since | AnyWindow


# --- values ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A constant; its type keeps 1, 1.0 and true apart."""

    value: Constant
    type: Type


@dataclass(frozen=True, slots=True)
class Name(Node):
    """An attribute of the person; inside `where`, a property of the event."""

    name: str


@dataclass(frozen=True, slots=True)
class Score(Node):
    """`rfm.r`, `score.engagement`, `model.churn.score`: the first word is the family, the rest the name."""

    family: str
    name: str


@dataclass(frozen=True, slots=True)
class Aggregate(Node):
    """One value made of a person's events."""

    function: Function
    event: str
    property: str | None = None
    where: Rule | None = None
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Ago(Node):
    """The instant that lies this long before now."""

    duration: Duration


@dataclass(frozen=True, slots=True)
class Percentile(Node):
    """The value below which `percent` of the population lie, worked out once a run."""

    percent: float
    of: Value
    over: Rule | None = None


Value = Literal | Name | Score | Aggregate | Ago | Percentile


# --- rules -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class And(Node):
    """Every part holds."""

    parts: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Or(Node):
    """At least one part holds."""

    parts: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    """The part does not hold."""

    part: Rule


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """Two values compared; false when one is missing."""

    left: Value
    op: Comparison
    right: Value


@dataclass(frozen=True, slots=True)
class Between(Node):
    """A value that lies between two others, both included; false when one is missing."""

    value: Value
    low: Value
    high: Value


@dataclass(frozen=True, slots=True)
class In(Node):
    """A value that is one of a list, or with `negated` none of it; false when it is missing."""

    value: Value
    options: tuple[Literal, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Is(Node):
    """A value that is missing, or with `missing=False` known."""

    value: Value
    missing: bool


@dataclass(frozen=True, slots=True)
class Recent(Node):
    """`within last 30 days`: an instant from now minus the duration up to now, both included."""

    value: Value
    duration: Duration


@dataclass(frozen=True, slots=True)
class InSegment(Node):
    """The person is a member of another segment."""

    segment: str


@dataclass(frozen=True, slots=True)
class Sequence(Node):
    """`did(latest a then [no] b within 10 minutes, last 1 day)`; the window limits `a`."""

    pick: Pick | None
    first: str
    first_where: Rule | None
    negated: bool
    then: str
    then_where: Rule | None
    within: Duration
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Truth(Node):
    """A boolean value that is true; false when it is missing."""

    value: Value


Atom = Compare | Between | In | Is | Recent | InSegment | Sequence | Truth
Rule = And | Or | Not | Atom


_NAMES: dict[type, tuple[str, ...]] = {}


def _names(kind: type[Node]) -> tuple[str, ...]:
    """Name the parts of a kind of node; looked up once, since rules are walked often."""
    if kind not in _NAMES:
        _NAMES[kind] = tuple(entry.name for entry in fields(kind) if entry.name != "at")
    return _NAMES[kind]


def children(node: Node) -> Iterator[Node]:
    """Yield the nodes directly below one."""
    for name in _names(type(node)):
        value = getattr(node, name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            yield from (item for item in value if isinstance(item, Node))


def walk(node: Node) -> Iterator[tuple[Node, int]]:
    """Yield a node and all below it with their depth, without recursion: hostile rules are deep."""
    waiting = [(node, 1)]
    while waiting:
        found, depth = waiting.pop()
        yield found, depth
        waiting.extend((child, depth + 1) for child in children(found))


def atoms(rule: Rule) -> Iterator[Atom]:
    """Yield the atoms of a rule, left to right; those inside `where` belong to their aggregate."""
    match rule:
        case And(parts) | Or(parts):
            for part in parts:
                yield from atoms(part)
        case Not(part):
            yield from atoms(part)
        case _:
            yield rule


T = TypeVar("T", bound=Node)


def shared(node: T, known: dict[Node, Node]) -> T:
    """Return the same tree with equal parts, here and in the trees before, as one object each.

    known: the parts seen so far; it grows. Whoever keeps results by identity then works out equal parts once.
    """
    parts = {name: _shared_value(getattr(node, name), known) for name in _names(type(node))}
    made = replace(node, **parts)
    return cast("T", known.setdefault(made, made))


# Whatever a node holds: nodes, tuples of nodes, plain values.
def _shared_value(value: Any, known: dict[Node, Node]) -> Any:
    if isinstance(value, Node):
        return shared(value, known)
    if isinstance(value, tuple):
        return tuple(_shared_value(item, known) for item in value)
    return value
