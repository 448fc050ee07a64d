"""Which values link nobody: those that more people share than one person can be.

Senzing calls such a value generic: it stays as evidence, and all its links are judged again, because every run
judges all of them. The people on a value are its records after joining those that something else says are one
person: an identifier of a unique type, another identifier that is not itself suspect, or equal agreement columns
(names). A value is suspect when it stands on more than `large_person` records, or when its own records name more
unique identifiers, or more names, than its type may have people. A customer record about which nothing else is
known counts as a person of its own, except on an external id, whose meaning is to name one person. An event counts
only when another identifier stands on it that is no cookie; events that carry the same identifiers count once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from consentry.identity.codes import Flags, Ints
from consentry.identity.components import components
from consentry.identity.graph import Graph


@dataclass(frozen=True, slots=True)
class Shared:
    """Values shared by too many: their codes, and how many records and people each has."""

    values: Ints
    records: Ints
    persons: Ints


def shared_values(graph: Graph, *, large: int) -> Shared:
    """Find the values that more people share than `max_persons_per_value` of their type allows.

    large: records on one value beyond which it vouches for none of them.
    """
    cap = graph.limit({rule.type: rule.max_persons_per_value for rule in graph.types})
    once = _events_once(graph)
    degree = np.bincount(once.v, minlength=graph.values)
    # No value has more people than records, so that only the crowded ones are looked into.
    crowded = degree > cap
    suspect = (degree > large) | (_contradictions(once, crowded) > cap)
    persons = _people(once, crowded, suspect)
    over = np.flatnonzero(crowded & (persons > cap))
    records = np.bincount(graph.v, minlength=graph.values)
    return Shared(over, records[over].astype(np.int64), persons[over])


def links(graph: Graph, demoted: Ints) -> Flags:
    """Tell which edges link.

    The edges of demoted values do not, but for events that have no other: those of one device stay together,
    as one person nobody knows, instead of becoming a person each.
    """
    dead = np.zeros(graph.values, dtype=np.bool_)
    dead[demoted] = True
    live = ~dead[graph.v]
    alone = np.bincount(graph.r[live], minlength=graph.records) == 0
    waiting = np.flatnonzero(~live & alone[graph.r] & ~graph.customer[graph.r])
    strongest = waiting[np.lexsort((graph.v[waiting], graph.r[waiting]))]
    _, first = np.unique(graph.r[strongest], return_index=True)
    live[strongest[first]] = True
    return live


def _events_once(graph: Graph) -> Graph:
    """Keep one of all events that carry the same identifiers; customer records all stay."""
    # The sum of a 64-bit hash for each value names the set: 1 in 10 million that any two of a million collide.
    name = np.zeros(graph.records, dtype=np.uint64)
    np.add.at(name, graph.r, _hash(graph.v))
    events = np.flatnonzero(~graph.customer)
    _, first = np.unique(name[events], return_index=True)
    kept = graph.customer.copy()
    kept[events[first]] = True
    edges = kept[graph.r]
    return replace(graph, r=graph.r[edges], v=graph.v[edges])


def _hash(codes: Ints) -> npt.NDArray[np.uint64]:
    """Mix the bits of each code (splitmix64, Steele, Lea and Flood 2014)."""
    z = (codes.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _contradictions(graph: Graph, crowded: Flags) -> Ints:
    """Count for each crowded value the names, or the values of a unique type if more, on its records; else 0."""
    seats = np.flatnonzero(crowded[graph.v])
    seat_v, seat_r = graph.v[seats], graph.r[seats]
    usable = _unique(graph)[graph.v]
    seat, value = _join(seat_r, graph.r[usable], graph.v[usable], graph.records)
    named = np.flatnonzero(graph.signature[seat_r] >= 0)
    # Each line: the crowded value, the type that contradicts (names count as one more type), what it says.
    said = np.concatenate(
        [
            np.stack([seat_v[seat], graph.type_of[value], value], axis=1),
            np.stack([seat_v[named], np.full(len(named), len(graph.types)), graph.signature[seat_r[named]]], axis=1),
        ]
    )
    slots, count = np.unique(np.unique(said, axis=0)[:, :2], axis=0, return_counts=True)
    most = np.zeros(graph.values, dtype=np.int64)
    np.maximum.at(most, slots[:, 0], count)
    return most


def _unique(graph: Graph) -> Flags:
    """Tell of each value whether its type is unique."""
    return np.array([rule.unique for rule in graph.types], dtype=np.bool_)[graph.type_of]


def _people(graph: Graph, crowded: Flags, suspect: Flags) -> Ints:
    """Count the people on each crowded value; 0 for the others."""
    seats = np.flatnonzero(crowded[graph.v])
    seat_v, seat_r = graph.v[seats], graph.r[seats]
    seat, witness = _testimony(graph, seat_r, suspect)
    other = witness != seat_v[seat]
    seat, witness = seat[other], witness[other]
    # What vouches on one value says nothing on another, so that a witness is one node for each value it stands by.
    width = np.int64(graph.values + graph.signature.max(initial=0) + 1)
    names, node = np.unique(seat_v[seat] * width + witness, return_inverse=True)
    group = components(len(seats), len(names), seat, node.astype(np.int64))
    counts = _counts(graph, seat_r, seat_v)
    pairs = np.unique(np.stack([seat_v[counts], group[counts]], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=graph.values).astype(np.int64)


def _counts(graph: Graph, seat_r: Ints, seat_v: Ints) -> Flags:
    """Tell which seats stand for somebody."""
    kinds = np.array([rule.kind for rule in graph.types], dtype=object)[graph.type_of]
    telling = (kinds != "cookie").astype(np.bool_)
    others = np.bincount(graph.r[telling[graph.v]], minlength=graph.records)[seat_r] - telling[seat_v]
    known: Flags = (others > 0) | (graph.signature[seat_r] >= 0)
    counts: Flags = known | (graph.customer[seat_r] & (kinds != "external").astype(np.bool_)[seat_v])
    return counts


def _testimony(graph: Graph, seat_r: Ints, suspect: Flags) -> tuple[Ints, Ints]:
    """Return who vouches for each seat: pairs of seat and witness (a value, or a signature above the values)."""
    usable = (~suspect | _unique(graph))[graph.v]
    seat, value = _join(seat_r, graph.r[usable], graph.v[usable], graph.records)
    named = np.flatnonzero(graph.signature[seat_r] >= 0)
    return np.concatenate([seat, named]), np.concatenate([value, graph.values + graph.signature[seat_r[named]]])


def _join(seat_r: Ints, r: Ints, v: Ints, records: int) -> tuple[Ints, Ints]:
    """Pair every seat with every value of its record."""
    order = np.argsort(r, kind="stable")
    start = np.searchsorted(r[order], np.arange(records + 1))
    length = start[seat_r + 1] - start[seat_r]
    seat = np.repeat(np.arange(len(seat_r)), length)
    offset = np.arange(len(seat)) - np.repeat(np.cumsum(length) - length, length)
    return seat, v[order][np.repeat(start[seat_r], length) + offset]
