"""How alike are segments? The exact Jaccard index of every pair, and what to do about those that are too alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from pyroaring import BitMap

_SAME = 0.9


@dataclass(frozen=True, slots=True)
class Pair:
    """Two segments: their sizes, how many people are in both, and the Jaccard index (both, of either)."""

    left: str
    right: str
    left_size: int
    right_size: int
    both: int

    @property
    def jaccard(self) -> float:
        either = self.left_size + self.right_size - self.both
        return self.both / either if either else 0.0

    @property
    def advice(self) -> str:
        """Say what to do about two segments that are alike."""
        small, great = (self.left, self.right) if self.left_size <= self.right_size else (self.right, self.left)
        if self.jaccard >= _SAME:
            return f"merge {self.left!r} and {self.right!r}: nearly the same people are in both"
        if self.both == min(self.left_size, self.right_size):
            return f"prune {small!r} or keep it as a part of {great!r}: all its members are there"
        return f"put {self.left!r} and {self.right!r} in one group, so that everyone gets one of them, or merge them"


def pairs(rosters: Mapping[str, BitMap]) -> Iterator[Pair]:
    """Yield every pair of segments, in the order of their names."""
    sizes = {name: len(members) for name, members in rosters.items()}
    for left, right in combinations(sorted(rosters), 2):
        both = rosters[left].intersection_cardinality(rosters[right])
        yield Pair(left, right, sizes[left], sizes[right], both)


def alike(rosters: Mapping[str, BitMap], threshold: float) -> list[Pair]:
    """Return the pairs whose Jaccard index is at least the threshold, the most alike first."""
    found = [pair for pair in pairs(rosters) if pair.both and pair.jaccard >= threshold]
    return sorted(found, key=lambda pair: (-pair.jaccard, pair.left, pair.right))
