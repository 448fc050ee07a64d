"""What a partition scores against the truth."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.identity.metrics import b_cubed, exact_clusters, mistakes, pairwise

LABELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)


def test_a_perfect_partition_scores_one_whatever_its_labels_are_called() -> None:
    for score in (pairwise, b_cubed, exact_clusters):
        found = score(["x", "x", "y", "z"], [7, 7, 3, 1])
        assert (found.precision, found.recall, found.f1) == (1.0, 1.0, 1.0)


def test_a_partition_known_by_hand_scores_what_it_scores_by_hand() -> None:
    labels, truth = [0, 0, 0, 1, 1], ["a", "a", "b", "b", "c"]
    pairs, cubed, exact = pairwise(labels, truth), b_cubed(labels, truth), exact_clusters(labels, truth)
    assert (pairs.precision, pairs.recall) == (pytest.approx(1 / 4), pytest.approx(1 / 2))
    assert cubed.precision == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 / 2 + 1 / 2) / 5)
    assert cubed.recall == pytest.approx((1 + 1 + 1 / 2 + 1 / 2 + 1) / 5)
    assert (exact.precision, exact.recall, exact.f1) == (0.0, 0.0, 0.0)
    assert mistakes(labels, truth) == (2, 1)


def test_records_that_are_all_alone_claim_nothing_wrongly() -> None:
    found = pairwise([0, 1, 2], [0, 0, 1])
    assert (found.precision, found.recall) == (1.0, 0.0)


@given(LABELS)
def test_pairs_are_those_that_counting_pair_by_pair_finds(rows: list[tuple[int, int]]) -> None:
    pairs = list(combinations(rows, 2))
    found = [(one, other) for one, other in pairs if one[0] == other[0]]
    true = [(one, other) for one, other in pairs if one[1] == other[1]]
    right = sum(one[1] == other[1] for one, other in found)
    scored = pairwise([label for label, _ in rows], [truth for _, truth in rows])
    assert scored.precision == pytest.approx(right / len(found) if found else 1.0)
    assert scored.recall == pytest.approx(right / len(true) if true else 1.0)


@given(LABELS)
def test_swapping_labels_and_truth_swaps_precision_and_recall(rows: list[tuple[int, int]]) -> None:
    labels, truth = [label for label, _ in rows], [true for _, true in rows]
    for score in (pairwise, b_cubed, exact_clusters):
        one, other = score(labels, truth), score(truth, labels)
        assert (one.precision, one.recall) == (pytest.approx(other.recall), pytest.approx(other.precision))
