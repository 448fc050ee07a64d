"""Children, residence, Global Privacy Control: what a person's own records and signals add to the decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from consent_town import ADS, EMAIL, HELP, POLICY, Town, policy, towns

from consentry.config import Faults
from consentry.consent.policy import read_policy
from consentry.consent.rules import CHILD
from consentry.errors import ConfigError

ANN = "ann@example.com"
CHILDREN = POLICY + "minors: {age: age}\n"
RESIDENCE = POLICY + "residence: {field: postcode, regimes: {gdpr: [DE, FR], us: [US]}}\n"
TOYS = POLICY.replace(
    "    purposes_all_of: [newsletter]\n", "    purposes_all_of: [newsletter]\n    child_directed: true\n", 1
)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Town]:
    """A town that knows how old people are."""
    yield from towns(tmp_path, text=CHILDREN)


@pytest.fixture
def placed(tmp_path: Path) -> Iterator[Town]:
    """A town that knows where people live."""
    yield from towns(tmp_path, text=RESIDENCE)


@pytest.mark.parametrize(("age", "reason"), [(15, "minor"), (16, "allow"), (None, "allow")])
def test_t37_a_child_is_refused_whatever_it_granted(guarded: Town, age: int | None, reason: str) -> None:
    guarded.person("ann", email=ANN, age=age)
    guarded.tell(ANN)
    assert guarded.reason("ann") == reason


def test_t37_a_guardian_may_answer_for_a_child(guarded: Town) -> None:
    guarded.person("ann", email=ANN, age=9)
    guarded.tell(ANN)
    guarded.tell(ANN, method="guardian")
    assert guarded.reason("ann") == "allow"
    guarded.tell(ANN, "withdrawn", effective_at="2026-02-01T00:00:00Z")
    assert guarded.reason("ann") == "minor"


def test_t37_a_child_is_refused_for_a_legitimate_interest_too(guarded: Town) -> None:
    guarded.person("ann", email=ANN, age=9)
    assert guarded.reason("ann", HELP) == "minor"


def test_t37_a_signal_that_someone_is_a_child_is_enough(town: Town) -> None:
    town.person("ann", email=ANN, age=44)
    town.tell(ANN)
    town.also("ann", "anonymous_id", "a-1")
    town.tell("a-1", "objected", identifier_type="anonymous_id", purpose=CHILD)
    assert town.reason("ann") == "minor"


def test_t37_a_year_or_date_of_birth_tells_a_child(tmp_path: Path) -> None:
    for n, (born, reason) in enumerate(
        [("2010", "minor"), ("2009", "allow"), ("2010-06-02", "minor"), ("2010-06-01", "allow"), ("long ago", "allow")]
    ):
        folder = tmp_path / str(n)
        folder.mkdir()
        for town in towns(folder, text=POLICY + "minors: {born: registered_on}\n"):
            town.person("ann", email=ANN, registered_on=born)
            town.tell(ANN)
            assert town.reason("ann") == reason, born


def test_t37_a_purpose_may_say_that_children_are_meant(tmp_path: Path) -> None:
    text = CHILDREN.replace("    ttl: P13M\n", "    ttl: P13M\n    minors: allow\n", 1)
    for town in towns(tmp_path, text=text):
        town.person("ann", email=ANN, age=9)
        town.tell(ANN)
        assert town.reason("ann") == "allow"


def test_t38_an_unknown_age_is_refused_where_children_are_addressed(tmp_path: Path) -> None:
    for town in towns(tmp_path, text=TOYS + "minors: {age: age}\n"):
        for name, age in (("ann", None), ("bob", 30), ("cat", 9)):
            town.person(name, email=f"{name}@example.com", age=age)
            town.tell(f"{name}@example.com")
        assert [town.reason(name) for name in ("ann", "bob", "cat")] == ["age_unknown", "allow", "minor"]


def test_t36_gpc_of_a_browser_ends_the_sale_for_its_known_user(town: Town) -> None:
    town.person("ann", email=ANN, phone="+447700900123")
    town.also("ann", "anonymous_id", "browser-1")
    for value in (ANN, "+447700900123"):
        town.tell(value)
        town.tell(value, purpose="ads")
    assert town.reason("ann", ADS) == "allow"
    town.tell("browser-1", "objected", identifier_type="anonymous_id", purpose="ads", method="gpc")
    assert town.reason("ann", ADS) == "objected"
    assert town.reason("ann", EMAIL) == "allow"


@pytest.mark.parametrize(
    ("country", "regime", "reason"),
    [
        ("US", None, "allow"),  # an opt-out state: no record is needed
        ("DE", None, "no_record"),
        (None, None, "no_record"),
        ("BR", None, "no_record"),  # the policy does not place it
        ("US", "gdpr", "regime_mismatch"),
    ],
)
def test_t41_where_someone_lives_decides_which_regime_holds(
    placed: Town, country: str | None, regime: str | None, reason: str
) -> None:
    placed.person("ann", email=ANN, postcode=country)
    if regime:
        placed.tell(ANN, regime=regime, purpose="ads")
        reason = "purpose_not_covered"
    assert placed.reason("ann") == reason


def test_t40_a_us_choice_of_someone_who_lives_in_the_eu_is_no_consent(placed: Town) -> None:
    placed.person("ann", email=ANN, postcode="DE")
    placed.tell(ANN, regime="us")
    assert placed.reason("ann") == "regime_mismatch"


def test_t41_two_countries_are_none(placed: Town) -> None:
    placed.person("ann", email=ANN, postcode="US")
    placed.settle()
    placed.warehouse.sql("CREATE TABLE clean.customer AS SELECT 'crm:ann' AS record_id, 'US' AS postcode")
    assert placed.reason("ann") == "allow"
    placed.warehouse.sql("INSERT INTO clean.customer VALUES ('crm:ann', 'FR')")
    assert placed.reason("ann") == "no_record"


def test_t41_a_grant_does_not_choose_between_two_countries(placed: Town) -> None:
    placed.person("ann", email=ANN, postcode="DE")
    placed.settle()
    placed.warehouse.sql("CREATE TABLE clean.customer AS SELECT 'crm:ann' AS record_id, 'US' AS postcode")
    placed.warehouse.sql("INSERT INTO clean.customer VALUES ('crm:ann', 'DE')")
    placed.tell(ANN, regime="us")
    assert placed.reason("ann") == "regime_mismatch"


def test_t39_a_special_category_leaves_for_explicit_consent_alone(tmp_path: Path) -> None:
    text = POLICY.replace("notes: {transform: drop}", "notes: {transform: pass, special_category: health}")
    named = text.replace("    min_notice_version: 2\n", "    min_notice_version: 2\n    special_categories: [health]\n")
    for wrong in (text, named):
        (tmp_path / "policy.yaml").write_text(wrong)
        faults = Faults()
        assert read_policy(tmp_path / "policy.yaml", faults) is None
        assert "does not cover the field 'notes'" in faults.found[0]
    assert policy(tmp_path, named.replace("{gdpr: consent, us: opt_out}", "{gdpr: consent}", 1))


def test_a_country_of_two_regimes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stands under 'gdpr' too"):
        policy(tmp_path, RESIDENCE.replace("us: [US]", "us: [US, DE]"))


def test_children_are_told_by_one_column(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either 'age' or 'born'"):
        policy(tmp_path, POLICY + "minors: {limit: 16}\n")


def test_a_milder_regime_holds_only_for_the_identifier_it_was_named_for(town: Town) -> None:
    town.person("ann", email=ANN, phone="+447700900123")
    town.tell("+447700900123", regime="us", purpose="service")
    assert town.reason("ann") == "no_identifier"
    assert town.reason("ann", replace(EMAIL, identifiers=("phone",))) == "allow"
