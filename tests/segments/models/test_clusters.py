"""Clusters: the methods find what is there, the same seed gives the same, and the number is chosen for a reason."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, silhouette_score

from consentry.errors import StopRun
from consentry.segments import ast
from consentry.segments.bits import Column
from consentry.segments.models.asof import Observed, observe
from consentry.segments.models.choice import Option, choose, pick
from consentry.segments.models.cluster import Clustering, labelled
from consentry.segments.models.components import components
from consentry.segments.models.definition import Cluster, Definition, Feature, Prune
from consentry.segments.models.grouping import Grouped, group
from consentry.segments.models.impact import impacts
from consentry.segments.models.pruning import correlation, prune
from consentry.segments.models.scaling import scaling
from consentry.warehouse import DuckDBWarehouse
from tests.segments.models.conftest import NOW, SHOP, Read
from tests.segments.test_scores import RETAIL

Method = Literal["kmeans", "hdbscan", "dbscan", "agglomerative"]
HABITS = """\
models:
  - model: habits
    description: Kinds of customers
    purpose: profiling
    kind: cluster
    features:
      since: last(order)
      orders: count(order)
      lines: count(order, last 400 days)
      spent: sum(order.amount)
      country: country
    cluster: {log: [orders, spent], k_max: 4}
    prune: {method: spearman, above: 0.95}
"""
METHODS: list[Method] = ["kmeans", "hdbscan", "dbscan", "agglomerative"]


def blobs(seed: int = 0, each: int = 80) -> tuple[Column, Column]:
    """Three groups far apart, and to which each row belongs."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    truth = np.repeat(np.arange(3.0), each)
    return centres[truth.astype(int)] + rng.normal(size=(3 * each, 2)), truth


def given_columns(columns: dict[str, Column], words: tuple[str, ...] = ()) -> Observed:
    kinds = {name: "text" if name.startswith("word") else "number" for name in columns}
    features = tuple(Feature(name, ast.Name(name), kinds[name]) for name in columns)  # type: ignore[arg-type]
    size = len(next(iter(columns.values())))
    return Observed(NOW, np.arange(size, dtype=np.uint32), features, columns, words)


@pytest.fixture
def habits(read: Read) -> Definition:
    return read(HABITS)[0]


@pytest.mark.parametrize("method", METHODS)
def test_k_means_dbscan_hdbscan_and_hierarchical_clustering_find_groups_that_are_there(
    read: Read, method: Method
) -> None:
    matrix, truth = blobs()
    (habits,) = read(HABITS)
    wanted = replace(habits, prune=None, cluster=Cluster(method=method, k_max=5))
    found = group(given_columns({"x": matrix[:, 0], "y": matrix[:, 1]}), wanted)
    labels = found.clustering.assign(
        found.clustering.space.place(given_columns({"x": matrix[:, 0], "y": matrix[:, 1]}))
    )
    assert found.report["k"] == 3
    assert adjusted_rand_score(truth, [label or "none" for label in labels]) > 0.9
    assert found.report["repeated"] > 0.97


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_labels(method: Method) -> None:
    matrix, _ = blobs()
    first, again = (labelled(matrix, Cluster(method=method), 3, seed=7) for _ in range(2))
    assert np.array_equal(first, again)


def test_dbscan_leaves_people_far_from_every_group_in_none(read: Read) -> None:
    matrix, _ = blobs()
    far = np.vstack([matrix, [[60.0, 60.0]]])
    wanted = replace(read(HABITS)[0], prune=None, cluster=Cluster(method="dbscan", eps=0.4))
    observed = given_columns({"x": far[:, 0], "y": far[:, 1]})
    found = group(observed, wanted).clustering
    assert found.assign(found.space.place(observed))[-1] is None


def test_choose_k_tells_wcss_silhouette_stability_and_the_smallest_share_of_each_number() -> None:
    matrix, _ = blobs()
    choice = choose(matrix, Cluster(k_max=6), seed=1)
    assert choice.k == 3
    assert [option.k for option in choice.options] == [2, 3, 4, 5, 6]
    falling = [option.wcss for option in choice.options]
    assert falling == sorted(falling, reverse=True)
    three = choice.options[1]
    assert three.stability > 0.99 and three.silhouette > 0.7 and three.smallest == pytest.approx(1 / 3, abs=0.01)
    assert "elbow" in choice.reason


