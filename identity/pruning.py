"""Which pairs can weigh enough to count, told by whole columns at once: most pairs that share a key cannot.

A pair weighs at most what the best of those levels weighs that are not ruled out, summed over the comparisons.
Whether two values are equal, and a sketch of each text, rule out most. The sum is a bound: whoever is left out here
would have been left out by the score. A condition of a shape that is not known here rules out nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consentry.identity.blocks import Hashes, read_hashes
from consentry.identity.candidates import FEATURES, staged_roles
from consentry.identity.codes import Flags, Ints
from consentry.identity.household import NEIGHBOURS, SHARED
from consentry.identity.model import Comparison, Level, Model
from consentry.identity.roles import DAY_MONTH, SWAPPED
from consentry.identity.sketch import Floats, Likeness, Sketches
from consentry.model.names import quoted
from consentry.warehouse import Warehouse

# Tells by pair whether a level may hold.
Test = Callable[[Ints, Ints, Likeness], Flags]
# Sums of single precision are this exact.
_SLACK = 0.01
_ALIKE = re.compile(r'jaro_winkler_similarity\("(\w+)_l", "\1_r"\) >= ([\d.]+)')
_STROKES = re.compile(r'levenshtein\("(\w+)_l", "\1_r"\) <= (\d+)')
_BEGINS = re.compile(r'starts_with\("(\w+)_[lr]", "\1_[lr]"\)')


@dataclass(frozen=True, slots=True)
class Bound:
    """What a comparison weighs at most.

    code: a hash of the value of each record, 0 for none. equal: by record, for a pair that says the same.
    steps: what the other levels weigh, from the most, and when they may hold. floor: what the last level weighs.
    """

    code: Hashes
    sketches: Sketches
    equal: Floats
    steps: tuple[tuple[float, Test], ...]
    floor: float

    @property
    def ceiling(self) -> float:
        """Return what a pair of different values weighs at most."""
        return max([self.floor, *(weight for weight, _ in self.steps)])

    def of_different(self, one: Ints, other: Ints) -> Floats:
        """Return what pairs of different values weigh at most."""
        likeness = self.sketches.likeness(one, other)
        found = np.full(len(one), self.floor, dtype=np.float32)
        for weight, may in reversed(self.steps):
            if weight > self.floor:
                found[may(one, other, likeness)] = weight
        return found


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of all comparisons. rest: what those weigh at most of which nothing is known here."""

    bounds: tuple[Bound, ...]
    rest: float
    codes: dict[str, Hashes]

    def promising(self, one: Ints, other: Ints, least: float) -> Flags:
        """Tell which pairs may weigh `least`, or be two people of one household."""
        weight = np.full(len(one), self.rest + _SLACK, dtype=np.float32)
        different = []
        for bound in self.bounds:
            mine, theirs = bound.code[one], bound.code[other]
            told, same = (mine != 0) & (theirs != 0), mine == theirs
            weight += np.where(told, np.where(same, bound.equal[one], np.float32(bound.ceiling)), np.float32(0))
            different.append(told & ~same)
        for bound, unlike in sorted(zip(self.bounds, different, strict=True), key=lambda pair: -_gain(pair[0])):
            at = np.flatnonzero(unlike & (weight >= least))
            weight[at] += bound.of_different(one[at], other[at]) - np.float32(bound.ceiling)
        return (weight >= least) | self._neighbours(one, other)

    def _neighbours(self, one: Ints, other: Ints) -> Flags:
        """Tell which pairs share what a household shares, and not the given name."""
        shared = np.zeros(len(one), dtype=np.bool_)
        if "given_name" not in self.codes:
            return shared
        for names in (*((name,) for name in SHARED), NEIGHBOURS):
            if set(names) <= self.codes.keys():
                shared |= np.logical_and.reduce([self._agree(name, one, other) for name in names])
        return shared & ~self._agree("given_name", one, other)

    def _agree(self, name: str, one: Ints, other: Ints) -> Flags:
        mine = self.codes[name][one]
        agree: Flags = (mine == self.codes[name][other]) & (mine != 0)
        return agree


def _gain(bound: Bound) -> float:
    return bound.ceiling - bound.floor


