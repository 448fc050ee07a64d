"""Every way in which a person can stand to the conditions of some rules, found by trying values around each constant.

Conditions that compare a value with constants are tried below, at and above each of them, and missing; any other
condition is tried true and false. That finds rules that hold for nobody or for all, and gaps of a ladder.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from consentry.segments import ast
from consentry.segments.catalog import Catalog

MOST = 20_000
_OTHER = "\x00another"
_WHOLE = frozenset({"count", "distinct", "days_active"})
_NEVER_MISSING = frozenset({"count", "sum", "distinct", "days_active"})
Point = float | str | bool | None
# What one person has: values by what they are of, and the truth of conditions that are not understood.
Cell = Mapping[ast.Node, Point]


@dataclass(frozen=True, slots=True)
class _Axis:
    value: ast.Node
    points: tuple[Point, ...]


def cells(rules: Sequence[ast.Rule], catalog: Catalog) -> list[Cell] | None:
    """Return every cell of the space that the rules' conditions span; None when there are too many to try."""
    axes = list(_axes(rules, catalog))
    if math.prod(len(axis.points) for axis in axes) > MOST:
        return None
    return [
        dict(zip((axis.value for axis in axes), points, strict=True))
        for points in itertools.product(*(axis.points for axis in axes))
    ]


def holds(rule: ast.Rule, cell: Cell) -> bool:
    """Tell whether a rule holds in a cell."""
    match rule:
        case ast.And(parts):
            return all(holds(part, cell) for part in parts)
        case ast.Or(parts):
            return any(holds(part, cell) for part in parts)
        case ast.Not(part):
            return not holds(part, cell)
    if rule in cell:
        return cell[rule] is True
    match rule:
        case ast.Compare(left, op, right):
            return _compared(_at(left, cell), op, _at(right, cell))
        case ast.Between(value, low, high):
            found = _at(value, cell)
            return _compared(_at(low, cell), "<=", found) and _compared(found, "<=", _at(high, cell))
        case ast.In(value, options, negated):
            found = _at(value, cell)
            return found is not None and any(found == _at(option, cell) for option in options) != negated
        case ast.Is(value, missing):
            return (_at(value, cell) is None) == missing
        case ast.Recent(value, duration):
            found = _at(value, cell)
            return isinstance(found, float) and -duration.seconds <= found <= 0
        case ast.Truth(value):
            return _at(value, cell) is True
        case _:
            return False


def _axes(rules: Sequence[ast.Rule], catalog: Catalog) -> Iterator[_Axis]:
    constants: dict[ast.Value, list[Point]] = {}
    for atom in dict.fromkeys(atom for rule in rules for atom in ast.atoms(rule)):
        split = _split(atom)
        if split is None:
            yield _Axis(atom, (True, False))
        else:
            constants.setdefault(split[0], []).extend(split[1])
    for value, found in constants.items():
        yield _Axis(value, tuple(_points(value, found, catalog)))


def _split(atom: ast.Atom) -> tuple[ast.Value, list[Point]] | None:
    """Return the value that an atom compares, and with which constants; None when it is another kind of condition."""
    match atom:
        case ast.Compare(left, _, right):
            values = [left, right]
        case ast.Between(value, low, high):
            values = [value, low, high]
        case ast.In(value, options):
            values = [value, *options]
        case ast.Is(value) | ast.Truth(value):
            values = [value]
        case ast.Recent(value, duration):
            return (value, [-float(duration.seconds), 0.0]) if _is_free(value) else None
        case _:
            return None
    free = [value for value in values if _is_free(value)]
    if len(free) != 1 or any(not _is_free(value) and _constant(value) is None for value in values):
        return None
    return free[0], [_constant(value) for value in values if not _is_free(value)]


def _is_free(value: ast.Value) -> bool:
    return isinstance(value, ast.Name | ast.Aggregate | ast.Score)


def _constant(value: ast.Value) -> Point:
    """Return a constant; an instant before now is its distance, and others that depend on now are not understood."""
    match value:
        case ast.Ago(duration):
            return -float(duration.seconds)
        case ast.Literal(found, kind) if kind not in ("date", "timestamp"):
            return found if isinstance(found, bool | str) else float(found) if isinstance(found, int | float) else None
        case _:
            return None


def _at(value: ast.Value, cell: Cell) -> Point:
    return cell[value] if value in cell else _constant(value)


def _points(value: ast.Value, constants: Sequence[Point], catalog: Catalog) -> Iterator[Point]:
    """Yield values that stand for all that the constants tell apart."""
    if not (isinstance(value, ast.Aggregate) and value.function in _NEVER_MISSING):
        yield None
    numbers = sorted({found for found in constants if isinstance(found, float)})
    if numbers:
        yield from _around(value, numbers, catalog)
    elif all(isinstance(found, bool) for found in constants) and _is_boolean(value, constants, catalog):
        yield from (True, False)
    else:
        yield from sorted({found for found in constants if isinstance(found, str)})
        yield _OTHER


def _is_boolean(value: ast.Value, constants: Sequence[Point], catalog: Catalog) -> bool:
    return bool(constants) or (isinstance(value, ast.Name) and catalog.attributes.get(value.name) == "boolean")


def _around(value: ast.Value, numbers: Sequence[float], catalog: Catalog) -> Iterator[float]:
    whole = isinstance(value, ast.Aggregate) and value.function in _WHOLE
    whole = whole or (isinstance(value, ast.Name) and catalog.attributes.get(value.name) == "integer")
    middles = [(low + high) / 2 for low, high in itertools.pairwise(numbers)]
    found = {number + step for number in numbers for step in (-1.0, 0.0, 1.0)} if whole else {*numbers, *middles}
    found |= {numbers[0] - 1, numbers[-1] + 1}
    for point in sorted(found):
        happens = not isinstance(value, ast.Aggregate) or not _is_impossible(value, point)
        if happens and (not whole or point == int(point)):
            yield point


def _is_impossible(value: ast.Aggregate, point: float) -> bool:
    """Counts are not negative, and events do not happen after now."""
    if value.function in _WHOLE:
        return point < 0
    return value.function in ("first", "last") and value.property is None and point > 0


def _compared(left: Point, op: ast.Comparison, right: Point) -> bool:
    if left is None or right is None:
        return False
    if op in ("==", "!="):
        return (left == right) == (op == "==")
    if not isinstance(left, float) or not isinstance(right, float):
        return False
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[op]
