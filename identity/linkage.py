"""From scored pairs to people: average linkage that never chains, with guards.

Two groups join when the probabilities between their records, a pair that was not scored counting as 0, average at
least `cut` and sum to at least `pair`. Transitive closure, which most tools use, joins two people over a single
wrong pair: on historical 50k its precision at 0.5 is 0.70, that of average linkage 0.97 on the same pairs.

All groups that are each other's best neighbour join at once, round by round: joining never brings a third group
closer, on average, than the nearer of the two was (Bruynooghe 1977). Probabilities are whole numbers inside: sums are
exact, and the order of the pairs cannot matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from consentry.identity.codes import Flags, Ints
from consentry.identity.components import linked_parts, lowest_member

UNIT = 1 << 20
_NOTHING = 0.005  # Probabilities below do not count.


@dataclass(frozen=True, slots=True)
class Pairs:
    """Scored pairs of records, each once: two codes and the probability that they are one person."""

    left: Ints
    right: Ints
    probability: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Guards:
    """What keeps records together or apart, whatever they look like.

    together: a label for each record; equal labels are one person from the start. None: every record is alone.
    apart: pairs of records that are two people, one pair a line.
    exclusive: labels for each record, -1 for none; a group never has two labels of one kind.
    purposes: bits for each record; the records of a group have one in common.
    """

    together: Ints | None = None
    apart: Ints = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    exclusive: Sequence[Ints] = ()
    purposes: Ints | None = None


def cluster(pairs: Pairs, size: int, *, cut: float, pair: float, guards: Guards | None = None) -> Ints:
    """Return for each of `size` records the lowest record of its group.

    Raises nothing: guards that contradict each other are settled for `together`.
    """
    guards = guards or Guards()
    state = _State(pairs, size, guards)
    while state.join(cut, pair):
        pass
    return lowest_member(state.label)


class _State:
    """Groups, named by one of their records, and the edges between them: sums of probabilities, and vetoes."""

    def __init__(self, pairs: Pairs, size: int, guards: Guards) -> None:
        together = guards.together
        self.label = np.arange(size, dtype=np.int64) if together is None else lowest_member(together)
        self.members = np.bincount(self.label, minlength=size).astype(np.int64)
        self.exclusive = [_strongest(kind, self.label, size) for kind in guards.exclusive]
        self.purposes = np.full(size, -1, dtype=np.int64)
        if guards.purposes is not None:
            np.bitwise_and.at(self.purposes, self.label, guards.purposes)
        telling = pairs.probability >= _NOTHING
        whole = np.rint(pairs.probability[telling] * UNIT).astype(np.int64)
        apart = guards.apart.reshape(-1, 2)
        self.one = np.concatenate([pairs.left[telling], apart[:, 0]])
        self.other = np.concatenate([pairs.right[telling], apart[:, 1]])
        self.total = np.concatenate([whole, np.zeros(len(apart), dtype=np.int64)])
        self.veto = np.concatenate([np.zeros(len(whole), dtype=np.bool_), np.ones(len(apart), dtype=np.bool_)])
        self._rename(self.label)
        self.part = self._parts()
        self._forget(self.part[self.one] != self.part[self.other])

    def join(self, cut: float, pair: float) -> bool:
        """Join all groups that are each other's best; return whether there were any."""
        product = self.members[self.one] * self.members[self.other]
        open_ = ~self.veto & (self.total >= np.maximum(cut * product, pair) * UNIT) & ~self._clash()
        edges = np.flatnonzero(open_)
        if not len(edges):
            return False
        best = _best(self.one[edges], self.other[edges], self.total[edges] / product[edges], len(self.members))
        found = np.flatnonzero(best >= 0)
        kept = found[(best[best[found]] == found) & (found < best[found])]
        gone = best[kept]
        self.members[kept] += self.members[gone]
        for labels in self.exclusive:
            labels[kept] = np.maximum(labels[kept], labels[gone])
        self.purposes[kept] &= self.purposes[gone]
        root = np.arange(len(self.members), dtype=np.int64)
        root[gone] = kept
        self.label = root[self.label]
        # A part of the graph in which nothing joins will not change any more.
        moving = np.zeros(len(self.members), dtype=np.bool_)
        moving[self.part[kept]] = True
        self._forget(~moving[self.part[self.one]])
        self._rename(root)
        return True

    def _parts(self) -> Ints:
        """Name the connected parts of the graph, vetoes aside; a veto between two parts says nothing."""
        linked = self.total > 0
        return linked_parts(len(self.members), self.one[linked], self.other[linked])

    def _forget(self, edges: Flags) -> None:
        kept = ~edges
        self.one, self.other = self.one[kept], self.other[kept]
        self.total, self.veto = self.total[kept], self.veto[kept]

    def _clash(self) -> Flags:
        clash: Flags = (self.purposes[self.one] & self.purposes[self.other]) == 0
        for labels in self.exclusive:
            one, other = labels[self.one], labels[self.other]
            clash |= (one >= 0) & (other >= 0) & (one != other)
        return clash

    def _rename(self, root: Ints) -> None:
        """Move the edges to the groups of today, and add up those that fall together."""
        one, other = root[self.one], root[self.other]
        between = one != other
        low, high = np.minimum(one, other)[between], np.maximum(one, other)[between]
        key = low * np.int64(len(self.members)) + high
        order = np.argsort(key, kind="stable")
        first = np.flatnonzero(_is_first(key[order]))
        if not len(first):
            self.one = self.other = self.total = np.empty(0, dtype=np.int64)
            self.veto = np.empty(0, dtype=np.bool_)
            return
        self.one, self.other = low[order][first], high[order][first]
        self.total = np.add.reduceat(self.total[between][order], first)
        self.veto = np.logical_or.reduceat(self.veto[between][order], first)


def _best(one: Ints, other: Ints, mean: npt.NDArray[np.float64], size: int) -> Ints:
    """Return for each group its nearest neighbour, -1 for none; ties go to the edge of the lowest groups."""
    place = np.lexsort((other, one, -mean))  # one is the lower of the two
    rank = np.empty(len(place), dtype=np.int64)
    rank[place] = np.arange(len(place))
    nearest = np.full(size, len(place), dtype=np.int64)
    np.minimum.at(nearest, one, rank)
    np.minimum.at(nearest, other, rank)
    best = np.full(size, -1, dtype=np.int64)
    found = np.flatnonzero(nearest < len(place))
    edge = place[nearest[found]]
    best[found] = one[edge] + other[edge] - found
    return best


def _strongest(kind: Ints, label: Ints, size: int) -> Ints:
    """Return for each group one of its labels of a kind."""
    found = np.full(size, -1, dtype=np.int64)
    np.maximum.at(found, label, kind)
    return found


def _is_first(codes: Ints) -> Flags:
    first = np.ones(len(codes), dtype=np.bool_)
    first[1:] = codes[1:] != codes[:-1]
    return first
