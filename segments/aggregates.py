"""Work out counts, sums and the like from events, in whatever order they come: arrays in, one value a person out.

It is the quick way for the functions that need one pass over the events; `features` has the SQL for all of them.
Events are read in slices of people, so that memory is bounded by the slice and not by the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consentry.segments import ast
from consentry.segments.bits import Column, Mask
from consentry.segments.clock import Clock
from consentry.segments.masks import Panel, Words

QUICK = frozenset({"count", "sum", "avg", "min", "max", "first", "last"})
SLICE_ROWS = 1_000_000
# What each function that adds up events is made of: a sum, divided by the next if there is one.
_PARTS = {"count": ("count",), "sum": ("sum",), "avg": ("sum", "count")}


def is_quick(value: ast.Value) -> bool:
    """Tell whether a value can be worked out here."""
    if not isinstance(value, ast.Aggregate) or isinstance(value.window, ast.AnyWindow):
        return False
    ends = value.function in ("first", "last")  # of a property they need an order among events of one instant
    return value.function in QUICK and not (ends and value.property is not None)


def properties(values: Iterable[ast.Value]) -> list[str]:
    """Return the properties that aggregates read, sorted."""
    found: set[str] = set()
    for value in values:
        if isinstance(value, ast.Aggregate):
            found |= {value.property} if value.property else set()
            found |= {node.name for node, _ in ast.walk(value) if isinstance(node, ast.Name)}
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Slice:
    """Events of one name. people: the ordinals of whoever has any, ascending. person: whose each event is, by place."""

    people: NDArray[np.int64]
    person: NDArray[np.int64]
    times: NDArray[np.int64]
    columns: Mapping[ast.Value, Column]
    words: Words
    clock: Clock

    def until_now(self) -> Slice:
        """Leave out what has not happened yet; whoever has no event then has a value like those who never had any."""
        happened = self.times <= self.clock.now_us
        if happened.all():
            return self
        columns = {name: column[happened] for name, column in self.columns.items()}
        return replace(self, person=self.person[happened], times=self.times[happened], columns=columns)

    def values(self, wanted: Iterable[ast.Aggregate]) -> dict[ast.Value, Column]:
        """Return the column of each value: one value a person of the slice, NaN where it is missing."""
        found: dict[ast.Value, Column] = {}
        adding: dict[object, list[ast.Aggregate]] = {}
        for value in wanted:
            if value.function in _PARTS:
                end = self.clock.bounds(value.window)[1]
                adding.setdefault((value.where, value.property, end), []).append(value)
            else:
                found[value] = self._extreme(value)
        for alike in adding.values():
            found.update(zip(alike, self._added(alike), strict=True))
        return found

    def _added(self, alike: Sequence[ast.Aggregate]) -> list[Column]:
        """Return counts, sums and averages that differ only in where their windows begin."""
        begins = sorted({self.clock.bounds(value.window)[0] for value in alike})
        cells = np.multiply(self._rings(begins, alike[0]), len(self.people), dtype=np.int64)
        cells += self.person
        taken = self._taken(alike[0])
        weights: dict[str, NDArray[Any] | None] = {"count": None, "sum": taken}
        if taken is not None and (missing := np.isnan(taken)).any():
            weights = {"count": ~missing, "sum": np.where(missing, 0.0, taken)}
        needed = {part for value in alike for part in _PARTS[value.function]}
        onward = {part: self._onward(cells, len(begins) + 1, weights[part]) for part in needed}
        found = []
        for value in alike:
            ring = begins.index(self.clock.bounds(value.window)[0]) + 1
            parts = [onward[part][ring].astype(np.float64, copy=False) for part in _PARTS[value.function]]
            with np.errstate(invalid="ignore"):
                found.append(parts[0] if len(parts) == 1 else parts[0] / parts[1])
        return found

    def _rings(self, begins: Sequence[int], value: ast.Aggregate) -> NDArray[np.integer[Any]]:
        """Return for each event how many windows have begun by then, 0 when it does not count.

        The beginnings cut time into rings: a window is its own ring and all after.
        """
        end = self.clock.bounds(value.window)[1]
        rings: NDArray[np.integer[Any]] = np.zeros(len(self.times), dtype=np.uint8 if len(begins) < 256 else np.int64)
        for begin in begins:
            rings += self.times >= begin
        if end < self.clock.now_us:
            rings *= self.times <= end
        if value.where is not None:
            rings *= self._meets(value.where)
        return rings

    def _onward(self, cells: NDArray[np.int64], size: int, weights: NDArray[Any] | None) -> NDArray[Any]:
        """Add up weights (or count) by cell; return a row for each ring, it and all after, with a column a person."""
        found = np.bincount(cells, weights=weights, minlength=len(self.people) * size).reshape(size, -1)
        for ring in range(size - 2, 0, -1):
            found[ring] += found[ring + 1]
        return found

    def _extreme(self, value: ast.Aggregate) -> Column:
        """Return the smallest or the greatest, the first or the last."""
        low, high = self.clock.bounds(value.window)
        taken = self._taken(value)
        taken = self.times.astype(np.float64) if taken is None else taken
        chosen = (self.times >= low) & (self.times <= high) & ~np.isnan(taken)
        if value.where is not None:
            chosen &= self._meets(value.where)
        least = value.function in ("min", "first")
        found = np.full(len(self.people), np.inf if least else -np.inf)
        (np.minimum if least else np.maximum).at(found, self.person[chosen], taken[chosen])
        return np.where(np.isinf(found), np.nan, found)

    def _taken(self, value: ast.Aggregate) -> Column | None:
        return None if value.property is None else self.columns[ast.Name(value.property)]

    def _meets(self, where: ast.Rule) -> Mask:
        return _holds(where, Panel(self.columns, self.words, self.clock, len(self.times)))


def _holds(rule: ast.Rule, panel: Panel) -> Mask:
    match rule:
        case ast.And(parts):
            return np.asarray(np.logical_and.reduce([_holds(part, panel) for part in parts]))
        case ast.Or(parts):
            return np.asarray(np.logical_or.reduce([_holds(part, panel) for part in parts]))
        case ast.Not(part):
            return np.asarray(~_holds(part, panel))
        case _:
            return panel.mask(rule)


def read_slice(table: pa.Table, names: Sequence[str], texts: frozenset[str], words: Words, clock: Clock) -> Slice:
    """Make a slice of rows of ordinal, t and the named properties (p_NAME), in any order."""
    columns: dict[ast.Value, Column] = {
        ast.Name(name): _column(table[f"p_{name}"], words if name in texts else None) for name in names
    }
    if not table.num_rows:
        nobody = np.empty(0, dtype=np.int64)
        return Slice(nobody, nobody, nobody, columns, words, clock)
    ordinals = table["ordinal"].to_numpy().astype(np.int64)
    first = int(ordinals.min())
    ordinals -= first
    there = np.zeros(int(ordinals.max()) + 1, dtype=np.bool_)
    there[ordinals] = True
    person = (np.cumsum(there) - 1)[ordinals]
    return Slice(np.flatnonzero(there) + first, person, table["t"].to_numpy(), columns, words, clock)


def _column(array: pa.ChunkedArray, words: Words | None) -> Column:
    if words is not None:
        return words.column(array.combine_chunks())
    found = np.asarray(array.cast("double").to_numpy())  # a null becomes NaN
    known = np.isfinite(found)
    return found if known.all() else np.where(known, found, np.nan)
