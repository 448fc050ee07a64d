"""Model files: strict, every fault with its line, and nothing that knows the future."""

from __future__ import annotations

import pytest

from consentry.errors import ConfigError
from consentry.segments.models.definition import serving
from consentry.segments.parse import parse
from tests.segments.models.conftest import CHURN, SHOP, Read

GROUPS = """\
models:
  - model: habits
    description: Kinds of customers
    purpose: profiling
    kind: cluster
    features: {orders: count(order), tier_now: tier}
"""


def test_a_model_is_read_with_its_features_and_serves_its_outputs(read: Read) -> None:
    (model,) = read(CHURN)
    assert [feature.name for feature in model.features] == ["orders", "spent", "since", "views", "country"]
    assert model.target is not None and model.target.within == 60 * 86_400
    catalog = serving(SHOP, (model,))
    assert {name: entry.type for name, entry in catalog.served.items()} == {
        "model.churn": "number",
        "model.churn.score": "number",
        "model.churn.decile": "integer",
    }


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (
            "purpose: profiling",
            "purpose: profilng",
            "4: The policy has no purpose 'profilng'; did you mean 'profiling'",
        ),
        ("    purpose: profiling\n", "", "2: The file has no 'purpose'. Add it."),
        ("count(order, last 120 days)", "count(ordr)", "7: The value, column 1: unknown event 'ordr'; did you mean"),
        (
            "stable: [country]",
            "stable: [county]",
            "12: 'county' is no attribute of the profile; did you mean 'country'",
        ),
        ("kind: classify", "kind: guess", "5: kind: input should be 'classify', 'cluster' or 'clv'."),
        ("folds: 3", "fold: 3", "14: The key 'fold' is not known here; did you mean 'folds'"),
        ("within: 60 days", "within: soon", "13: target.within: a length of time is written as"),
        ("    classify:", "    cluster: {k: 3}\n    classify:", "14: A model of the kind 'classify' has no 'cluster'"),
        ("spent: sum(order.amount)", "spent: sum(order.gift)", "8: The value, column 1: sum cannot be taken of"),
        ("views: count(view, last 60 days)", "views: '3'", "10: The value, column 1: this is the same for everyone"),
    ],
)
def test_a_fault_is_told_with_its_line(read: Read, before: str, after: str, fault: str) -> None:
    assert before in CHURN
    with pytest.raises(ConfigError) as error:
        read(CHURN.replace(before, after))
    assert any(f"models.yaml:{fault}" in sentence for sentence in error.value.faults), error.value.faults


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("stable: [country]", "stable: []", "the profile keeps no history of 'country'"),
        ("country: country", "tier: tier", "the profile keeps no history of 'tier'"),
        ("country: country", "said: model.other.score", "what models say was learnt after the cut-off"),
        ("count(order) == 0, ", "tier == 'none', ", "attributes have no history"),
        ("target:", "population: in segment(loyal)\n    target:", "members are known as of the last run"),
        ("target:", "population: tier == 'gold'\n    target:", "the profile keeps no history of 'tier'"),
    ],
)
def test_leakage_what_knows_the_future_or_the_target_is_refused(
    read: Read, before: str, after: str, fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault):
        read(CHURN.replace(before, after), serving(SHOP, read(GROUPS.replace("habits", "other"))))


def test_a_clustering_may_look_at_any_attribute_since_it_foretells_nothing(read: Read) -> None:
    (model,) = read(GROUPS)
    assert model.outputs() == {"label": "text"}


def test_a_clustering_has_no_target(read: Read) -> None:
    with pytest.raises(ConfigError, match="has no 'target'"):
        read(GROUPS + "    target: {rule: count(order) == 0, within: 60 days}\n")


def test_two_models_of_one_name_are_refused(read: Read) -> None:
    with pytest.raises(ConfigError, match="The model 'churn' is declared twice"):
        read(CHURN + CHURN.removeprefix("models:\n"))


def test_another_feature_is_another_model_and_another_description_is_not(read: Read) -> None:
    (model,), (described,) = read(CHURN), read(CHURN.replace("Will not order", "Does not order"))
    (other,) = read(CHURN.replace("last 120 days", "last 90 days"))
    assert model.fingerprint() == described.fingerprint() != other.fingerprint()


def test_a_rule_can_name_the_model_alone_or_one_of_its_outputs() -> None:
    assert parse("model.churn > 0.8 and model.churn.decile == 10")
