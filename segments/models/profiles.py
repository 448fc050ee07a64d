"""What the people of each cluster are like, in the units that the features have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from consentry.segments.bits import Mask
from consentry.segments.models.asof import Observed
from consentry.segments.models.coding import plain_column, texts


# Profiles are plain JSON.
def profiles(observed: Observed, labels: Sequence[str | None]) -> list[dict[str, Any]]:
    """Return one profile a cluster, by name; people in none have one of their own when there are any."""
    own = np.array([label or "" for label in labels], dtype=object)
    names = sorted({label for label in labels if label}, key=lambda name: (len(name), name))
    some_in_none = [""] if any(label is None for label in labels) else []
    return [_profile(observed, name, np.asarray(own == name)) for name in [*names, *some_in_none]]


def _profile(observed: Observed, name: str, inside: Mask) -> dict[str, Any]:
    features = {
        feature.name: _words(observed, feature.name, inside)
        if feature.type == "text"
        else _numbers(observed, feature.name, inside)
        for feature in observed.features
    }
    people = int(inside.sum())
    return {"cluster": name or None, "people": people, "share": round(people / len(inside), 4), "features": features}


def _numbers(observed: Observed, name: str, inside: Mask) -> dict[str, Any]:
    """Return mean and median, and how far the mean lies from everybody's, in everybody's standard deviations."""
    column = plain_column(observed, name)
    known = column[inside & ~np.isnan(column)]
    everyone = column[~np.isnan(column)]
    if len(known) == 0:
        return {"mean": None, "median": None, "distance": None}
    spread = float(everyone.std())
    distance = (float(known.mean()) - float(everyone.mean())) / spread if spread > 0 else 0.0
    return {
        "mean": round(float(known.mean()), 4),
        "median": round(float(np.median(known)), 4),
        "distance": round(distance, 3),
    }


def _words(observed: Observed, name: str, inside: Mask) -> dict[str, Any]:
    """Return the most frequent word and its share of the people."""
    found = [word for word, is_in in zip(texts(observed, name), inside, strict=True) if is_in]
    counted = Counter(word for word in found if word is not None)
    if not counted:
        return {"word": None, "share": None}
    word, count = min(counted.items(), key=lambda entry: (-entry[1], entry[0]))
    return {"word": word, "share": round(count / len(found), 4)}
