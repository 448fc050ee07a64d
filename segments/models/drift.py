"""Do people still look like those a model was learnt from? Alarms go by the size of a change, never by its p-value.

D is the greatest distance between the two distributions (Kolmogorov and Smirnov), at the percentiles of the baseline;
PSI sums (now - then) * ln(now / then) over tenths of the baseline or over words. With 300,000 people a shift of a
hundredth of a standard deviation has p = 0.02, but D = 0.004 and PSI = 0.0002.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consentry.segments.bits import Column
from consentry.segments.models.asof import Observed
from consentry.segments.models.coding import plain_column, texts

D_ALARM = 0.1
PSI_ALARM = 0.2
_LEAST = 1e-4  # an empty bin would make any change infinite
_MISSING = "(missing)"
_OTHER = "(other)"
_MOST_WORDS = 50


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a feature moved from its baseline. d: None for words."""

    feature: str
    d: float | None
    psi: float

    @property
    def is_alarm(self) -> bool:
        return self.psi >= PSI_ALARM or (self.d or 0.0) >= D_ALARM


# A baseline is plain JSON: distributions, and nothing of a single person.
def baseline(observed: Observed, score: Column | None = None) -> dict[str, Any]:
    """Return the distribution of every feature and, as `score`, of what the model said."""
    found = {
        feature.name: _words(texts(observed, feature.name))
        if feature.type == "text"
        else numbers(plain_column(observed, feature.name))
        for feature in observed.features
    }
    return found if score is None else {**found, "score": numbers(score)}


def numbers(column: Column) -> dict[str, Any]:
    """Return a distribution of numbers: its percentiles, how much lies up to each of them, and the share missing."""
    known = np.sort(column[~np.isnan(column)])
    missing = 1 - len(known) / max(len(column), 1)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, 101))) if len(known) else np.empty(0)
    return {"edges": edges.tolist(), "below": _below(known, edges).tolist(), "missing": missing}


def _below(known: Column, edges: Column) -> Column:
    return np.searchsorted(known, edges, side="right") / max(len(known), 1)


def _words(words: list[str | None]) -> dict[str, Any]:
    counted = Counter(_MISSING if word is None else word for word in words)
    most = dict(counted.most_common(_MOST_WORDS))
    most[_OTHER] = len(words) - sum(most.values())
    return {"words": {word: count / max(len(words), 1) for word, count in sorted(most.items())}}


def drifted(then: Mapping[str, Any], observed: Observed, score: Column | None = None) -> list[Drift]:
    """Return how far each feature, and the score, moved from the baseline; the greatest PSI first."""
    found = [
        of_words(feature.name, then[feature.name]["words"], texts(observed, feature.name))
        if feature.type == "text"
        else of_numbers(feature.name, then[feature.name], plain_column(observed, feature.name))
        for feature in observed.features
        if feature.name in then
    ]
    if score is not None and "score" in then:
        found.append(of_numbers("score", then["score"], score))
    return sorted(found, key=lambda item: (-item.psi, item.feature))


def of_numbers(name: str, then: Mapping[str, Any], column: Column) -> Drift:
    """Compare numbers with their baseline."""
    edges, below = np.asarray(then["edges"]), np.asarray(then["below"])
    known = np.sort(column[~np.isnan(column)])
    missing = 1 - len(known) / max(len(column), 1)
    now = _below(known, edges)
    d = float(np.abs(now - below).max()) if len(edges) and len(known) else 0.0
    tenths = np.unique(np.searchsorted(below, np.arange(1, 10) / 10)).clip(max=max(len(edges) - 1, 0))
    before, after = _parts(below, tenths, then["missing"]), _parts(now, tenths, missing)
    return Drift(name, round(d, 4), round(psi(before, after), 4))


def _parts(below: Column, tenths: Column, missing: float) -> Column:
    """Return the share of people in each tenth, and of those without a value."""
    cumulated = np.concatenate([[0.0], below[tenths.astype(int)] if len(below) else [], [1.0]])
    return np.append(np.diff(cumulated) * (1 - missing), missing)


def of_words(name: str, then: Mapping[str, float], words: Sequence[str | None]) -> Drift:
    """Compare words with their baseline; words it does not know count together."""
    counted = Counter(_MISSING if word is None else word for word in words)
    known = {word: counted.get(word, 0) / max(len(words), 1) for word in then if word != _OTHER}
    after = [known.get(word, 1 - sum(known.values())) for word in then]
    return Drift(name, None, round(psi(np.array(list(then.values())), np.array(after)), 4))


def psi(before: Column, after: Column) -> float:
    """Return the population stability index of two lists of shares."""
    pairs = zip(np.maximum(before, _LEAST), np.maximum(after, _LEAST), strict=True)
    return float(sum((b - a) * math.log(b / a) for a, b in pairs))
