"""Build people value by value: groups of records that join as far as one person may hold what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from consentry.identity.config import Rule

Held = dict[int, set[int]]
ANY_PURPOSE = -1


@dataclass(slots=True)
class Group:
    """Records that are one person so far.

    held: values by type. signatures: what its agreement columns say. foes: records that contradict it, unless a
    unique identifier joins them. parted: records that nothing joins, because a steward said so. purposes: bits of the
    purposes for which all of its records may be linked.
    """

    held: Held = field(default_factory=dict)
    signatures: set[int] = field(default_factory=set)
    foes: set[int] = field(default_factory=set)
    parted: set[int] = field(default_factory=set)
    purposes: int = ANY_PURPOSE

    def take(self, other: Group) -> None:
        """Become one with another group."""
        for type_, values in other.held.items():
            self.held.setdefault(type_, set()).update(values)
        self.signatures |= other.signatures
        self.foes |= other.foes
        self.parted |= other.parted
        self.purposes &= other.purposes


@dataclass(slots=True)
class Forest:
    """The groups by their root record, and the parent of each record.

    seen: for values of a type with a window the day they were last seen; one without a day counts in every window.
    """

    types: tuple[Rule, ...]
    seen: Mapping[int, int] = field(default_factory=dict)
    parent: dict[int, int] = field(default_factory=dict)
    groups: dict[int, Group] = field(default_factory=dict)

    def seat(self, record: int, signature: int, purposes: int) -> None:
        """Enter a record."""
        self.parent[record] = record
        self.groups[record] = Group(signatures={signature} - {-1}, purposes=purposes)

    def give(self, record: int, type_: int, value: int) -> None:
        """Note what a record holds of a unique type: that is its own, whatever comes."""
        if self.types[type_].unique:
            self.groups[record].held.setdefault(type_, set()).add(value)

    def oppose(self, one: int, other: int) -> None:
        """Note that two records are two people, unless a unique identifier joins them."""
        self.groups[one].foes.add(other)
        self.groups[other].foes.add(one)

    def part(self, one: int, other: int) -> None:
        """Note that two records are two people, whatever joins them."""
        self.oppose(one, other)
        self.groups[one].parted.add(other)
        self.groups[other].parted.add(one)

    def bind(self, one: int, other: int) -> None:
        """Join two records because a steward said so, unless unique identifiers or another decision forbid it."""
        roots = sorted({self.find(one), self.find(other)})
        if len(roots) == 2 and self._fits(self._all(roots)) and not self._are_parted(roots):
            self._unite(roots)

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
        mine = Group(held={type_: {value}})
        roots = sorted({self.find(record) for record in records})
        able = [root for root in roots if self._fits([mine, self.groups[root]])]
        clash = self._clash(self._all(able))
        foes = self._are_parted(able) if self.types[type_].unique else self._at_odds(able)
        if clash or foes:
            somebody = {root for root in able if clash & self.groups[root].held.keys()} | foes
            self._settle(able, somebody, mine)
        else:
            self._unite(able if self._fits(self._all(able)) else self._as_many(able), mine)

    def _all(self, roots: Iterable[int]) -> list[Group]:
        return [self.groups[root] for root in roots]

    def _at_odds(self, roots: list[int]) -> set[int]:
        """Return those of the groups that contradict another of them."""
        return {root for root in roots if not self._foes_of(root).isdisjoint(roots)}

    def _are_parted(self, roots: list[int]) -> set[int]:
        """Return those of the groups that a steward keeps apart from another of them."""
        return {root for root in roots if any(self.find(record) in roots for record in self.groups[root].parted)}

    def _foes_of(self, root: int) -> set[int]:
        return {self.find(record) for record in self.groups[root].foes}

    def _settle(self, roots: list[int], somebody: set[int], mine: Group) -> None:
        """Let people who contradict each other be; send each other group to the one it agrees with, or together."""
        people: list[int] = []
        # Whoever contradicts the most is the surest to be somebody; a group that fits two of them joins neither.
        for root in sorted(somebody, key=lambda root: (-len(self._foes_of(root) & somebody), root)):
            able = [person for person in people if self._may_meet(person, root)]
            if len(able) == 1:
                self._unite([able[0], root], mine)
            else:
                people.append(root)
        called: dict[int, list[int]] = {}
        for person in people:
            for signature in self.groups[person].signatures:
                called.setdefault(signature, []).append(person)
        rest = []
        for root in sorted(set(roots) - somebody):
            friends = {friend for signature in self.groups[root].signatures for friend in called.get(signature, ())}
            if len(friends) == 1 and self._may_meet(friend := friends.pop(), root):
                self._unite([friend, root], mine)
            else:
                rest.append(root)
        self._unite(self._as_many(rest), mine)

    def _may_meet(self, one: int, other: int) -> bool:
        return self._fits(self._all((one, other))) and other not in self._foes_of(one)

    def _fits(self, parts: Sequence[Group]) -> bool:
        purposes = ANY_PURPOSE
        for part in parts:
            purposes &= part.purposes
        return purposes != 0 and not self._over(parts)

    def _over(self, parts: Sequence[Group]) -> set[int]:
        """Return the types of which the groups together hold more values than one person may."""
        total: Held = {}
        for part in parts:
            for type_, values in part.held.items():
                total.setdefault(type_, set()).update(values)
        return {type_ for type_, values in total.items() if self._count(type_, values) > self._limit(type_)}

    def _limit(self, type_: int) -> float:
        limit = self.types[type_].max_per_person
        return np.inf if limit is None else limit

    def _count(self, type_: int, values: set[int]) -> int:
        window = self.types[type_].window_days
        return len(values) if window is None else most_at_once([self.seen.get(v) for v in values], window)

    def _clash(self, parts: Sequence[Group]) -> set[int]:
        return {type_ for type_ in self._over(parts) if self.types[type_].unique}

    def _as_many(self, roots: list[int]) -> list[int]:
        """Take groups in order for as long as one person may hold what they hold together."""
        taken: list[int] = []
        total = Group()
        for root in roots:
            if self._fits([total, self.groups[root]]):
                taken.append(root)
                total.take(self.groups[root])
        return taken

    def _unite(self, roots: list[int], mine: Group | None = None) -> None:
        """Make one group of several, which holds the value that joined them if its type is counted."""
        if not roots:
            return
        first, *others = roots
        for root in others:
            self.parent[root] = first
            self.groups[first].take(self.groups.pop(root))
        for type_, values in mine.held.items() if mine else ():
            if self.types[type_].max_per_person is not None:
                self.groups[first].held.setdefault(type_, set()).update(values)


def most_at_once(days: Sequence[int | None], window: int) -> int:
    """Return how many of the days lie in one window of so many days, at most; a day not known lies in each."""
    known = sorted(day for day in days if day is not None)
    first, most = 0, 0
    for last, day in enumerate(known):
        while day - known[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most + len(days) - len(known)
