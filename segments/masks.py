"""Decide an atom for everyone at once, from columns of numbers in the order of the person ordinals.

A column holds 64-bit floats, NaN where the value is missing; a text is the number of its word (see `Words`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from consentry.segments import ast
from consentry.segments.bits import Column, Mask
from consentry.segments.clock import Clock
from consentry.segments.features import plain

Columns = Mapping[ast.Value, Column]
_OTHER = -1.0


@dataclass(slots=True)
class Words:
    """Numbers for texts. When `closed`, only words that rules write get one, so that memory stays small.

    It has to be open when a rule compares two columns of text with each other.
    """

    closed: bool
    numbers: dict[str, float] = field(default_factory=dict)

    def number(self, text: str) -> float:
        """Return the number of a word, a new one for a new word unless closed."""
        if self.closed:
            return self.numbers.get(text, _OTHER)
        return self.numbers.setdefault(text, float(len(self.numbers)))

    def learn(self, rules: Iterable[ast.Node]) -> None:
        """Give a number to every text that stands in the rules."""
        for rule in rules:
            for node, _ in ast.walk(rule):
                if isinstance(node, ast.Literal) and isinstance(node.value, str):
                    self.numbers.setdefault(node.value, float(len(self.numbers)))

    def column(self, texts: pa.Array) -> Column:
        """Turn an array of texts into numbers, NaN for null."""
        encoded = texts.dictionary_encode()
        numbers = np.array([self.number(word) for word in encoded.dictionary.to_pylist()] + [np.nan])
        places = encoded.indices.fill_null(len(numbers) - 1).to_numpy(zero_copy_only=False)
        return np.asarray(numbers[places])


def compares_texts(rules: Iterable[ast.Node], is_text: Callable[[ast.Value], bool]) -> bool:
    """Tell whether a rule compares two columns of text with each other."""
    return any(
        isinstance(node, ast.Compare) and is_text(node.left) and is_text(node.right)
        for rule in rules
        for node, _ in ast.walk(rule)
    )


def inputs(node: ast.Node) -> Iterator[ast.Name | ast.Aggregate | ast.Percentile | ast.Score]:
    """Yield the columns that an atom or a value needs, without those inside `where` and `over`."""
    if isinstance(node, ast.Name | ast.Aggregate | ast.Percentile | ast.Score):
        yield node
        return
    for child in ast.children(node):
        yield from inputs(child)


@dataclass(frozen=True, slots=True)
class Panel:
    """Everyone's columns at one time: decides atoms that need no more than these."""

    columns: Columns
    words: Words
    clock: Clock
    size: int
    thresholds: Mapping[ast.Percentile, float | None] = field(default_factory=dict)

    def mask(self, atom: ast.Atom) -> Mask:
        """Return who an atom holds for."""
        found = self._mask(atom)
        # An atom of constants alone is one answer for everyone.
        return np.broadcast_to(found, (self.size,)) if found.ndim == 0 else found

    def _mask(self, atom: ast.Atom) -> Mask:
        match atom:
            case ast.Compare(left, op, right):
                return _compared(self.value(left), op, self.value(right))
            case ast.Between(value, low, high):
                found = self.value(value)
                return np.asarray((self.value(low) <= found) & (found <= self.value(high)))
            case ast.In(value, options, negated):
                found = self.value(value)
                listed = np.isin(found, [self._constant(option) for option in options])
                return np.asarray(~np.isnan(found) & (listed != negated))
            case ast.Is(value, missing):
                return np.asarray(np.isnan(self.value(value)) == missing)
            case ast.Recent(value, duration):
                found = self.value(value)
                begin = float(self.clock.ago(duration.seconds))
                return np.asarray((found >= begin) & (found <= float(self.clock.now_us)))
            case ast.Truth(value):
                return np.asarray(self.value(value) == 1.0)
            case ast.InSegment() | ast.Sequence():
                raise AssertionError("References and sequences are not decided from columns.")

    def value(self, value: ast.Value) -> Column:
        """Return the column of a value; a constant is an array without dimension."""
        match value:
            case ast.Literal():
                return np.asarray(self._constant(value))
            case ast.Ago(duration):
                return np.asarray(float(self.clock.ago(duration.seconds)))
            case ast.Percentile():
                threshold = self.thresholds[value]
                return np.asarray(np.nan if threshold is None else threshold)
            case _:
                return self.columns[value]

    def _constant(self, literal: ast.Literal) -> float:
        known = plain(literal.value)
        return self.words.numbers[known] if isinstance(known, str) else known


def _compared(left: Column, op: ast.Comparison, right: Column) -> Mask:
    match op:
        case "==":
            return np.asarray(left == right)
        case "!=":
            return np.asarray((left != right) & ~np.isnan(left) & ~np.isnan(right))
        case "<":
            return np.asarray(left < right)
        case "<=":
            return np.asarray(left <= right)
        case ">":
            return np.asarray(left > right)
        case ">=":
            return np.asarray(left >= right)
