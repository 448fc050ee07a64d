"""Work out counts, sums and the like from events that lie sorted by person: arrays in, one value a person out.

It is the quick way for the functions that need one pass over sorted events; `features` has the SQL for all of
them. Rows are read in slices of people, so that memory is bounded by the slice and not by the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
SLICE_ROWS = 4_000_000


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
    """Events of one name: rows sorted by person, `starts` where each of the `people` begins, ascending."""

    people: NDArray[np.int64]
    starts: NDArray[np.intp]
    times: NDArray[np.int64]
    columns: Mapping[ast.Value, Column]
    words: Words
    clock: Clock

    def values(self, wanted: Iterable[ast.Aggregate]) -> dict[ast.Value, Column]:
        """Return the column of each value: one value a person of the slice, NaN where it is missing."""
        found: dict[ast.Value, Column] = {}
        person = np.repeat(np.arange(len(self.people)), np.diff(self.starts, append=len(self.times)))
        for alike in _alike(wanted, self.clock):
            if len(alike) > 1 and len(self.people):
                found.update(zip(alike, self._nested(alike, person), strict=True))
            else:
                found.update((value, self.value(value)) for value in alike)
        return found

    def value(self, value: ast.Aggregate) -> Column:
        """Return the column of one value."""
        if len(self.people) == 0:
            return np.empty(0)
        taken = self._taken(value)
        chosen = self._chosen(value)
        if taken is not None:
            chosen = chosen & ~np.isnan(taken)
        if value.function == "count":
            return np.asarray(np.add.reduceat(chosen, self.starts, dtype=np.float64))
        return self._reduced(value.function, chosen, self.times.astype(np.float64) if taken is None else taken)

    def _nested(self, alike: Sequence[ast.Aggregate], person: NDArray[np.intp]) -> list[Column]:
        """Return the columns of counts or sums that differ only in where their windows begin, widest window first.

        One pass puts each event into the ring between two beginnings; a window is all the rings inside it.
        Rings of one person lie side by side, as the events do: scattering them costs ten times more.
        """
        first, taken, size = alike[0], self._taken(alike[0]), len(alike) + 1
        ring: NDArray[np.integer[Any]] = np.zeros(len(self.times), dtype=np.uint8 if size < 256 else np.int64)
        for value in alike:
            ring += self.times >= self.clock.bounds(value.window)[0]
        if first.where is not None:
            ring = ring * self._meets(first.where)
        if taken is not None:
            known = ~np.isnan(taken)
            ring = ring * known
            taken = np.where(known, taken, 0.0)
        weights = taken if first.function == "sum" else None
        found = np.bincount(person * size + ring, weights=weights, minlength=len(self.people) * size)
        rings = found.reshape(-1, size).T.astype(np.float64, order="C")
        for outer in range(size - 2, 0, -1):
            rings[outer] += rings[outer + 1]
        return list(rings[1:])

    def _taken(self, value: ast.Aggregate) -> Column | None:
        return None if value.property is None else self.columns[ast.Name(value.property)]

    def _chosen(self, value: ast.Aggregate) -> Mask:
        low, high = self.clock.bounds(value.window)
        inside = np.asarray((self.times >= low) & (self.times <= high))
        if value.where is None:
            return inside
        return inside & self._meets(value.where)

    def _meets(self, where: ast.Rule) -> Mask:
        return _holds(where, Panel(self.columns, self.words, self.clock, len(self.times)))

    def _reduced(self, function: ast.Function, chosen: Mask, taken: Column) -> Column:
        match function:
            case "sum" | "avg":
                total: Column = np.add.reduceat(np.where(chosen, taken, 0.0), self.starts)
                if function == "sum":
                    return total
                count = np.add.reduceat(chosen, self.starts, dtype=np.float64)
                with np.errstate(invalid="ignore"):
                    return total / count
            case "min" | "first":
                found = np.minimum.reduceat(np.where(chosen, taken, np.inf), self.starts)
            case _:
                found = np.maximum.reduceat(np.where(chosen, taken, -np.inf), self.starts)
        return np.where(np.isinf(found), np.nan, found)


def _alike(wanted: Iterable[ast.Aggregate], clock: Clock) -> Iterator[list[ast.Aggregate]]:
    """Put counts and sums together that differ only in where their windows begin; others stand alone."""
    groups: dict[object, list[ast.Aggregate]] = {}
    for value in wanted:
        adds_up = value.function in ("count", "sum") and clock.bounds(value.window)[1] == clock.now_us
        groups.setdefault(replace(value, window=None) if adds_up else (value,), []).append(value)
    for alike in groups.values():
        yield sorted(alike, key=lambda value: clock.bounds(value.window)[0])


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


def read_slice(
    batches: Iterable[pa.RecordBatch], names: Sequence[str], texts: frozenset[str], words: Words, clock: Clock
) -> Slice:
    """Make a slice of rows of ordinal, t and the named properties (p_NAME).

    Rows may come in any order of batches; rows that are not sorted by person are sorted here.
    """
    found = sorted((batch for batch in batches if batch.num_rows), key=_ends)
    if not found:
        nobody = np.empty(0, dtype=np.int64)
        return Slice(nobody, nobody, nobody, {}, words, clock)
    table = pa.Table.from_batches(found)
    ordinals = table["ordinal"].to_numpy().astype(np.int64)
    order = None if np.all(ordinals[1:] >= ordinals[:-1]) else np.argsort(ordinals, kind="stable")
    columns: dict[ast.Value, Column] = {
        ast.Name(name): _ordered(_column(table[f"p_{name}"], words if name in texts else None), order) for name in names
    }
    ordinals = _ordered(ordinals, order)
    starts = np.flatnonzero(np.concatenate(([True], ordinals[1:] != ordinals[:-1])))
    return Slice(ordinals[starts], starts, _ordered(table["t"].to_numpy(), order), columns, words, clock)


def _ends(batch: pa.RecordBatch) -> tuple[int, int]:
    ordinals = batch.column("ordinal")
    return ordinals[0].as_py(), ordinals[-1].as_py()


def _column(array: pa.ChunkedArray, words: Words | None) -> Column:
    if words is not None:
        return words.column(array.combine_chunks())
    return np.asarray(array.cast("double").to_numpy())  # a null becomes NaN


# Numbers of any kind.
def _ordered(values: NDArray[Any], order: NDArray[np.intp] | None) -> NDArray[Any]:
    return values if order is None else values[order]
