"""Give everyone at most one segment of an exclusive group: by priority, then score, then name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import numpy as np

from consentry.errors import StopRun
from consentry.segments import ast
from consentry.segments.bits import Bits, Column
from consentry.segments.segment import Segment


def assign(
    group: str,
    members: Sequence[Segment],
    rules: Mapping[str, Bits],
    *,
    fallback: str | None,
    everyone: Bits,
    score: Callable[[ast.Value], Column],
) -> dict[str, Bits]:
    """Return who each segment of a group gets, the fallback included.

    rules: who of `everyone` the rule of each segment holds for. score: everyone's value of a score expression.
    Raises StopRun when the sizes do not add up, which no input can bring about.
    """
    taken = Bits.none(everyone.size)
    given: dict[str, Bits] = {}
    ranked = sorted(members, key=lambda segment: (_priority(segment), segment.name))
    for _, level in groupby(ranked, key=_priority):
        equals = list(level)
        won = _best(equals, rules, score, everyone.size) if _scored(equals) else _first(equals, rules)
        for segment in equals:
            given[segment.name] = won[segment.name] - taken
        for segment in equals:
            taken = taken | given[segment.name]
    if fallback is not None:
        given[fallback] = everyone - taken
    _hold_invariant(group, given, [rules[segment.name] for segment in members], fallback=fallback, everyone=everyone)
    return given


def _priority(segment: Segment) -> int:
    assert segment.group is not None
    return segment.group.priority


def _scored(segments: Sequence[Segment]) -> bool:
    return len(segments) > 1 and any(segment.group and segment.group.score for segment in segments)


def _first(segments: Sequence[Segment], rules: Mapping[str, Bits]) -> dict[str, Bits]:
    """Give each person to the first segment by name."""
    won: dict[str, Bits] = {}
    taken: Bits | None = None
    for segment in segments:
        held = rules[segment.name]
        won[segment.name] = held if taken is None else held - taken
        taken = held if taken is None else taken | held
    return won


def _best(
    segments: Sequence[Segment], rules: Mapping[str, Bits], score: Callable[[ast.Value], Column], size: int
) -> dict[str, Bits]:
    """Give each person to the segment with the highest score, a missing score last, ties by name."""
    best = np.full(size, -np.inf)
    winner = np.full(size, -1, dtype=np.int32)
    for n, segment in enumerate(segments):
        held = rules[segment.name].mask()
        expression = segment.group.score if segment.group else None
        own = np.full(size, -np.inf) if expression is None else score(expression)
        own = np.where(np.isnan(own), -np.inf, own)
        better = held & ((winner < 0) | (own > best))
        best[better], winner[better] = own[better], n
    return {segment.name: Bits.of(winner == n) for n, segment in enumerate(segments)}


def _hold_invariant(
    group: str, given: Mapping[str, Bits], held: Sequence[Bits], *, fallback: str | None, everyone: Bits
) -> None:
    union = Bits.none(everyone.size)
    for bits in held:
        union = union | bits
    expected = len(everyone) if fallback is not None else len(union)
    found = sum(len(bits) for bits in given.values())
    if found != expected:
        message = f"The group {group!r} gave out {found:,} places for {expected:,} people. Nothing was published."
        raise StopRun(message, code="group_not_exclusive")
