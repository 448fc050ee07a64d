"""Models that foretell: judged on people they have not seen, calibrated, explained, and wary of features that know."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from consentry.errors import StopRun
from consentry.segments.models import champion
from consentry.segments.models.asof import observe, outcome
from consentry.segments.models.classify import Foretold, Tried, learn, simplest
from consentry.segments.models.definition import Classify, Definition
from consentry.segments.models.estimator import dumped, library, loaded
from consentry.segments.models.measure import lift, measured, precision_recall, roc_auc
from consentry.warehouse import DuckDBWarehouse
from tests.segments.models.conftest import CHURN, NOW, SHOP, read_text

CUT = NOW - timedelta(days=60)


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Definition:
    (model,) = read_text(CHURN, tmp_path_factory.mktemp("churn"))
    return replace(model, classify=Classify(folds=3))


@pytest.fixture(scope="module")
def learnt(churn: Definition, shop: DuckDBWarehouse) -> Foretold:
    observed = observe(shop, SHOP, churn, at=CUT)
    assert churn.target is not None
    return learn(observed, outcome(shop, SHOP, churn.target, observed), churn)


def test_split_grid_search_k_fold_with_spread_roc_auc_precision_and_recall_stand_in_the_report(
    learnt: Foretold,
) -> None:
    report = learnt.report
    assert report["learnt_from"] + report["test"]["people"] == report["people"]
    assert [each["algorithm"] for each in report["cross_validation"]] == [
        "logistic",
        "random_forest",
        "gradient_boosting",
    ]
    for each in report["cross_validation"]:
        assert 0.5 < each["mean"] <= 1 and each["spread"] >= 0
        assert len(each["grid"]) > 1 and all("spread" in tried for tried in each["grid"])
    assert report["test"]["roc_auc"] > 0.85
    assert {"precision", "recall", "brier", "calibration_error"} <= set(report["test"])


def test_the_measures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    score = np.round(rng.random(500), 2)  # with ties
    happened = rng.random(500) < score
    assert roc_auc(happened, score) == pytest.approx(roc_auc_score(happened, score))
    precision, recall = precision_recall(happened, score >= 0.5)
    assert precision == pytest.approx(precision_score(happened, score >= 0.5))
    assert recall == pytest.approx(recall_score(happened, score >= 0.5))


def test_probabilities_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(20_000)
    found = measured(rng.random(20_000) < score, score, cut=0.5)
    assert found["calibration_error"] < 0.02
    assert [row["people"] for row in found["calibration"]] == [2000] * 10
    spoilt = measured(rng.random(20_000) < score**3, score, cut=0.5)
    assert spoilt["calibration_error"] > 0.2


def test_the_lift_of_everybody_is_one_and_captures_all() -> None:
    happened = np.array([True] * 10 + [False] * 90)
    found = lift(happened, np.linspace(1, 0, 100))
    assert found[0] == {"share": 0.1, "lift": 10.0, "captured": 1.0}
    assert found[-1] == {"share": 1.0, "lift": 1.0, "captured": 1.0}


def test_feature_importance_is_the_fall_when_a_feature_is_shuffled(learnt: Foretold) -> None:
    ranked = [entry["feature"] for entry in learnt.report["importance"]]
    assert ranked[0] in ("since", "orders", "spent")
    assert sorted(ranked) == ["country", "orders", "since", "spent", "views"]  # a feature of words counts once
    country = next(entry for entry in learnt.report["importance"] if entry["feature"] == "country")
    assert abs(country["fall"]) < 0.05


def test_the_same_seed_learns_the_same(churn: Definition, shop: DuckDBWarehouse) -> None:
    quick = replace(churn, classify=Classify(folds=3, algorithms=["gradient_boosting"]))
    observed = observe(shop, SHOP, quick, at=CUT)
    assert quick.target is not None
    happened = outcome(shop, SHOP, quick.target, observed)
    first, again = learn(observed, happened, quick), learn(observed, happened, quick)
    assert np.array_equal(first.model.score(observed), again.model.score(observed))
    assert first.report == again.report


def test_the_simplest_method_within_one_standard_error_is_taken() -> None:
    tried = [
        Tried("logistic", 0.80, 0.02, {}, []),
        Tried("random_forest", 0.835, 0.02, {}, []),
        Tried("gradient_boosting", 0.84, 0.02, {}, []),
    ]
    assert simplest(tried, 4).algorithm == "random_forest"


def test_deciles_keep_equal_scores_together(learnt: Foretold) -> None:
    score = np.sort(learnt.model.score(learnt.test))
    decile = learnt.model.decile(score)
    assert decile.min() >= 1 and decile.max() <= 10 and (np.diff(decile) >= 0).all()
    for value in np.unique(score):
        assert len(np.unique(decile[score == value])) == 1


def test_leakage_a_feature_that_knows_the_outcome_is_suspected_and_kept_out_of_use(
    churn: Definition, shop: DuckDBWarehouse
) -> None:
    assert churn.target is not None
    quick = replace(churn, classify=Classify(folds=3, algorithms=["logistic"]))
    observed = observe(shop, SHOP, quick, at=CUT)
    happened = outcome(shop, SHOP, quick.target or churn.target, observed)
    knows = {**observed.columns, "views": np.where(happened, 5.0, 1.0)}
    found = learn(replace(observed, columns=knows), happened, quick)
    assert found.report["suspects"] == ["views"]
    verdict = champion.doubted(champion.first(), found.report["suspects"])
    assert not verdict.promoted and "views alone nearly foretells" in verdict.reason


def test_a_target_that_holds_for_too_few_is_refused_with_the_numbers(churn: Definition, shop: DuckDBWarehouse) -> None:
    observed = observe(shop, SHOP, churn, at=CUT)
    happened = np.zeros(len(observed), dtype=np.bool_)
    happened[:5] = True
    with pytest.raises(StopRun, match=r"holds for 5 of \d+ people"):
        learn(observed, happened, churn)


def test_a_challenger_replaces_the_champion_only_when_better_beyond_the_spread() -> None:
    better = champion.compared(0.80, 0.84, spread=0.03, version=1)
    chance = champion.compared(0.80, 0.82, spread=0.03, version=1)
    worse = champion.compared(0.80, 0.70, spread=0.03, version=1)
    assert better.promoted and not chance.promoted and not worse.promoted
    assert "0.8200 against 0.8000 of version 1" in chance.reason


@pytest.mark.parametrize("algorithm", ["logistic", "random_forest", "gradient_boosting"])
def test_an_estimator_is_read_again_without_pickle_and_says_the_same(
    churn: Definition, shop: DuckDBWarehouse, algorithm: str
) -> None:
    quick = replace(churn, classify=Classify.model_validate({"folds": 2, "algorithms": [algorithm]}))
    observed = observe(shop, SHOP, quick, at=CUT)
    assert quick.target is not None
    found = learn(observed, outcome(shop, SHOP, quick.target, observed), quick)
    again = replace(found.model, estimator=loaded(dumped(found.model.estimator), version=library()))
    assert np.array_equal(found.model.score(observed), again.score(observed))


def test_an_estimator_of_another_minor_version_of_the_library_is_refused() -> None:
    with pytest.raises(StopRun, match="Train it again"):
        loaded(b"", version="0.9.0")


def test_an_estimator_with_a_type_of_somebody_else_is_refused() -> None:
    import subprocess

    with pytest.raises(StopRun, match="holds types that no model of ours has"):
        loaded(dumped(subprocess.CompletedProcess(args="x", returncode=0)), version=library())
