"""What models say of people is an attribute of rules: the same in batch, refresh and process, unknown when missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.config import Faults
from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock
from consentry.segments.evaluate import evaluate
from consentry.segments.examples import run_tests
from consentry.segments.files import read_segments
from consentry.segments.memberships import Deciding
from consentry.segments.parse import parse
from consentry.segments.person import Event, Person, Plain
from consentry.segments.refresh import refresh
from consentry.segments.served import Served, note_version, served_to
from consentry.segments.spell import spell
from consentry.segments.tree import from_tree, to_tree
from consentry.warehouse import DuckDBWarehouse
from tests.segments.conftest import CATALOG, NOW, fill, members, rule_segments

CHURN, GROUPS = "segment.model__churn", "segment.model__groups"
SERVED = {
    "model.churn.score": Served("number", f"SELECT person_id, score AS value FROM {CHURN}", CHURN),
    "model.groups": Served("text", f"SELECT person_id, label AS value FROM {GROUPS}", GROUPS),
}
KNOWN: Catalog = replace(CATALOG, served=SERVED)
RULES = {
    "leaving": "model.churn.score > 0.5",
    "staying": "not model.churn.score > 0.5",
    "unscored": "model.churn.score is missing",
    "bargains": "model.groups in ('c1', 'c3') and count(purchase) >= 1",
    "upper": "model.churn.score >= percentile(50 of model.churn.score)",
}
QUIET = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
LAWS = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def say(warehouse: DuckDBWarehouse, scores: Mapping[str, float], groups: Mapping[str, str], version: str) -> None:
    for name, kind, values in (("churn", "score DOUBLE", scores), ("groups", "label TEXT", groups)):
        warehouse.sql(f"CREATE OR REPLACE TABLE segment.model__{name} (person_id TEXT, {kind})")
        for person, value in values.items():
            warehouse.sql(f"INSERT INTO segment.model__{name} VALUES ($person, $value)", person=person, value=value)
    note_version(warehouse, "churn", version)


def test_a_name_of_three_words_is_spelled_and_read_again() -> None:
    rule = parse("model.churn.score > 0.5 and model.groups == 'c1'")
    assert spell(rule) == "model.churn.score > 0.5 and model.groups == 'c1'"
    assert from_tree(to_tree(rule)) == rule


def test_an_unknown_output_gets_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text('segment: s\ndescription: d\npurpose: ads\nrule: "model.chum.score > 0.5"\n')
    faults = Faults()
    read_segments(path, KNOWN, faults)
    assert "unknown model output 'model.chum.score'; did you mean 'model.churn.score'?" in faults.found[0]


def test_before_the_first_scoring_everybody_is_unknown(tmp_path: Path, warehouse: DuckDBWarehouse) -> None:
    fill(warehouse, KNOWN, {"a": Person()})
    evaluate(warehouse, rule_segments(RULES, tmp_path, KNOWN), KNOWN, now=NOW, run_id="r")
    assert members(warehouse) == {"staying": {"a"}, "unscored": {"a"}}


def test_examples_of_a_segment_can_state_what_a_model_says(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "segment: s\ndescription: d\npurpose: ads\nrule: model.churn.score > 0.5\ntests:\n"
        "  - in: {model.churn.score: 0.6}\n  - out: {model.churn.score: 0.5}\n  - out: {}\n"
    )
    faults = Faults()
    segments = read_segments(path, KNOWN, faults)
    faults.check()
    assert [result.passed for result in run_tests(segments, NOW)] == [True, True, True]


def test_an_example_with_a_wrong_value_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    head = "segment: s\ndescription: d\npurpose: ads\nrule: model.churn.score > 0.5\ntests:\n"
    path.write_text(head + "  - in: {model.churn.score: much}\n")
    faults = Faults()
    read_segments(path, KNOWN, faults)
    assert faults.found == [f"{path}:6: The model output 'model.churn.score' is number; this value is not."]


PEOPLE = st.lists(st.integers(0, 2), min_size=1, max_size=6)
VALUES = st.dictionaries(st.integers(0, 5), st.sampled_from([0.0, 0.4, 0.5, 0.6, 1.0]), max_size=6)
WORDS = st.dictionaries(st.integers(0, 5), st.sampled_from(["c1", "c2", "c3"]), max_size=6)


@LAWS
@given(buys=PEOPLE, first=VALUES, then=VALUES, words=WORDS)
def test_served_values_are_the_same_in_batch_in_a_refresh_and_in_process(
    tmp_path_factory: pytest.TempPathFactory,
    buys: list[int],
    first: dict[int, float],
    then: dict[int, float],
    words: dict[int, str],
) -> None:
    warehouse = DuckDBWarehouse(threads=1)
    segments = rule_segments(RULES, tmp_path_factory.mktemp("rules"), KNOWN)
    bought = [[Event("purchase", NOW - timedelta(days=1))] * n for n in buys]
    fill(warehouse, KNOWN, {f"p{n}": Person(events=events) for n, events in enumerate(bought)})
    warehouse.sql("CREATE SCHEMA IF NOT EXISTS segment")
    say(warehouse, {f"p{n}": value for n, value in first.items()}, {f"p{n}": word for n, word in words.items()}, "1")
    evaluate(warehouse, segments, KNOWN, now=NOW, run_id="r1")
    say(warehouse, {f"p{n}": value for n, value in then.items()}, {f"p{n}": word for n, word in words.items()}, "2")
    later = NOW + timedelta(minutes=15)
    refreshed = refresh(warehouse, segments, KNOWN, now=later, run_id="r2")
    inside = members(warehouse)
    evaluate(warehouse, segments, KNOWN, now=later, run_id="r3")
    assert members(warehouse) == inside
    upper = parse(RULES["upper"])
    assert isinstance(upper, ast.Compare) and isinstance(upper.right, ast.Percentile)
    thresholds = {upper.right: refreshed.thresholds["percentile(50 of model.churn.score)"]}
    deciding = Deciding(segments)
    for n, events in enumerate(bought):
        known: dict[str, Plain] = served_to(warehouse, SERVED, f"p{n}")
        person = Person(events=events, served=known)
        found = deciding.memberships(person, Clock(later, KNOWN.zone()), thresholds)
        assert found == {name for name, people in inside.items() if f"p{n}" in people}
    warehouse.close()