def test_a_number_with_a_tiny_or_unstable_cluster_is_not_taken() -> None:
    options = [
        Option(2, 100, 0.5, 0.95, 0.3),
        Option(3, 40, 0.4, 0.5, 0.2),
        Option(4, 30, 0.3, 0.99, 0.001),
        Option(5, 29, 0.3, 0.9, 0.05),
    ]
    k, reason = pick(options, 0.01)
    assert k == 2 and "nearest to the elbow at 3" in reason
    assert pick([replace(option, stability=0.1 * option.k) for option in options], 0.01)[0] == 5


def test_cluster_profiles_are_in_the_units_of_the_features(habits: Definition, shop: DuckDBWarehouse) -> None:
    found = group(observe(shop, SHOP, habits, at=NOW), habits)
    profiles = found.report["profiles"]
    assert sum(profile["people"] for profile in profiles) == found.report["people"]
    often = max(profiles, key=lambda profile: profile["features"]["orders"]["mean"])
    seldom = min(profiles, key=lambda profile: profile["features"]["orders"]["mean"])
    assert 1 <= seldom["features"]["orders"]["mean"] < often["features"]["orders"]["mean"] <= 25  # orders
    assert 0 <= often["features"]["since"]["mean"] < 330  # days
    assert often["features"]["country"]["word"] in ("DE", "AT", "CH")


def test_of_two_features_that_say_the_same_the_later_is_dropped_and_told(
    habits: Definition, shop: DuckDBWarehouse
) -> None:
    observed = observe(shop, SHOP, habits, at=NOW)
    assert [(item.feature, item.like) for item in prune(observed, habits.prune)] == [
        ("lines", "orders"),
        ("spent", "orders"),
    ]
    assert prune(observed, None) == []
    assert "lines" not in group(observed, habits).clustering.space.coding.names


def test_spearman_sees_what_rises_together_and_pearson_what_lies_on_a_line() -> None:
    x = np.arange(1.0, 50.0)
    assert correlation(x, np.exp(x / 4), "spearman") == pytest.approx(1.0)
    assert (correlation(x, np.exp(x / 4), "pearson") or 0) < 0.8
    assert correlation(x, np.ones(49), "pearson") is None
    assert prune(given_columns({"a": x, "b": np.exp(x / 4)}), Prune(method="pearson", above=0.9)) == []


@given(st.integers(0, 1000), st.sampled_from(["zscore", "minmax", "robust"]))
@settings(max_examples=25, deadline=None)
def test_scaling_depends_on_no_unit(seed: int, scale: Literal["zscore", "minmax", "robust"]) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(30, 3))
    matrix[rng.random((30, 3)) < 0.1] = np.nan
    other = matrix * [1000.0, 0.01, 5.0] + [7.0, -3.0, 0.0]
    assert np.allclose(scaling(matrix, scale)(matrix), scaling(other, scale)(other), atol=1e-6)
    assert np.isfinite(scaling(matrix, scale)(matrix)).all()


def test_minmax_lies_between_0_and_1_and_zscore_has_mean_0_and_deviation_1() -> None:
    matrix = np.random.default_rng(0).normal(5, 3, size=(100, 2))
    low = scaling(matrix, "minmax")(matrix)
    assert low.min() == 0.0 and low.max() == pytest.approx(1.0)
    z = scaling(matrix, "zscore")(matrix)
    assert np.allclose(z.mean(axis=0), 0) and np.allclose(z.std(axis=0), 1)


def test_pca_finds_the_direction_along_which_people_differ() -> None:
    rng = np.random.default_rng(0)
    along = rng.normal(size=400)
    matrix = np.column_stack([along, 2 * along, rng.normal(scale=0.05, size=400)])
    found = components(matrix - matrix.mean(axis=0), 2)
    assert found.explained[0] > 0.99
    assert np.allclose(found.directions[0], [1 / np.sqrt(5), 2 / np.sqrt(5), 0], atol=0.01)


def test_principal_components_can_be_used_as_features(read: Read, shop: DuckDBWarehouse) -> None:
    (habits,) = read(HABITS.replace("{log:", "{components: 2, log:"))
    observed = observe(shop, SHOP, habits, at=NOW)
    found = group(observed, habits)
    assert len(found.report["explained"]) == 2
    assert found.clustering.space.place(observed).shape == (len(observed), 2)
    assert list(habits.outputs()) == ["label", "pc1", "pc2"]


