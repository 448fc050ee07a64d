"""Take apart people whose identifiers contradict each other.

A component in which a unique type has two values, or any type more than `max_per_person`, is built again value
by value, strongest type first (Adobe's Identity Optimization Algorithm drops the weakest links, too). A value
that would join people whose unique identifiers differ, or whose records contradict each other, is ambiguous: it
joins none of them. A record on it that can be only one of these people, or agrees with exactly one (agreement
columns), joins that one, and the rest become one person of their own (Snowplow Identities). Components without a
contradiction never come here, and would come out unchanged: a part of what fits fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from consentry.identity.codes import Flags, Ints
from consentry.identity.components import components, lowest_member
from consentry.identity.config import Rule
from consentry.identity.graph import Graph


@dataclass(frozen=True, slots=True)
class Partition:
    """Who belongs together: for each record its lowest companion; and the values that link no longer.

    ambiguous: codes of the values whose records ended with several people; persons: with how many.
    """

    labels: Ints
    ambiguous: Ints
    persons: Ints


def partition(graph: Graph, live: Flags) -> Partition:
    """Join the records that share a value over the live edges, as far as no limit of a type is broken."""
    r, v = graph.r[live], graph.v[live]
    labels = components(graph.records, graph.values, r, v)
    broken = _broken(graph, labels, r, v)
    if broken.any():
        inside = broken[labels[r]]
        _rebuild(graph, labels, r[inside], v[inside])
        labels = lowest_member(labels)
    pairs = np.unique(np.stack([v, labels[r]], axis=1), axis=0)
    persons = np.bincount(pairs[:, 0], minlength=graph.values)
    ambiguous = np.flatnonzero(persons > 1)
    return Partition(labels, ambiguous, persons[ambiguous].astype(np.int64))


def _broken(graph: Graph, labels: Ints, r: Ints, v: Ints) -> Flags:
    """Tell of each component, by its label, whether it has more values of a type than one person may."""
    limit = graph.limit({rule.type: rule.max_per_person for rule in graph.types})
    home = np.full(graph.values, -1, dtype=np.int64)
    home[v] = labels[r]
    held = np.flatnonzero((home >= 0) & np.isfinite(limit))
    _, slot, count = np.unique(
        home[held] * len(graph.types) + graph.type_of[held], return_inverse=True, return_counts=True
    )
    broken = np.zeros(graph.records, dtype=np.bool_)
    broken[home[held[count[slot] > limit[held]]]] = True
    one, other = graph.foes[:, 0], graph.foes[:, 1]
    broken[labels[one[labels[one] == labels[other]]]] = True
    return broken


def _rebuild(graph: Graph, labels: Ints, r: Ints, v: Ints) -> None:
    """Write new labels for the records of broken components: a loop, but only over what contradicts itself."""
    forest = _Forest(graph.types)
    order = np.lexsort((r, v))
    edges = list(zip(v[order].tolist(), r[order].tolist(), strict=True))
    type_of = graph.type_of
    for value, record in edges:
        forest.seat(record, int(type_of[value]), value, int(graph.signature[record]))
    # Most pairs share only a value that links nobody: those never meet.
    meeting = labels[graph.foes[:, 0]] == labels[graph.foes[:, 1]]
    for one, other in graph.foes[meeting].tolist():
        forest.part(one, other)
    for value, records in _stars(edges):
        forest.join(int(type_of[value]), value, records)
    inside = np.unique(r)
    labels[inside] = [forest.find(record) for record in inside.tolist()]


def _stars(edges: list[tuple[int, int]]) -> Iterator[tuple[int, list[int]]]:
    start = 0
    for end in range(1, len(edges) + 1):
        if end == len(edges) or edges[end][0] != edges[start][0]:
            yield edges[start][0], [record for _, record in edges[start:end]]
            start = end


Held = dict[int, set[int]]


@dataclass(slots=True)
class _Forest:
    """Groups of records, each with the values it holds by type; the lowest record is a group's root."""

    types: tuple[Rule, ...]
    parent: dict[int, int] = field(default_factory=dict)
    held: dict[int, Held] = field(default_factory=dict)
    signatures: dict[int, set[int]] = field(default_factory=dict)
    foes: dict[int, set[int]] = field(default_factory=dict)

    def seat(self, record: int, type_: int, value: int, signature: int) -> None:
        """Enter a record; what it holds of a unique type is its own, whatever comes."""
        self.parent.setdefault(record, record)
        self.signatures.setdefault(record, {signature} - {-1})
        held = self.held.setdefault(record, {})
        if self.types[type_].unique:
            held.setdefault(type_, set()).add(value)

    def part(self, one: int, other: int) -> None:
        """Note that two records are two people, unless a unique identifier joins them."""
        if one in self.parent and other in self.parent:
            self.foes.setdefault(one, set()).add(other)
            self.foes.setdefault(other, set()).add(one)

    def find(self, record: int) -> int:
        """Return the root of a record's group."""
        root = record
        while self.parent[root] != root:
            root = self.parent[root]
        while self.parent[record] != root:
            self.parent[record], record = root, self.parent[record]
        return root

    def join(self, type_: int, value: int, records: list[int]) -> None:
        """Join the groups of the records that share a value, as far as they may be one person."""
        roots = sorted({self.find(record) for record in records})
        able = [root for root in roots if self._fits([{type_: {value}}, self.held[root]])]
        whole = [self.held[root] for root in able]
        clash = self._clash(whole)
        foes = set() if self.types[type_].unique else self._at_odds(able)
        if clash or foes:
            self._settle(able, {root for root in able if clash & self.held[root].keys()} | foes, type_, value)
        else:
            self._unite(able if self._fits(whole) else self._as_many(able), type_, value)

    def _at_odds(self, roots: list[int]) -> set[int]:
        """Return those of the groups that contradict another of them."""
        return {root for root in roots if not self._foes_of(root).isdisjoint(roots)}

    def _foes_of(self, root: int) -> set[int]:
        return {self.find(record) for record in self.foes.get(root, ())}

    def _settle(self, roots: list[int], somebody: set[int], type_: int, value: int) -> None:
        """Let people who contradict each other be; send each other group to the one it agrees with, or together."""
        people: list[int] = []
        # Whoever contradicts the most is the surest to be somebody; a group that fits two of them joins neither.
        for root in sorted(somebody, key=lambda root: (-len(self._foes_of(root) & somebody), root)):
            able = [person for person in people if self._may_meet(person, root)]
            if len(able) == 1:
                self._unite([able[0], root], type_, value)
            else:
                people.append(root)
        called: dict[int, list[int]] = {}
        for person in people:
            for signature in self.signatures[person]:
                called.setdefault(signature, []).append(person)
        rest = []
        for root in sorted(set(roots) - somebody):
            friends = {friend for signature in self.signatures[root] for friend in called.get(signature, ())}
            if len(friends) == 1 and self._may_meet(friend := friends.pop(), root):
                self._unite([friend, root], type_, value)
            else:
                rest.append(root)
        self._unite(self._as_many(rest), type_, value)

    def _may_meet(self, one: int, other: int) -> bool:
        return self._fits([self.held[one], self.held[other]]) and other not in self._foes_of(one)

    def _fits(self, parts: list[Held]) -> bool:
        return not self._over(parts)

    def _over(self, parts: list[Held]) -> set[int]:
        total: Held = {}
        for part in parts:
            for type_, values in part.items():
                total.setdefault(type_, set()).update(values)
        return {type_ for type_, values in total.items() if len(values) > (self.types[type_].max_per_person or np.inf)}

    def _clash(self, parts: list[Held]) -> set[int]:
        return {type_ for type_ in self._over(parts) if self.types[type_].unique}

    def _as_many(self, roots: list[int]) -> list[int]:
        """Take groups in order for as long as one person may hold what they hold together."""
        taken: list[int] = []
        total: Held = {}
        for root in roots:
            if self._fits([total, self.held[root]]):
                taken.append(root)
                for type_, values in self.held[root].items():
                    total.setdefault(type_, set()).update(values)
        return taken

    def _unite(self, roots: list[int], type_: int, value: int) -> None:
        if not roots:
            return
        first, *others = roots
        mine = self.held[first]
        for root in others:
            self.parent[root] = first
            self.signatures[first] |= self.signatures.pop(root)
            self.foes.setdefault(first, set()).update(self.foes.pop(root, ()))
            for kind, values in self.held.pop(root).items():
                mine.setdefault(kind, set()).update(values)
        if self.types[type_].max_per_person is not None:
            mine.setdefault(type_, set()).add(value)
