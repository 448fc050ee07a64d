"""The second spelling is lossless, the formatter keeps the meaning, the linter names what is not meant."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.errors import ConfigError
from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.files import Segment
from consentry.segments.format import format_rule
from consentry.segments.lint import lint
from consentry.segments.parse import RuleError, parse
from consentry.segments.sensitive import traits_in
from consentry.segments.spell import spell
from consentry.segments.tree import TreeError, from_tree, to_tree
from tests.segments.test_batch_equals_person import rules

Write = Callable[[str], tuple[Segment, ...]]
MORE = [
    "in segment(loyal) and income >= percentile(75 of income over country == 'US')",
    "score.engagement >= 0.6 or rfm.segment == 'champions'",
]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(rules(None) | st.sampled_from(MORE).map(parse))
def test_a_rule_survives_its_tree_as_yaml_and_as_json(rule: ast.Rule) -> None:
    tree = to_tree(rule)
    assert from_tree(json.loads(json.dumps(tree))) == rule
    assert from_tree(yaml.safe_load(yaml.safe_dump(tree))) == rule


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(rules(None))
def test_formatting_keeps_the_meaning_and_doing_it_twice_changes_nothing(rule: ast.Rule) -> None:
    text = format_rule(spell(rule))
    assert parse(text) == rule
    assert format_rule(text) == text


@pytest.mark.parametrize(
    "tree",
    [
        [], {}, "age > 3", {"all": []}, {"all": [{"truth": {"value": {"name": {"name": "subscribed"}}}}]},
        {"compare": {"left": {"name": {"name": "age"}}}}, {"drop": {}}, {"not": {"name": {"name": "age"}}},
        {"compare": {"left": {"name": {"name": "age"}}, "op": "> 1 or age <", "right": {"name": {"name": "age"}}}},
        {"in_segment": {"segment": "a) or in segment(b"}}, {"truth": {"value": {"name": {"name": 7}}}},
        {"truth": {"value": {"name": {"name": "a", "at": 3}}}},
        {"truth": {"value": {"literal": {"value": {}, "type": 1}}}},
        {"truth": {"value": {"literal": {"value": "x", "type": "date"}}}},
    ],
)  # fmt: skip
def test_data_that_is_no_rule_is_refused_and_nothing_is_smuggled_in(tree: object) -> None:
    with pytest.raises((TreeError, RuleError)):
        from_tree(tree)


def test_a_tree_of_hostile_depth_is_refused() -> None:
    tree: dict[str, object] = {"truth": {"value": {"name": {"name": "subscribed"}}}}
    for _ in range(10_000):
        tree = {"not": tree}
    with pytest.raises(TreeError, match="nested deeper"):
        from_tree(tree)


def test_a_segment_file_takes_a_rule_as_a_tree(write: Write) -> None:
    tree = json.dumps(to_tree(parse("age >= 18 and country == 'DE'")))
    (segment,) = write(f"segment: s\ndescription: t\npurpose: ads\nrule: {tree}\n")
    assert segment.rule is not None and spell(segment.rule) == "age >= 18 and country == 'DE'"
    with pytest.raises(ConfigError, match="unknown attribute"):
        write(f"segment: s\ndescription: t\npurpose: ads\nrule: {tree.replace('country', 'county')}\n")


def remarks(write: Write, catalog: Catalog, text: str) -> dict[tuple[str, str], str]:
    return {(r.segment, r.code): r.sentence for r in lint(write(text), catalog) if r.code != "no_tests"}


def one(rule: str) -> str:
    return f'segments:\n  - {{segment: s, description: t, purpose: ads, rule: "{rule}"}}\n'


LADDER = """\
groups: [{name: value%s}]
segments:
  - segment: high
    description: t
    purpose: ads
    rule: last(purchase) within last 30 days and sum(purchase.value) >= 500
    group: {name: value, priority: 1}
  - segment: lapsed
    description: t
    purpose: ads
    rule: last(purchase) < 30 days ago and sum(purchase.value) < 500
    group: {name: value, priority: 2}