def test_clusters_keep_their_names_when_they_are_learnt_again(habits: Definition, shop: DuckDBWarehouse) -> None:
    observed = observe(shop, SHOP, habits, at=NOW)
    first = group(observed, habits)
    names = {"c1": "c2", "c2": "c3", "c3": "c1"}
    old = replace(first.clustering, names=tuple(names.get(name, name) for name in first.clustering.names))
    again = group(observed, replace(habits, seed=99), before=old)
    assert _labels(again, observed) == old.assign(old.space.place(observed))


def _labels(found: Grouped, observed: Observed) -> list[str | None]:
    return found.clustering.assign(found.clustering.space.place(observed))


def test_a_clustering_survives_json_with_every_label(habits: Definition, shop: DuckDBWarehouse) -> None:
    observed = observe(shop, SHOP, habits, at=NOW)
    found = group(observed, habits)
    kept = Clustering.read(json.loads(json.dumps(found.clustering.plain(), allow_nan=False)))
    assert kept.assign(kept.space.place(observed)) == _labels(found, observed)


def test_impact_of_each_attribute_by_chi_square_and_anova_with_their_effect_sizes() -> None:
    rng = np.random.default_rng(0)
    labels = ["a", "b"] * 500
    numbers = np.array([0.0, 1.0] * 500)
    columns = {
        "tells": numbers + rng.normal(scale=0.3, size=1000),
        "noise": rng.normal(size=1000),
        "word_tells": numbers,
        "word_noise": rng.integers(0, 2, size=1000).astype(float),
        "constant": np.ones(1000),
    }
    found = {item.feature: item for item in impacts(given_columns(columns, ("x", "y")), labels)}
    assert found["word_tells"].test == "chi-square" and found["word_tells"].effect == pytest.approx(1.0)
    assert found["tells"].test == "anova" and found["tells"].effect > 0.7
    assert found["noise"].effect < 0.01 and found["word_noise"].effect < 0.1
    assert found["word_tells"].information == pytest.approx(np.log(2), abs=1e-9)
    assert found["noise"].information < 0.02
    assert "constant" not in found


def test_with_many_people_a_small_p_comes_with_a_small_effect() -> None:
    rng = np.random.default_rng(1)
    column = rng.normal(size=200_000)
    column[::2] += 0.02
    (found,) = impacts(given_columns({"x": column}), ["a", "b"] * 100_000)
    assert found.p < 0.001 and found.effect < 0.001


def test_too_few_people_are_refused_with_a_sentence(habits: Definition) -> None:
    with pytest.raises(StopRun, match="has 3 people; 20 are the least"):
        group(given_columns({"x": np.ones(3)}), habits)


@pytest.mark.skipif(not RETAIL.exists(), reason="the Online Retail data is not here")
@pytest.mark.slow
def test_the_silhouette_of_online_retail_picks_two_and_the_choice_does_not_follow_it_blindly() -> None:
    lines = pl.read_parquet(RETAIL).filter(
        pl.col("CustomerID").is_not_null()
        & ~pl.col("InvoiceNo").str.starts_with("C")
        & (pl.col("Quantity") > 0)
        & (pl.col("UnitPrice") > 0)
    )
    day = pl.col("InvoiceDate").cast(pl.Datetime).dt.date()
    rfm = lines.group_by("CustomerID").agg(
        (datetime(2011, 12, 10, tzinfo=UTC).date() - day.max()).dt.total_days().alias("r"),
        pl.col("InvoiceNo").n_unique().alias("f"),
        (pl.col("Quantity") * pl.col("UnitPrice")).sum().alias("m"),
    )
    assert len(rfm) == 4338
    matrix = np.log1p(rfm.sort("CustomerID").select("r", "f", "m").to_numpy().astype(float))
    placed = scaling(matrix, "zscore")(matrix)
    choice = choose(placed, Cluster(k_max=6), seed=1)
    two = labelled(placed, Cluster(), 2, seed=1)
    assert silhouette_score(placed, two) == pytest.approx(0.433, abs=0.005)  # as facts on this data give it
    assert max(choice.options, key=lambda option: option.silhouette).k == 2
    assert choice.k > 2
