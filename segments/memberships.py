"""Decide which segments one person is in, in process, groups and references included."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from consentry.segments import ast
from consentry.segments.clock import Clock
from consentry.segments.person import Judge, Person, Scores
from consentry.segments.reads import inputs_of
from consentry.segments.segment import Segment, grouped, steps


class Deciding:
    """Segments made ready to be decided for one person after another, as events come in.

    Equal parts of rules are one object, so that a judge works out each once. Raises Cycle.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        known: dict[ast.Node, ast.Node] = {}
        self.rules = {s.name: None if s.rule is None else ast.shared(s.rule, known) for s in segments}
        self.static = {segment.name for segment in segments if segment.static}
        self.steps = steps(segments)
        self.ungrouped = {segment.name for segment in segments if segment.group is None}
        self.fallbacks = {s.fallback_of: s.name for s in segments if s.fallback_of}
        self.groups = grouped(segments)
        self._by_event: dict[str, set[str]] = {}
        for name, inputs in inputs_of(segments).items():
            for kind, event in inputs:
                if kind == "event":
                    self._by_event.setdefault(event, set()).add(name)

    def reading(self, event: str) -> Collection[str]:
        """Name the segments whose answer an event of this name can change; scores read more, so they are in all."""
        scored = {
            name
            for name, rule in self.rules.items()
            if rule is not None and any(isinstance(node, ast.Score) for node, _ in ast.walk(rule))
        }
        return self._by_event.get(event, set()) | scored

    def memberships(
        self,
        person: Person,
        clock: Clock,
        thresholds: Mapping[ast.Percentile, float | None] | None = None,
        scores: Scores | None = None,
    ) -> frozenset[str]:
        """Return the names of the person's segments: the answer that `evaluate` gives for them.

        A person is in the static segments that they are known to be in (`person.segments`).
        thresholds: the value of each percentile, scores: what they know of the population; both from the last run.
        """
        inside: set[str] = set()
        judge = Judge(replace(person, segments=inside), clock, thresholds, scores)
        held: set[str] = set()
        for step in self.steps:
            if step.kind == "rule":
                rule = self.rules[step.name]
                holds = rule is not None and judge.holds(rule)
                if step.name in person.segments if step.name in self.static else holds:
                    held.add(step.name)
            elif step.kind == "group":
                inside |= self._winner(step.name, held, judge)
            elif step.name in held and step.name in self.ungrouped:
                inside.add(step.name)
        return frozenset(inside)

    def _winner(self, group: str, held: set[str], judge: Judge) -> set[str]:
        ranked = [
            (segment.group.priority, -_score(segment.group.score, judge), segment.name)
            for segment in self.groups.get(group, ())
            if segment.group and segment.name in held
        ]
        if ranked:
            return {min(ranked)[2]}
        return {self.fallbacks[group]} if group in self.fallbacks else set()


def memberships(
    segments: Sequence[Segment],
    person: Person,
    clock: Clock,
    thresholds: Mapping[ast.Percentile, float | None] | None = None,
    scores: Scores | None = None,
) -> frozenset[str]:
    """Return the names of one person's segments; for many people make a `Deciding` once."""
    return Deciding(segments).memberships(person, clock, thresholds, scores)


def _score(expression: ast.Value | None, judge: Judge) -> float:
    found = None if expression is None else judge.value(expression)
    return float("-inf") if found is None or isinstance(found, str) else float(found)
