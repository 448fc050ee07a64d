"""How people mistype: a slip on the keyboard, a name as it sounds, a date with a wrong digit, or day for month."""

from __future__ import annotations

import numpy as np

_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEAR = {key: row[max(n - 1, 0) : n] + row[n + 1 : n + 2] for row in _ROWS for n, key in enumerate(row)}
_SOUNDS = (
    ("ph", "f"), ("th", "t"), ("ck", "k"), ("qu", "kw"), ("ee", "ea"), ("x", "ks"), ("c", "k"), ("k", "c"),
    ("y", "i"), ("i", "y"), ("v", "f"), ("z", "s"), ("s", "z"), ("w", "v"), ("d", "t"), ("e", "a"), ("o", "u"),
)  # fmt: skip


def keyed(text: str, rng: np.random.Generator) -> str:
    """Slip once: a neighbouring key, a letter left out, doubled, or swapped with the next."""
    if len(text) < 2:
        return text
    place, way = int(rng.integers(0, len(text) - 1)), int(rng.integers(0, 4))
    letter = text[place]
    near = _NEAR.get(letter.lower(), letter)
    changed = (near[int(rng.integers(0, len(near)))], "", letter * 2, text[place + 1] + letter)[way]
    return text[:place] + changed + text[place + 1 + (way == 3) :]


def sounded(text: str, rng: np.random.Generator) -> str:
    """Write a name as it was heard."""
    low = text.lower()
    able = [(heard, written) for heard, written in _SOUNDS if heard in low]
    if not able:
        return keyed(text, rng)
    heard, written = able[int(rng.integers(0, len(able)))]
    return low.replace(heard, written, 1).title()


def mistyped_date(text: str, rng: np.random.Generator) -> str:
    """Get a digit of an ISO date wrong, or swap its day and month."""
    year, month, day = text.split("-")
    if rng.random() < 0.3 and int(day) <= 12:
        return f"{year}-{day}-{month}"
    place = int(rng.choice([2, 3, 6, 9]))
    digit = str((int(text[place]) + int(rng.integers(1, 9))) % 10)
    return text[:place] + digit + text[place + 1 :]
