"""What is right by the language and probably not meant: rules that hold for nobody, gaps of a ladder, telling names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.cells import Cell, cells, holds
from consentry.segments.masks import inputs
from consentry.segments.segment import Lint, Segment, Severity
from consentry.segments.sensitive import traits_in
from consentry.segments.spell import spell, spell_value

_SHOWN = 6
_KNOWN_FUNCTIONS = frozenset({"count", "sum", "distinct", "days_active"})


@dataclass(frozen=True, slots=True)
class Remark:
    """Something a person should look at."""

    segment: str
    code: Lint
    severity: Severity
    sentence: str


def lint(segments: Sequence[Segment], catalog: Catalog) -> list[Remark]:
    """Return remarks on segments that were read without a fault, by segment, each as grave as its segment says."""
    found = [remark for segment in segments for remark in _about(segment, catalog)]
    groups = {segment.group.group for segment in segments if segment.group}
    for group in sorted(groups):
        found += _about_group(group, segments, catalog)
    return weighed(found, segments)


def weighed(remarks: Iterable[Remark], segments: Sequence[Segment]) -> list[Remark]:
    """Give each remark the severity that its segment states, and leave out what the segment ignores."""
    stated = {segment.name: segment.lint for segment in segments}
    found = []
    for remark in remarks:
        severity = stated.get(remark.segment, {}).get(remark.code, remark.severity)
        if severity != "ignore":
            found.append(replace(remark, severity=severity))
    return found


def _about(segment: Segment, catalog: Catalog) -> Iterator[Remark]:
    for word, trait in traits_in(f"{segment.name} {segment.description}"):
        sentence = (
            f"The name or description tells of {trait} ({word!r}), which GDPR Art. 9 protects: whoever gets the"
            " audience learns it of each member. Use another name, or let 'lint' say that it is meant."
        )
        yield Remark(segment.name, "sensitive", "warning", sentence)
    if segment.rule is None:
        return
    for part in _loose(segment.rule):
        sentence = (
            f"'not {spell(part)}' also holds for people of whom it is not known. Add 'is known' if they are not meant."
        )
        yield Remark(segment.name, "nullable_not", "warning", sentence)
    space = cells([segment.rule], catalog)
    if space is not None:
        held = sum(holds(segment.rule, cell) for cell in space)
        if held == 0:
            yield Remark(
                segment.name, "never", "warning", "The rule can hold for nobody: its conditions exclude each other."
            )
        elif held == len(space):
            yield Remark(
                segment.name, "always", "warning", "The rule holds for everybody: its conditions leave nobody out."
            )
    if not segment.examples:
        yield Remark(
            segment.name,
            "no_tests",
            "info",
            "The segment has no 'tests'. Add somebody who is in and somebody who is out.",
        )


def _loose(rule: ast.Rule) -> Iterator[ast.Rule]:
    """Yield what a `not` turns around although a value in it may be missing."""
    match rule:
        case ast.Not(part):
            if any(
                _may_be_missing(value) for atom in ast.atoms(part) if _is_comparison(atom) for value in inputs(atom)
            ):
                yield part
        case ast.And(parts) | ast.Or(parts):
            known = {atom.value for atom in ast.atoms(rule) if isinstance(atom, ast.Is) and not atom.missing}
            for part in parts:
                for found in _loose(part):
                    values = {value for atom in ast.atoms(found) for value in inputs(atom) if _may_be_missing(value)}
                    if not (isinstance(rule, ast.And) and values <= known):
                        yield found


def _is_comparison(atom: ast.Atom) -> bool:
    return not isinstance(atom, ast.Is | ast.InSegment | ast.Sequence)


def _may_be_missing(value: ast.Value) -> bool:
    return not (isinstance(value, ast.Aggregate) and value.function in _KNOWN_FUNCTIONS)


def _about_group(group: str, segments: Sequence[Segment], catalog: Catalog) -> Iterator[Remark]:
    ladder = sorted(
        (
            segment
            for segment in segments
            if segment.group and segment.group.group == group and segment.rule is not None
        ),
        key=lambda segment: (segment.group.priority if segment.group else 0, segment.name),
    )
    rules = [segment.rule for segment in ladder if segment.rule is not None]
    space = cells(rules, catalog)
    if space is None:
        return
    yield from _shadowed(group, ladder, space)
    left = [cell for cell in space if not any(holds(rule, cell) for rule in rules)]
    gaps = list(dict.fromkeys(_named(rules, cell) for cell in left))
    if gaps:
        fallback = next((segment.name for segment in segments if segment.fallback_of == group), None)
        more = f" and {len(gaps) - _SHOWN} more" if len(gaps) > _SHOWN else ""
        where = f"go to the fallback {fallback!r}" if fallback else "are in none; declare a 'fallback' on the group"
        sentence = f"The group {group!r} leaves these uncovered: {'; '.join(gaps[:_SHOWN])}{more}. They {where}."
        yield Remark(fallback or ladder[-1].name, "uncovered", "info" if fallback else "warning", sentence)


def _shadowed(group: str, ladder: Sequence[Segment], space: Sequence[Cell]) -> Iterator[Remark]:
    taken: set[int] = set()
    scored = any(segment.group and segment.group.score for segment in ladder)
    for segment in ladder:
        if segment.rule is None:
            continue
        own = {n for n, cell in enumerate(space) if holds(segment.rule, cell)}
        if own and own <= taken and not scored:
            sentence = f"Everybody whom the rule means is taken by a segment of {group!r} that comes first."
            yield Remark(segment.name, "shadowed", "warning", sentence)
        taken |= own


def _named(rules: Sequence[ast.Rule], cell: Cell) -> str:
    """Name a cell by what is true in it: the conditions that hold, and the values that are missing."""
    atoms = list(dict.fromkeys(atom for rule in rules for atom in ast.atoms(rule)))
    true = [spell(atom) for atom in atoms if holds(atom, cell)]
    missing = [
        f"{spell_value(value)} is missing"
        for value, point in cell.items()
        if point is None and isinstance(value, ast.Name | ast.Aggregate | ast.Score)
    ]
    return " and ".join([*true, *missing]) or "none of the conditions"
