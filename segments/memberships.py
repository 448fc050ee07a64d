"""Decide which segments one person is in, in process, groups and references included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from consentry.segments import ast
from consentry.segments.clock import Clock
from consentry.segments.person import Judge, Person, Scores
from consentry.segments.segment import Segment, steps


def memberships(
    segments: Sequence[Segment],
    person: Person,
    clock: Clock,
    thresholds: Mapping[ast.Percentile, float | None] | None = None,
    scores: Scores | None = None,
) -> frozenset[str]:
    """Return the names of the person's segments: the answer that `evaluate` gives for them.

    thresholds: the value of each percentile, scores: what they know of the population; both from the last run.
    """
    known = {segment.name: segment for segment in segments}
    inside: set[str] = set()
    judge = Judge(replace(person, segments=inside), clock, thresholds, scores)
    held: set[str] = set()
    for step in steps(segments):
        if step.kind == "rule":
            rule = known[step.name].rule
            held |= {step.name} if rule is not None and judge.holds(rule) else set()
        elif step.kind == "group":
            inside |= _winner(step.name, segments, held, judge)
        elif known[step.name].group is None and step.name in held:
            inside.add(step.name)
    return frozenset(inside)


def _winner(group: str, segments: Sequence[Segment], held: set[str], judge: Judge) -> set[str]:
    ranked = [
        (segment.group.priority, -_score(segment.group.score, judge), segment.name)
        for segment in segments
        if segment.group and segment.group.group == group and segment.name in held
    ]
    if ranked:
        return {min(ranked)[2]}
    return {segment.name for segment in segments if segment.fallback_of == group}


def _score(expression: ast.Value | None, judge: Judge) -> float:
    found = None if expression is None else judge.value(expression)
    return float("-inf") if found is None or isinstance(found, str) else float(found)
