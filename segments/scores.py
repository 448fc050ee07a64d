"""Scores of people against everybody: RFM, weighted sums, points, bands. Arrays in, one score a person out.

What a score needs to know of the population (cut points, smallest and greatest value, mean and deviation) are its
figures: worked out once a run, kept with it, and the same for everyone at once and for one person in process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from consentry.segments import ast
from consentry.segments.ast import Type
from consentry.segments.bits import Column

Scale = Literal["none", "minmax", "zscore"]
Figures = tuple[float, ...]
_DAY_US = 86_400_000_000
# Recency and frequency to the named segment; each of the 25 cells once (facts and figures: UCI Online Retail).
RFM_TABLE: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "champions": ((5,), (4, 5)),
    "loyal": ((3, 4), (4, 5)),
    "potential_loyalist": ((4, 5), (2, 3)),
    "new": ((5,), (1,)),
    "promising": ((4,), (1,)),
    "need_attention": ((3,), (3,)),
    "about_to_sleep": ((3,), (1, 2)),
    "at_risk": ((1, 2), (3, 4)),
    "cannot_lose": ((1, 2), (5,)),
    "hibernating": ((1, 2), (1, 2)),
}
RFM_CELLS = {(r, f): name for name, (rs, fs) in RFM_TABLE.items() for r in rs for f in fs}
_SHARES = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a weighted score. A value that is a time counts as the whole days since then, by UTC dates."""

    value: ast.Value
    weight: float
    scale: Scale = "none"
    is_time: bool = False
    lower_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Weighted:
    """A sum of weighted terms; missing when a term is. bands: names with the value each begins at, ascending."""

    name: str
    terms: tuple[Term, ...]
    is_integer: bool = False
    bands: tuple[tuple[str, float], ...] = ()

    @property
    def values(self) -> tuple[ast.Value, ...]:
        return tuple(term.value for term in self.terms)


@dataclass(frozen=True, slots=True)
class Rfm:
    """Recency, frequency and monetary value from 1 to 5, 5 is best; ties stay together.

    Cut points are value quantiles at 20, 40, 60 and 80 %, linear interpolation. A value equal to one belongs to the
    lower score of frequency and money, and to the better score of recency. NTILE would split equal counts by row order.
    """

    recency: ast.Value
    frequency: ast.Value
    monetary: ast.Value

    @property
    def values(self) -> tuple[ast.Value, ...]:
        return (self.recency, self.frequency, self.monetary)


Scored = Weighted | Rfm


def part_type(definition: Scored, family: str, part: str) -> Type | None:
    """Return the type of `family.part`, None when the definition has no such part."""
    if isinstance(definition, Rfm):
        return "text" if part == "segment" else "integer" if part in ("r", "f", "m") else None
    if family == "band":
        return "text" if definition.bands else None
    return "integer" if definition.is_integer else "number"


def figures(definition: Scored, values: Sequence[Column], now_us: int) -> Figures | None:
    """Return what a score needs to know of a population, None when nobody there has it.

    values: one column for each of the definition's values, of the people who count.
    """
    if isinstance(definition, Rfm):
        known = ~np.logical_or.reduce([np.isnan(column) for column in values])
        if not known.any():
            return None
        columns = [_days(values[0], now_us), *values[1:]]
        return tuple(float(cut) for column in columns for cut in np.quantile(column[known], _SHARES))
    found: list[float] = []
    for term, column in zip(definition.terms, values, strict=True):
        known_values = _plain(term, column, now_us)
        known_values = known_values[~np.isnan(known_values)]
        if len(known_values) == 0:
            return None
        found += _spread(term.scale, known_values)
    return tuple(found)


def _spread(scale: Scale, values: Column) -> tuple[float, float]:
    match scale:
        case "minmax":
            return float(values.min()), float(values.max() - values.min())
        case "zscore":
            return float(values.mean()), float(values.std())
        case _:
            return 0.0, 1.0


def score(
    definition: Scored,
    wanted: ast.Score,
    values: Sequence[Column],
    known: Figures | None,
    now_us: int,
    word: Callable[[str], float],
) -> Column:
    """Return the score that a rule names, NaN where it is missing. word: the number that stands for a text."""
    if known is None:
        return np.full(len(values[0]), np.nan)
    if isinstance(definition, Rfm):
        return _rfm(wanted.name, values, known, now_us, word)
    total = np.zeros(len(values[0]))
    for n, (term, column) in enumerate(zip(definition.terms, values, strict=True)):
        total = total + term.weight * _scaled(term, _plain(term, column, now_us), known[2 * n], known[2 * n + 1])
    total = np.rint(total) if definition.is_integer else np.rint(total * 1e6) / 1e6
    return _banded(total, definition.bands, word) if wanted.family == "band" else total


def _plain(term: Term, column: Column, now_us: int) -> Column:
    return _days(column, now_us) if term.is_time else column


def _days(instants: Column, now_us: int) -> Column:
    """Return the whole days between two dates in UTC."""
    return now_us // _DAY_US - np.floor(instants / _DAY_US)


def _scaled(term: Term, values: Column, begin: float, width: float) -> Column:
    if term.scale == "none":
        return -values if term.lower_is_better else values
    scaled = (values - begin) / width if width > 0 else np.where(np.isnan(values), np.nan, 0.0)
    if term.scale == "minmax":
        return 1 - scaled if term.lower_is_better else scaled
    return -scaled if term.lower_is_better else scaled


def _banded(values: Column, bands: Sequence[tuple[str, float]], word: Callable[[str], float]) -> Column:
    """Name the band of each value: from its beginning up to, and without, the next one's."""
    numbers = np.array([np.nan, *(word(name) for name, _ in bands)])
    places = np.searchsorted([low for _, low in bands], np.where(np.isnan(values), -np.inf, values), side="right")
    return np.asarray(np.where(np.isnan(values), np.nan, numbers[places]))


def _rfm(part: str, values: Sequence[Column], cuts: Figures, now_us: int, word: Callable[[str], float]) -> Column:
    missing = np.logical_or.reduce([np.isnan(column) for column in values])
    r = 5.0 - np.searchsorted(cuts[:4], _days(values[0], now_us), side="left")
    f = 1.0 + np.searchsorted(cuts[4:8], values[1], side="left")
    if part == "segment":
        numbers = {cell: word(name) for cell, name in RFM_CELLS.items()}
        found = np.array([numbers.get((int(a), int(b)), np.nan) for a, b in zip(r, f, strict=True)])
    else:
        found = {"r": r, "f": f, "m": 1.0 + np.searchsorted(cuts[8:], values[2], side="left")}[part]
    return np.asarray(np.where(missing, np.nan, found))