"""


def test_the_uncovered_quadrants_of_an_if_else_ladder_are_named(write: Write, catalog: Catalog) -> None:
    found = remarks(write, catalog, LADDER % "")["lapsed", "uncovered"]
    assert "last(purchase) within last 30 days and sum(purchase.value) < 500" in found
    assert "sum(purchase.value) >= 500 and last(purchase) < 30 days ago" in found
    assert "last(purchase) is missing" in found
    assert "declare a 'fallback'" in found


def test_with_a_fallback_the_quadrants_are_told_as_its_members(write: Write, catalog: Catalog) -> None:
    text = LADDER % ", fallback: rest" + "  - {segment: rest, description: t, purpose: ads}\n"
    assert "They go to the fallback 'rest'" in remarks(write, catalog, text)["rest", "uncovered"]


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("age > 30 and age < 20", "never"),
        ("count(login) > 3 and count(login) < 4", "never"),
        ("country == 'DE' and country == 'US'", "never"),
        ("count(login) >= 0", "always"),
        ("age is missing or age is known", "always"),
        ("not age > 30", "nullable_not"),
        ("not country in ('DE', 'US') and age > 3", "nullable_not"),
    ],
)
def test_a_rule_that_is_probably_not_meant_is_named(write: Write, catalog: Catalog, rule: str, code: str) -> None:
    assert ("s", code) in remarks(write, catalog, one(rule))


@pytest.mark.parametrize(
    "rule",
    [
        "age > 20 and age < 30", "not count(login) > 3", "age is known and not age > 30", "income > 1 and income < 2",
        "not age is missing", "subscribed and country != 'DE'", "country == home", "income > percentile(50 of income)",
        "count(login) > 3 and count(login) < 5", "last(login) within last 3 days and not last(login) is missing",
    ],
)  # fmt: skip
def test_an_ordinary_rule_is_left_alone(write: Write, catalog: Catalog, rule: str) -> None:
    assert remarks(write, catalog, one(rule)) == {}


def test_a_step_of_a_ladder_that_nobody_reaches_is_named(write: Write, catalog: Catalog) -> None:
    text = "groups: [{name: g}]\nsegments:\n" + "".join(
        f'  - {{segment: {name}, description: t, purpose: ads, rule: "{rule}", group: {{name: g, priority: {n}}}}}\n'
        for n, (name, rule) in enumerate({"all": "age > 10", "some": "age > 20"}.items())
    )
    assert ("some", "shadowed") in remarks(write, catalog, text)


def test_a_segment_says_how_grave_a_remark_is(write: Write, catalog: Catalog) -> None:
    text = one("not age > 30").replace("rule:", "lint: {nullable_not: error, no_tests: ignore}, rule:")
    assert [(remark.code, remark.severity) for remark in lint(write(text), catalog)] == [("nullable_not", "error")]


@pytest.mark.parametrize(
    ("name", "description", "trait"),
    [
        ("diabetic_shoppers", "t", "health"),
        ("s", "Practising Catholics in Bavaria", "religious"),
        ("likely_voters", "t", "political"),
        ("s", "Trade-union members", "trade union"),
    ],
)
def test_a_segment_named_after_a_sensitive_trait_is_told(
    write: Write, catalog: Catalog, name: str, description: str, trait: str
) -> None:
    text = f"segment: {name}\ndescription: {description}\npurpose: ads\nrule: age > 30\n"
    assert trait in remarks(write, catalog, text)[name, "sensitive"]
    assert not remarks(write, catalog, text + "lint: {sensitive: ignore}\n")


def test_an_ordinary_name_tells_of_no_trait() -> None:
    names = ["race_day_buyers", "black_friday", "credit_union_customers", "healthy_snacks", "high_value", "dnaform"]
    assert [found for name in names for found in traits_in(name)] == []


def test_an_unknown_lint_is_refused(write: Write) -> None:
    with pytest.raises(ConfigError, match="nullable_nott"):
        write(one("age > 30").replace("rule:", "lint: {nullable_nott: error}, rule:"))
