"""From a file to rules: train, keep, judge, score, serve; and what stops each of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from consentry.errors import ConfigError, StopRun
from consentry.segments.evaluate import evaluate
from consentry.segments.models.card import written
from consentry.segments.models.definition import Definition, serving
from consentry.segments.models.page import render
from consentry.segments.models.registry import CARD, Registry
from consentry.segments.models.scoring import DRIFT, score, scored_at
from consentry.segments.models.seal import Seals
from consentry.segments.models.training import due, train
from consentry.segments.person import Person
from consentry.segments.refresh import refresh
from consentry.warehouse import DuckDBWarehouse
from tests.segments.conftest import fill, members, rule_segments
from tests.segments.models.conftest import CHURN, NOW, SHOP, Read, customers
from tests.segments.models.test_clusters import HABITS
from tests.segments.models.test_clv import CLV


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models", Seals({1: b"k" * 32}, 1))


@pytest.fixture
def own_shop() -> DuckDBWarehouse:
    warehouse = DuckDBWarehouse(threads=1)
    fill(warehouse, SHOP, customers(300))
    return warehouse


def models(read: Read) -> tuple[Definition, ...]:
    return read(CHURN + HABITS.removeprefix("models:\n") + CLV.removeprefix("models:\n"))


def test_every_kind_of_model_is_trained_scored_and_served_to_rules(
    read: Read, registry: Registry, own_shop: DuckDBWarehouse, tmp_path: Path
) -> None:
    known = models(read)
    catalog = serving(SHOP, known)
    for definition in known:
        card = train(own_shop, catalog, definition, registry, now=NOW)
        assert (card["version"], card["promoted"]) == (1, True)
        score(own_shop, catalog, definition, registry, now=NOW, run_id="r1")
    rules = {
        "leaving": "model.churn > 0.5",
        "top": "model.churn.decile >= 9",
        "first_group": "model.habits.label == 'c1'",
        "valuable": "model.worth.value > 500 and model.worth.alive > 0.5",
        "unscored": "model.churn.score is missing",
    }
    segments = rule_segments(rules, tmp_path, catalog)
    found = evaluate(own_shop, segments, catalog, now=NOW, run_id="r1").members
    assert 0 < found["leaving"] < 300 and 30 <= found["top"] < 150
    assert 0 < found["first_group"] < 300 and 0 < found["valuable"] < 300
    before = members(own_shop)
    later = refresh(own_shop, segments, catalog, now=NOW + timedelta(minutes=1), run_id="r2")
    assert not any(later.entered.values()) and not any(later.left.values())
    assert members(own_shop) == before


def test_who_came_after_the_last_scoring_is_unknown_until_the_next(
    read: Read, registry: Registry, own_shop: DuckDBWarehouse, tmp_path: Path
) -> None:
    (churn,) = read(CHURN)
    catalog = serving(SHOP, (churn,))
    train(own_shop, catalog, churn, registry, now=NOW)
    score(own_shop, catalog, churn, registry, now=NOW, run_id="r1")
    segments = rule_segments({"unscored": "model.churn.score is missing"}, tmp_path, catalog)
    newcomer = Person(events=customers(1)["p0000"].events)
    fill(own_shop, SHOP, {**customers(300), "new": newcomer})
    assert evaluate(own_shop, segments, catalog, now=NOW, run_id="r2").members == {"unscored": 1}
    score(own_shop, catalog, churn, registry, now=NOW, run_id="r3")
    assert refresh(own_shop, segments, catalog, now=NOW, run_id="r4").members == {"unscored": 0}


def test_consent_whoever_is_not_in_the_profile_is_in_no_model(
    read: Read, registry: Registry, own_shop: DuckDBWarehouse
) -> None:
    (habits,) = read(HABITS)
    card = train(own_shop, SHOP, habits, registry, now=NOW)
    fill(own_shop, SHOP, {name: person for name, person in customers(300).items() if name > "p0099"})
    later = train(own_shop, SHOP, habits, registry, now=NOW)
    assert (card["report"]["people"], later["report"]["people"]) == (299, 199)  # one of them never ordered
    score(own_shop, SHOP, habits, registry, now=NOW, run_id="r")
    assert own_shop.sql("SELECT min(person_id) AS p FROM segment.model__habits")["p"][0].as_py() == "p0100"


def test_a_second_training_on_the_same_data_stays_a_challenger(
    read: Read, registry: Registry, own_shop: DuckDBWarehouse
) -> None:
    (churn,) = read(CHURN)
    train(own_shop, SHOP, churn, registry, now=NOW)
    again = train(own_shop, SHOP, replace(churn, seed=2), registry, now=NOW)
    assert not again["promoted"] and "not better by more than the spread" in again["reason"]
    assert registry.champion("churn") == 1 and registry.versions("churn") == [1, 2]


def test_a_changed_definition_takes_over_and_until_then_nobody_is_scored_by_the_old_one(
    read: Read, registry: Registry, own_shop: DuckDBWarehouse
) -> None:
    (churn,) = read(CHURN)
    train(own_shop, SHOP, churn, registry, now=NOW)
    (other,) = read(CHURN.replace("last 120 days", "last 90 days"))
    assert due(other, registry, now=NOW) == "Its definition changed."
    with pytest.raises(ConfigError, match="changed since version 1"):
        score(own_shop, SHOP, other, registry, now=NOW, run_id="r")
    assert train(own_shop, SHOP, other, registry, now=NOW)["promoted"]


def test_retraining_is_due_by_the_schedule(read: Read, registry: Registry, own_shop: DuckDBWarehouse) -> None:
    (habits,) = read(HABITS)
    assert due(habits, registry, now=NOW) == "It was never trained."
    train(own_shop, SHOP, habits, registry, now=NOW)
    assert due(habits, registry, now=NOW + timedelta(days=29)) is None
    assert due(habits, registry, now=NOW + timedelta(days=30)) == "It was trained 30 days ago; its schedule says 30."


@pytest.mark.parametrize("name", ["model.json", "estimator.skops", "card.json"])
def test_a_tampered_model_scores_nobody_and_what_it_said_before_stays(
    read: Read, registry: Registry, own_shop: DuckDBWarehouse, name: str
) -> None:
    (churn,) = read(CHURN)
    train(own_shop, SHOP, churn, registry, now=NOW)
    score(own_shop, SHOP, churn, registry, now=NOW, run_id="r1")
    path = registry.folder / "churn" / "v0001" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(StopRun) as error:
        score(own_shop, SHOP, churn, registry, now=NOW + timedelta(days=1), run_id="r2")
    assert error.value.code == "model_tampered"
    assert scored_at(own_shop, "churn") == (NOW, 1)
    assert own_shop.count("segment.model__churn") == 300


def test_scoring_without_a_version_in_use_says_what_to_do(
    read: Read, registry: Registry, own_shop: DuckDBWarehouse
) -> None:
    (churn,) = read(CHURN)
    with pytest.raises(ConfigError, match="Run `consentry model train` first"):
        score(own_shop, SHOP, churn, registry, now=NOW, run_id="r")


def test_drift_against_the_stored_baseline_is_noted_at_each_scoring(
    read: Read, registry: Registry, own_shop: DuckDBWarehouse
) -> None:
    (habits,) = read(HABITS)
    train(own_shop, SHOP, habits, registry, now=NOW)
    assert score(own_shop, SHOP, habits, registry, now=NOW, run_id="r1").alarms == ()
    later = score(own_shop, SHOP, habits, registry, now=NOW + timedelta(days=120), run_id="r2")
    assert later.alarms[0].feature == "since"
    alarms = own_shop.sql(f"SELECT DISTINCT feature FROM {DRIFT} WHERE alarm AND run_id = 'r2'")["feature"].to_pylist()
    assert set(alarms) == {item.feature for item in later.alarms}


def test_a_card_says_what_the_model_is_for_and_how_good_it_is_in_json_markdown_and_html(
    read: Read, registry: Registry, own_shop: DuckDBWarehouse
) -> None:
    known = models(read)
    for definition in known:
        card = train(own_shop, SHOP, definition, registry, now=NOW)
        folder = registry.folder / definition.name / "v0001"
        kept = json.loads((folder / CARD).read_text())
        assert kept == card
        assert {"purpose", "seed", "fingerprint", "cutoff", "baseline", "library"} <= set(kept)
        text = (folder / "card.md").read_text()
        assert text.startswith(f"# {definition.name}\n\n{definition.description}") and text == written(card)
        shown = {**card, "in_use": 1, "drift": [], "history": [{**card, "people": 3}]}
        page = render("Models", [shown], shown_from=10)
        assert definition.description in page and "<script" not in page and "http" not in page
    assert "ROC-AUC" in (registry.folder / "churn" / "v0001" / "card.md").read_text()


def test_nothing_of_a_single_person_stands_in_a_card_or_an_artefact(
    read: Read, registry: Registry, own_shop: DuckDBWarehouse
) -> None:
    for definition in models(read):
        train(own_shop, SHOP, definition, registry, now=NOW)
        for path in (registry.folder / definition.name).rglob("*"):
            if path.is_file():
                assert b"p0001" not in path.read_bytes()


def test_a_model_of_nobody_is_refused_with_a_sentence(
    read: Read, registry: Registry, own_shop: DuckDBWarehouse
) -> None:
    fill(own_shop, SHOP, {})
    for definition in models(read):
        with pytest.raises(StopRun) as error:
            train(own_shop, SHOP, definition, registry, now=NOW)
        assert error.value.code == "too_few_people"
    assert registry.versions("churn") == []
