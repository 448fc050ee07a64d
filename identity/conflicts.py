"""Take apart people whose identifiers contradict each other, and heed what stewards decided.

A component in which a unique type has two values, or any type more than `max_per_person`, is built again value
by value, strongest type first (Adobe's Identity Optimization Algorithm drops the weakest links, too). A value
that would join people whose unique identifiers differ, or whose records contradict each other, is ambiguous: it
joins none of them. A record on it that can be only one of these people, or agrees with exactly one (agreement
columns), joins that one, and the rest become one person of their own (Snowplow Identities). What a steward decided
comes before every value. Components without a contradiction never come here, and would come out unchanged: a part of
what fits fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from consentry.identity.codes import Flags, Ints
from consentry.identity.components import components, lowest_member
from consentry.identity.forest import Forest, most_at_once
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
    """Join the records that share a value over the live edges, as far as no limit of a type is broken.

    Records that a steward declared one person are joined as well, and those declared two are not.
    """
    r, v = graph.r[live], graph.v[live]
    labels = _components(graph, r, v)
    broken = _broken(graph, labels, r, v)
    if broken.any():
        inside = broken[labels[r]]
        _rebuild(graph, labels, np.flatnonzero(broken[labels]), r[inside], v[inside])
        labels = lowest_member(labels)
    return judged(graph, labels, r, v)


def judged(graph: Graph, labels: Ints, r: Ints, v: Ints) -> Partition:
    """Tell of a partition which values stand between several people."""
    pairs = np.unique(np.stack([v, labels[r]], axis=1), axis=0)
    persons = np.bincount(pairs[:, 0], minlength=graph.values)
    ambiguous = np.flatnonzero(persons > 1)
    return Partition(labels, ambiguous, persons[ambiguous].astype(np.int64))


def _components(graph: Graph, r: Ints, v: Ints) -> Ints:
    """Join records over values, and over decisions as if each were a value of its own."""
    one, other = graph.said.together.T
    ties = graph.values + np.arange(len(one))
    return components(
        graph.records, graph.values + len(one), np.concatenate([r, one, other]), np.concatenate([v, ties, ties])
    )


def _broken(graph: Graph, labels: Ints, r: Ints, v: Ints) -> Flags:
    """Tell of each component, by its label, whether one person may not hold what it holds."""
    limit = graph.limit({rule.type: rule.max_per_person for rule in graph.types})
    home = np.full(graph.values, -1, dtype=np.int64)
    home[v] = labels[r]
    held = np.flatnonzero((home >= 0) & np.isfinite(limit))
    _, slot, count = np.unique(
        home[held] * len(graph.types) + graph.type_of[held], return_inverse=True, return_counts=True
    )
    broken = np.zeros(graph.records, dtype=np.bool_)
    over = held[count[slot] > limit[held]]
    broken[home[over[_too_many_at_once(graph, home, over)]]] = True
    for pairs in (graph.foes, graph.said.apart):
        one, other = pairs[:, 0], pairs[:, 1]
        broken[labels[one[labels[one] == labels[other]]]] = True
    purposes = np.full(graph.records, -1, dtype=np.int64)
    np.bitwise_and.at(purposes, labels, graph.purposes)
    broken |= purposes == 0
    return broken


def _too_many_at_once(graph: Graph, home: Ints, over: Ints) -> Flags:
    """Tell which of the values beyond a limit still are when only one window of time counts."""
    stay = np.ones(len(over), dtype=np.bool_)
    slots: dict[tuple[int, int], list[int]] = {}
    for n, value in enumerate(over.tolist()):
        type_ = int(graph.type_of[value])
        if graph.types[type_].window_days is not None:
            slots.setdefault((int(home[value]), type_), []).append(n)
    for (_, type_), places in slots.items():
        rule = graph.types[type_]
        most = most_at_once([graph.seen.get(int(over[n])) for n in places], rule.window_days or 0)
        stay[places] = most > (rule.max_per_person or 0)
    return stay


def _rebuild(graph: Graph, labels: Ints, inside: Ints, r: Ints, v: Ints) -> None:
    """Write new labels for the records of broken components: a loop, but only over what contradicts itself."""
    forest = Forest(graph.types, graph.seen)
    for record in inside.tolist():
        forest.seat(record, int(graph.signature[record]), int(graph.purposes[record]))
    order = np.lexsort((r, v))
    same = _same_values(graph, r, v)
    edges = list(zip(v[order].tolist(), r[order].tolist(), strict=True))
    for value, record in edges:
        forest.give(record, int(graph.type_of[value]), same.setdefault(value, value))
    _oppose(graph, labels, inside, forest)
    for value, records in _stars(edges):
        forest.join(int(graph.type_of[value]), same[value], records)
    labels[inside] = [forest.find(record) for record in inside.tolist()]


def _oppose(graph: Graph, labels: Ints, inside: Ints, forest: Forest) -> None:
    """Enter who is not one person, and who is: a steward's word comes before what names seem to say."""
    said = graph.said
    bound = components(graph.records, len(said.together), *_ties(said.together))
    rebuilt = np.zeros(graph.records, dtype=np.bool_)
    rebuilt[inside] = True
    for pairs, enter in ((graph.foes, forest.oppose), (said.apart, forest.part)):
        one, other = pairs[:, 0], pairs[:, 1]
        # Most pairs share only a value that links nobody: those never meet.
        meeting = rebuilt[one] & (labels[one] == labels[other])
        if enter == forest.oppose:
            meeting &= bound[one] != bound[other]
        for first, second in pairs[meeting].tolist():
            enter(first, second)
    for first, second in said.together[rebuilt[said.together[:, 0]]].tolist():
        forest.bind(first, second)


def _ties(pairs: Ints) -> tuple[Ints, Ints]:
    ties = np.arange(len(pairs))
    return pairs.T.reshape(-1), np.concatenate([ties, ties])


def _same_values(graph: Graph, r: Ints, v: Ints) -> dict[int, int]:
    """Return for values of unique types that a forced decision holds to be one person's the lowest of them."""
    forced = graph.said.together[graph.said.forced]
    if not len(forced):
        return {}
    group = components(graph.records, len(forced), *_ties(forced))
    touched = np.isin(group[r], group[forced[:, 0]])
    lowest: dict[tuple[int, int], int] = {}
    same: dict[int, int] = {}
    pairs: list[list[int]] = np.unique(np.stack([v[touched], group[r[touched]]], axis=1), axis=0).tolist()
    for value, who in pairs:
        type_ = int(graph.type_of[value])
        if graph.types[type_].unique:
            same[value] = lowest.setdefault((who, type_), same.setdefault(value, value))
    return same


def _stars(edges: list[tuple[int, int]]) -> Iterator[tuple[int, list[int]]]:
    start = 0
    for end in range(1, len(edges) + 1):
        if end == len(edges) or edges[end][0] != edges[start][0]:
            yield edges[start][0], [record for _, record in edges[start:end]]
            start = end
