"""What a segment is once its file is read, and in which order segments are decided."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from typing import Literal

from consentry.segments import ast
from consentry.segments.person import Plain

Severity = Literal["info", "warning", "error"]
# What may be remarked on a segment: see `lint`, and `unused` by the pipeline, which knows the syncs.
Lint = Literal["nullable_not", "never", "always", "uncovered", "shadowed", "no_tests", "sensitive", "unused"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment stands in its exclusive group: the lowest priority number wins, then the highest score."""

    group: str
    priority: int
    score: ast.Value | None = None


@dataclass(frozen=True, slots=True)
class Holdout:
    """The share of members, from 0 to 1, that the sync stage holds back; the salt makes the choice of its own."""

    share: float
    salt: str


@dataclass(frozen=True, slots=True)
class ExampleEvent:
    """An event of an example, at an instant or some seconds before now."""

    name: str
    at: datetime | int
    properties: Mapping[str, Plain]


@dataclass(frozen=True, slots=True)
class Example:
    """A person who has to be in (or out of) the segment; `line` is where it stands in the file."""

    inside: bool
    attributes: Mapping[str, Plain]
    events: tuple[ExampleEvent, ...]
    segments: frozenset[str]
    served: Mapping[str, Plain] = field(default_factory=dict)
    line: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """A named rule and what has to be known before anyone may use it.

    rule: None for the fallback of a group (`fallback_of`), which takes whoever no member of the group takes.
    refresh: seconds. min_share: from 0 to 1, of the population. static: who is in it is decided once. lint: how grave
    a remark is here, where it is not what it usually is.
    """

    name: str
    description: str
    purpose: str
    rule: ast.Rule | None
    refresh: int | None = None
    min_share: float | None = None
    min_size: int | None = None
    group: Place | None = None
    fallback_of: str | None = None
    holdout: Holdout | None = None
    examples: tuple[Example, ...] = ()
    static: bool = False
    lint: Mapping[Lint, Severity | Literal["ignore"]] = field(default_factory=dict)

    def smallest(self, population: int, usual_share: float = 0.0) -> int:
        """Return the number of members below which the segment is too small.

        usual_share: of the population, for a segment that states no minimum itself.
        """
        stated = self.min_share is not None or self.min_size is not None
        # Rounded first: 10% of 30 is 3 and not 3.0000000000000004.
        share = math.ceil(round(((self.min_share or 0.0) if stated else usual_share) * population, 6))
        return max(self.min_size or 0, share)


def references(rule: ast.Rule | None) -> Iterator[str]:
    """Yield the segments that a rule names."""
    if rule is not None:
        yield from (atom.segment for atom in ast.atoms(rule) if isinstance(atom, ast.InSegment))


@dataclass(frozen=True, slots=True)
class Step:
    """One step of deciding: the rule of a segment, the winners of a group, or the final members of a segment."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"group {self.name}" if self.kind == "group" else self.name


def steps(segments: Iterable[Segment]) -> list[Step]:
    """Order the steps so that each comes after those it needs.

    `in segment(x)` means the final members of x, after x's group gave everyone one place. Raises Cycle.
    """
    graph: TopologicalSorter[Step] = TopologicalSorter()
    for segment in sorted(segments, key=lambda segment: segment.name):
        own, rule = Step("members", segment.name), Step("rule", segment.name)
        group = segment.group.group if segment.group else segment.fallback_of
        graph.add(own, Step("group", group) if group else rule)
        if segment.group:
            graph.add(Step("group", segment.group.group), rule)
        graph.add(rule, *(Step("members", name) for name in references(segment.rule)))
    try:
        return list(graph.static_order())
    except CycleError as error:
        raise Cycle(error.args[1]) from None


def grouped(segments: Iterable[Segment]) -> dict[str, list[Segment]]:
    """Return the segments of each exclusive group, without its fallback."""
    found: dict[str, list[Segment]] = {}
    for segment in segments:
        if segment.group:
            found.setdefault(segment.group.group, []).append(segment)
    return found


class Cycle(ValueError):
    """Segments that need each other; `path` names them in a circle."""

    def __init__(self, around: Iterable[Step]) -> None:
        # graphlib gives each node before the one that needs it; read backwards, each names what it needs.
        names = [str(step) for step in around][::-1]
        circle = [name for n, name in enumerate(names) if n == 0 or names[n - 1] != name]
        closed = len(circle) > 1 and circle[0] == circle[-1]
        self.path = circle if closed else [*circle, circle[0]]
        super().__init__(" → ".join(self.path))
