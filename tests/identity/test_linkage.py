"""How scored pairs become groups: never by a chain, never against a guard, in no matter which order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.identity.codes import Ints
from consentry.identity.linkage import Guards, Pairs, cluster

Scores = dict[tuple[int, int], float]


def pairs(scores: Scores) -> Pairs:
    codes = np.array(list(scores), dtype=np.int64).reshape(-1, 2)
    return Pairs(codes[:, 0], codes[:, 1], np.array(list(scores.values()), dtype=np.float64))


def grouped(scores: Scores, size: int, guards: Guards | None = None, *, cut: float = 0.15, pair: float = 0.5) -> Ints:
    return cluster(pairs(scores), size, cut=cut, pair=pair, guards=guards)


def test_records_that_all_resemble_each_other_are_one_group() -> None:
    assert grouped({(0, 1): 0.9, (0, 2): 0.8, (1, 2): 0.95}, 4).tolist() == [0, 0, 0, 3]


def test_a_chain_of_single_pairs_is_not_one_group() -> None:
    labels = grouped({(n, n + 1): 0.9 for n in range(19)}, 20)
    assert max(np.bincount(labels)) < 8


def test_two_records_need_more_than_two_groups() -> None:
    assert grouped({(0, 1): 0.4}, 2).tolist() == [0, 1]
    assert grouped({(0, 1): 0.6}, 2).tolist() == [0, 0]
    half = {(0, 1): 0.9, (2, 3): 0.9} | {(a, b): 0.3 for a in (0, 1) for b in (2, 3)}
    assert grouped(half, 4).tolist() == [0, 0, 0, 0]


def test_a_pair_that_was_not_scored_counts_as_no_evidence() -> None:
    halves = {(0, 1): 1.0, (2, 3): 1.0, (1, 2): 0.9}
    assert grouped(halves, 4, cut=0.2).tolist() == [0, 0, 0, 0]
    assert grouped(halves, 4, cut=0.3).tolist() == [0, 0, 2, 2]


def test_records_kept_apart_never_meet_over_others() -> None:
    scores = {(0, 1): 0.99, (1, 2): 0.98, (0, 2): 0.97}
    labels = grouped(scores, 3, Guards(apart=np.array([[0, 2]])))
    assert labels[0] != labels[2]


def test_two_labels_of_a_kind_never_meet() -> None:
    scores = {(0, 1): 0.99, (1, 2): 0.98, (0, 2): 0.97, (2, 3): 0.99, (1, 3): 0.9, (0, 3): 0.9}
    labels = grouped(scores, 4, Guards(exclusive=[np.array([7, -1, 8, -1])]))
    assert labels[0] != labels[2]


def test_a_group_has_a_purpose_in_common() -> None:
    scores = {(0, 1): 0.99, (1, 2): 0.98, (0, 2): 0.97}
    labels = grouped(scores, 3, Guards(purposes=np.array([1, 3, 2])))
    assert labels[0] != labels[2]


def test_records_known_to_be_one_start_as_one() -> None:
    labels = grouped({(1, 2): 0.9}, 4, Guards(together=np.array([5, 5, 6, 7])))
    assert labels.tolist() == [0, 0, 0, 3]
    assert grouped({}, 3, Guards(together=np.array([4, 4, 4]))).tolist() == [0, 0, 0]


def test_no_pairs_and_no_records_are_no_groups() -> None:
    assert grouped({}, 3).tolist() == [0, 1, 2]
    assert grouped({}, 0).tolist() == []


def reference(scores: Scores, size: int, cut: float) -> Ints:
    """Join one by one, the highest mean first, as the textbook does."""
    groups = [[n] for n in range(size)]

    def mean(one: list[int], other: list[int]) -> float:
        found = sum(scores.get((min(a, b), max(a, b)), 0.0) for a in one for b in other)
        return found / len(one) / len(other)

    while len(groups) > 1:
        found = max(
            ((mean(a, b), -n, -k) for n, a in enumerate(groups) for k, b in enumerate(groups) if n < k),
            default=(0, 0, 0),
        )
        if found[0] < cut:
            break
        n, k = -found[1], -found[2]
        groups[n] = sorted(groups[n] + groups.pop(k))
        groups.sort()
    labels = np.empty(size, dtype=np.int64)
    for group in groups:
        labels[group] = min(group)
    return labels


@st.composite
def score_sets(draw: st.DrawFn) -> tuple[int, Scores]:
    size = draw(st.integers(2, 9))
    able = [(a, b) for a in range(size) for b in range(a + 1, size)]
    chosen = draw(st.lists(st.sampled_from(able), unique=True))
    # Different sums for every set of pairs, so that no two means are equal.
    order = draw(st.permutations(range(len(able))))
    return size, {edge: 0.02 + (place + 0.01 * place * place) / 60 for edge, place in zip(chosen, order, strict=False)}


@settings(max_examples=150, deadline=None)
@given(score_sets(), st.sampled_from([0.05, 0.15, 0.4]))
def test_joining_in_rounds_gives_what_joining_one_by_one_gives(world: tuple[int, Scores], cut: float) -> None:
    size, scores = world
    assert grouped(scores, size, cut=cut, pair=cut / 1_000).tolist() == reference(scores, size, cut).tolist()


@settings(max_examples=100, deadline=None)
@given(score_sets(), st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_does_not_matter(world: tuple[int, Scores], random: object) -> None:
    size, scores = world
    shuffled = list(scores.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert grouped(dict(shuffled), size).tolist() == grouped(scores, size).tolist()


@settings(max_examples=100, deadline=None)
@given(score_sets(), st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=6))
def test_no_guard_is_ever_broken(world: tuple[int, Scores], apart: list[tuple[int, int]]) -> None:
    size, scores = world
    guarded = [(min(a, b), max(a, b)) for a, b in apart if a != b and max(a, b) < size]
    labels = grouped(scores, size, Guards(apart=np.array(guarded, dtype=np.int64).reshape(-1, 2)))
    assert all(labels[a] != labels[b] for a, b in guarded)


@pytest.mark.parametrize("size", [20_000])
def test_twenty_thousand_equal_records_are_one_group_in_bounded_time(size: int) -> None:
    star = {(0, n): 0.9 for n in range(1, size)}
    assert grouped(star, size).max() > 0