def read_bounds(warehouse: Warehouse, model: Model) -> Bounds:
    """Read from FEATURES what bounds the comparisons of the model."""
    roles = staged_roles(warehouse)
    known = {column: c for c in model.comparisons if (column := _column(c)) in roles}
    expressions = {name: quoted(name) for name in roles}
    for comparison in known.values():
        expressions |= {sql: sql for level in comparison.told[1:] for sql in _expressions(level)}
    codes = read_hashes(warehouse, expressions)
    sketches = _read_sketches(warehouse, known)
    records = max(warehouse.count(FEATURES), 1)
    bounds = []
    for column, comparison in known.items():
        *steps, floor = (
            (_most(level, comparison, records), _test(level, column, codes)) for level in comparison.told[1:]
        )
        steps.sort(key=lambda step: -step[0])
        equal = _equal(warehouse, comparison, records)
        bounds.append(Bound(codes[column], sketches[column], equal, tuple(steps), floor[0]))
    others = (c for c in model.comparisons if c not in known.values())
    rest = sum(max([0.0, *(_most(level, c, records) for level in c.told)]) for c in others)
    return Bounds(tuple(bounds), rest, codes)


def _read_sketches(warehouse: Warehouse, columns: Iterable[str]) -> dict[str, Sketches]:
    found = {name: Sketches.empty(warehouse.count(FEATURES)) for name in columns}
    for batch in warehouse.stream(f"SELECT r, {', '.join(map(quoted, found))} FROM {FEATURES}"):
        for place, sketches in enumerate(found.values(), 1):
            sketches.put(batch.column(0).to_numpy(), batch.column(place))
    return found


def _column(comparison: Comparison) -> str | None:
    """Return the column of a comparison that tells missing, equal and different values; None for another shape."""
    if len(comparison.levels) < 3:
        return None
    missing, equal, *_ = comparison.levels
    name = equal.condition.partition('_l" = ')[0].removeprefix('"')
    shape = (f'"{name}_l" IS NULL OR "{name}_r" IS NULL', f'"{name}_l" = "{name}_r"')
    found = (missing.condition, equal.condition) == shape and comparison.told[-1].condition == "ELSE"
    return name if found and equal.rare in (None, name) else None


def _test(level: Level, column: str, codes: dict[str, Hashes]) -> Test:
    """Return when a level of a column's comparison may hold: when one of its alternatives may."""
    if level.condition == SWAPPED:
        return lambda one, other, _: codes["given_name"][one] == codes["family_name"][other]
    tests = [_alternative(part, column, codes) for part in level.condition.split(" OR ")]
    return lambda one, other, likeness: np.logical_or.reduce([test(one, other, likeness) for test in tests])


def _alternative(condition: str, column: str, codes: dict[str, Hashes]) -> Test:
    if condition == DAY_MONTH and column == "date_of_birth":
        return lambda one, other, likeness: likeness.within(0)
    if (found := _ALIKE.fullmatch(condition)) and found[1] == column:
        least = float(found[2])
        return lambda one, other, likeness: likeness.reaches(least)
    if (found := _STROKES.fullmatch(condition)) and found[1] == column:
        most = int(found[2])
        return lambda one, other, likeness: likeness.within(most)
    if (found := _BEGINS.fullmatch(condition)) and found[1] == column:
        return lambda one, other, likeness: likeness.begins()
    if sql := _expression(condition):
        return lambda one, other, likeness: codes[sql][one] == codes[sql][other]
    return lambda one, other, likeness: np.ones(len(one), dtype=np.bool_)


def _expressions(level: Level) -> list[str]:
    return [sql for part in level.condition.split(" OR ") if (sql := _expression(part))]


def _expression(condition: str) -> str | None:
    """Return what two records are to have in common, for a condition that says so and no more."""
    one, equals, other = condition.partition(" = ")
    plain = equals and " AND " not in condition and one.replace('_l"', '_r"') == other
    return one.replace('_l"', '"') if plain else None


def _most(level: Level, comparison: Comparison, records: int) -> float:
    """Return what a level weighs at most: for a value that stands once, or one of which nothing is known."""
    return max(level.weight, float(_weight(level, comparison, np.array([1 / records]))[0]))


def _equal(warehouse: Warehouse, comparison: Comparison, records: int) -> Floats:
    """Return by record what it weighs when another says the same."""
    equal = comparison.told[0]
    share = np.ones(records)
    if equal.rare:
        for batch in warehouse.stream(f"SELECT r, coalesce(tf_{equal.rare}, 1.0) FROM {FEATURES}"):
            share[batch.column(0).to_numpy()] = batch.column(1).to_numpy()
    return _weight(equal, comparison, share).astype(np.float32)


def _weight(level: Level, comparison: Comparison, share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    bits = np.full(len(share), level.weight)
    equal = comparison.told[0]
    if level.rare and equal.u:
        bits += level.rare_weight * (math.log2(equal.u) - np.log2(np.maximum(share, level.rare_floor)))
    return bits
