"""Turn features into a matrix of numbers: times into days before the cut-off, words into a column each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from consentry.segments.bits import Column
from consentry.segments.clock import micros
from consentry.segments.models.asof import Observed

Matrix = NDArray[np.float64]
# Words beyond these are rare: a column each would be learnt by heart.
MOST_WORDS = 20
_DAY_US = 86_400_000_000
_KINDS: Mapping[str, Literal["number", "days", "word"]] = {"text": "word", "date": "days", "timestamp": "days"}


@dataclass(frozen=True, slots=True)
class Coded:
    """How one feature becomes columns. words: the most frequent ones, a column of 0 and 1 for each."""

    feature: str
    kind: Literal["number", "days", "word"]
    words: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return [f"{self.feature}={word}" for word in self.words] if self.kind == "word" else [self.feature]


@dataclass(frozen=True, slots=True)
class Coding:
    """How features become a matrix, for everyone and for good."""

    columns: tuple[Coded, ...]

    @property
    def names(self) -> list[str]:
        return [name for column in self.columns for name in column.names]

    def matrix(self, observed: Observed) -> Matrix:
        """Return one row a person, NaN where a value is missing."""
        parts = [part for column in self.columns for part in _parts(column, observed)]
        return np.column_stack(parts) if parts else np.empty((len(observed), 0))

    def plain(self) -> list[dict[str, Any]]:
        """Return the coding as JSON holds it."""
        return [{"feature": c.feature, "kind": c.kind, "words": list(c.words)} for c in self.columns]

    @classmethod
    def read(cls, plain: Sequence[Mapping[str, Any]]) -> Coding:
        """Read what `plain` returned."""
        return cls(tuple(Coded(entry["feature"], entry["kind"], tuple(entry["words"])) for entry in plain))


def code(observed: Observed, *, without: Sequence[str] = ()) -> Coding:
    """Work out a coding from the people that are learnt from. without: features to leave out."""
    columns = []
    for feature in observed.features:
        if feature.name not in without:
            kind = _KINDS.get(feature.type, "number")
            words = _frequent(observed.columns[feature.name], observed.words) if kind == "word" else ()
            columns.append(Coded(feature.name, kind, words))
    return Coding(tuple(columns))


def plain_column(observed: Observed, name: str) -> Column:
    """Return a feature as numbers that can be compared: an instant as days before the cut-off."""
    column = observed.columns[name]
    is_time = any(f.name == name and f.type in ("date", "timestamp") for f in observed.features)
    return (micros(observed.at) - column) / _DAY_US if is_time else column


def texts(observed: Observed, name: str) -> list[str | None]:
    """Return a feature of words as words, None where it is missing."""
    return [None if np.isnan(n) else observed.words[int(n)] for n in observed.columns[name]]


def _frequent(column: Column, words: Sequence[str]) -> tuple[str, ...]:
    counted = Counter(words[int(n)] for n in column[~np.isnan(column)])
    ranked = sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))
    return tuple(sorted(word for word, _ in ranked[:MOST_WORDS]))


def _parts(column: Coded, observed: Observed) -> list[Column]:
    if column.kind != "word":
        return [plain_column(observed, column.feature)]
    places = {word: n for n, word in enumerate(observed.words)}
    found = observed.columns[column.feature]
    return [(found == places.get(word, -1)).astype(np.float64) for word in column.words]
