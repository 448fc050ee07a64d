"""Drift: alarms on the size of a change against the stored baseline, not on its p-value."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import pytest
from scipy.stats import ks_2samp

from consentry.segments.models.drift import baseline, drifted, of_numbers, of_words, psi
from tests.segments.models.test_clusters import given_columns


def against(then: np.ndarray, now: np.ndarray) -> tuple[float, float]:
    kept = json.loads(json.dumps(baseline(given_columns({"x": then}))))
    found = of_numbers("x", kept["x"], now)
    return found.d or 0.0, found.psi


def test_drift_by_ks_and_psi_tells_a_large_shift_from_a_significant_one() -> None:
    # 300,000 against 300,000 values: a hundredth of a standard deviation is "significant" and means nothing.
    rng = np.random.default_rng(0)
    then = rng.normal(size=300_000)
    d, stability = against(then, rng.normal(0.01, 1, size=300_000))
    assert d < 0.01 and stability < 0.001
    d, stability = against(then, rng.normal(0.5, 1, size=300_000))
    assert d == pytest.approx(0.20, abs=0.01) and stability == pytest.approx(0.24, abs=0.03)


def test_d_is_that_of_kolmogorov_and_smirnov_to_a_hundredth() -> None:
    rng = np.random.default_rng(1)
    for shift in (0.0, 0.3, 1.0):
        then, now = rng.gamma(2, size=5_000), rng.gamma(2, size=4_000) + shift
        assert against(then, now)[0] == pytest.approx(float(cast("Any", ks_2samp(then, now)).statistic), abs=0.015)


def test_a_column_that_did_not_move_has_no_drift_and_one_that_is_gone_is_an_alarm() -> None:
    values = np.random.default_rng(2).normal(size=2_000)
    assert against(values, values) == (0.0, 0.0)
    kept = baseline(given_columns({"x": values}))
    assert of_numbers("x", kept["x"], np.full(2_000, np.nan)).is_alarm


def test_counts_with_many_ties_and_a_constant_do_not_alarm_by_themselves() -> None:
    rng = np.random.default_rng(3)
    d, stability = against(rng.poisson(0.5, size=5_000).astype(float), rng.poisson(0.5, size=5_000).astype(float))
    assert d < 0.03 and stability < 0.02
    assert against(np.ones(100), np.ones(50)) == (0.0, 0.0)


def test_words_that_come_up_anew_count_together() -> None:
    then = {"DE": 0.5, "AT": 0.5, "(other)": 0.0}
    assert of_words("country", then, ["DE", "AT"] * 50).psi < 0.001
    assert of_words("country", then, ["FR", None] * 50).is_alarm
    assert of_words("country", then, ["DE"] * 90 + ["AT"] * 10).is_alarm


def test_the_worst_drift_comes_first_and_the_score_is_watched_too() -> None:
    rng = np.random.default_rng(4)
    columns = {"same": rng.normal(size=1_000), "moved": rng.normal(size=1_000)}
    kept = baseline(given_columns(columns), rng.random(1_000))
    moved = given_columns({**columns, "moved": columns["moved"] + 2})
    found = drifted(kept, moved, rng.random(1_000) ** 4)
    assert [item.feature for item in found if item.is_alarm] == ["moved", "score"]


def test_a_stability_index_is_the_same_in_both_directions() -> None:
    one, other = np.array([0.2, 0.8]), np.array([0.5, 0.5])
    assert psi(one, other) == pytest.approx(psi(other, one)) == pytest.approx(0.3 * np.log(2.5) + -0.3 * np.log(0.625))
