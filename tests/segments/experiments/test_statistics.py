"""The statistics of experiments keep what they promise, also to whoever looks every day."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from consentry.segments.experiments.statistics import (
    always_valid,
    chi_square_p,
    declined,
    difference,
    ratio_p,
    thompson,
)


def test_a_sample_ratio_mismatch_is_found_and_chance_is_not() -> None:
    assert ratio_p({"a": 5_000, "b": 5_060}, {"a": 0.5, "b": 0.5}) > 0.1
    assert ratio_p({"a": 5_000, "b": 5_400}, {"a": 0.5, "b": 0.5}) < 0.001
    assert ratio_p({"a": 0, "b": 0}, {"a": 0.5, "b": 0.5}) == 1.0


def test_chi_square_and_welch_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.random(400) < 0.1).astype(float), (rng.random(600) < 0.15).astype(float)
    table = [[a.sum(), b.sum()], [400 - a.sum(), 600 - b.sum()]]
    expected: Any = stats.chi2_contingency(table, correction=False)
    assert chi_square_p([int(a.sum()), int(b.sum())], [400, 600]) == pytest.approx(float(expected.pvalue))
    found = difference(a, b)
    assert found is not None
    welch: Any = stats.ttest_ind(b, a, equal_var=False)
    assert found.p == pytest.approx(float(welch.pvalue))
    assert chi_square_p([0, 0], [10, 10]) == 1.0


def test_a_confidence_sequence_is_right_however_often_somebody_looks_and_a_p_value_is_not() -> None:
    # 20 looks at two arms that are alike: a test of one look cries wolf in a quarter of all cases.
    rng = np.random.default_rng(0)
    looks = np.linspace(100, 4_000, 20).astype(int)
    wrong_p = wrong_sequence = 0
    for _ in range(150):
        a, b = rng.normal(size=4_000), rng.normal(size=4_000)
        found = [difference(a[:n], b[:n]) for n in looks]
        wrong_p += any(each is not None and each.p < 0.05 for each in found)
        wrong_sequence += any(each is not None and each.is_sure for each in found)
    assert wrong_p / 150 > 0.18
    assert wrong_sequence / 150 <= 0.05


def test_a_true_difference_is_found_by_the_sequence_in_the_end() -> None:
    rng = np.random.default_rng(1)
    found = difference(rng.normal(0, 1, 5_000), rng.normal(0.2, 1, 5_000))
    assert found is not None and found.is_sure and found.low < 0.2 < found.high


def test_a_sequence_narrows_with_people() -> None:
    widths = [always_valid(1 / np.sqrt(n), n) for n in (100, 1_000, 10_000)]
    assert widths == sorted(widths, reverse=True)


def test_too_few_people_compare_nothing_and_arms_without_variance_do_not_divide_by_zero() -> None:
    assert difference(np.ones(1), np.ones(9)) is None
    same = difference(np.ones(9), np.ones(9))
    assert same is not None and same.p == 1.0 and not same.is_sure


def test_thompson_weights_go_to_the_better_arm_and_leave_each_a_chance() -> None:
    people = {"a": 1_000, "b": 1_000, "c": 1_000}
    weights = thompson({"a": 100, "b": 160, "c": 100}, people)
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["b"] > 0.85 and min(weights.values()) >= 0.05
    even = thompson({"a": 0, "b": 0, "c": 0}, dict.fromkeys(people, 0))
    assert all(weight == pytest.approx(1 / 3, abs=0.02) for weight in even.values())
    assert thompson({"a": 1, "b": 2, "c": 0}, people) == thompson({"a": 1, "b": 2, "c": 0}, people)


def test_thompson_allocation_ends_with_the_best_arm() -> None:
    rng = np.random.default_rng(0)
    rates = {"a": 0.05, "b": 0.10}
    people, held = dict.fromkeys(rates, 0), dict.fromkeys(rates, 0)
    for _ in range(40):
        for arm, weight in thompson(held, people).items():
            tried = int(200 * weight)
            people[arm] += tried
            held[arm] += int(rng.binomial(tried, rates[arm]))
    assert people["b"] > 3 * people["a"]


def test_a_declining_week_is_an_alarm_and_a_noisy_one_is_not() -> None:
    rng = np.random.default_rng(0)
    month = rng.normal(10, 1, 28)
    assert declined(month, rng.normal(6, 1, 7), drop=0.2)
    assert not declined(month, rng.normal(10, 1, 7), drop=0.2)
    assert not declined(month, rng.normal(9, 1, 7), drop=0.2)  # below the limit
    assert not declined(rng.normal(10, 8, 28), rng.normal(7.5, 8, 7), drop=0.2)  # days differ as much anyhow
    assert not declined(month[:3], month[:2] / 2, drop=0.2)
