"""Which value of which record stands in the golden record."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from consentry.errors import ConfigError, StopRun
from consentry.identity.config import IdentityConfig
from consentry.identity.golden import golden
from consentry.identity.overrides import end_override, override
from consentry.testing.identity_records import Record, ids, run
from consentry.warehouse import DuckDBWarehouse


@pytest.fixture
def warehouse() -> DuckDBWarehouse:
    return DuckDBWarehouse(threads=2)


def ann(record_id: str, *, trust: int = 1, day: int = 1, **columns: str | None) -> Record:
    instant = datetime(2026, 1, day, tzinfo=UTC)
    return Record(record_id, {"customer_number": "7"}, trust=trust, updated_at=instant, columns=columns)


def build(warehouse: DuckDBWarehouse, *records: Record, **rules: object) -> dict[str, object]:
    config = IdentityConfig.model_validate({"golden": rules})
    run(warehouse, records, config)
    assert golden(warehouse, config, run_id="run-1") == len(set(ids(warehouse).values()))
    return warehouse.sql("SELECT * FROM identity.golden ORDER BY person_id").to_pylist()[0]


def test_trust_beats_recency_and_recency_beats_completeness(warehouse: DuckDBWarehouse) -> None:
    trusted = ann("crm:3", trust=3, day=1, city="Bath")
    recent = ann("crm:2", day=9, city="Ely", given_name="Ann")
    full = ann("crm:1", day=5, city="York", given_name="Anne", family_name="Lee")
    row = build(warehouse, trusted, recent, full)
    assert (row["city"], row["given_name"], row["family_name"]) == ("Bath", "Ann", "Lee")


def test_the_job_sets_another_order_for_one_field(warehouse: DuckDBWarehouse) -> None:
    records = ann("crm:1", trust=3, city="Bath", given_name="A"), ann("shop:1", day=9, city="Ely", given_name="B")
    row = build(warehouse, *records, fields={"city": {"order": ["recency"]}})
    assert (row["city"], row["given_name"]) == ("Ely", "A")
    row = build(warehouse, *records, fields={"city": {"sources": ["shop"]}})
    assert (row["city"], row["given_name"]) == ("Ely", "A")


def test_a_tie_goes_to_the_lowest_record_whatever_the_order(warehouse: DuckDBWarehouse) -> None:
    one, two = ann("crm:1", city="Bath"), ann("crm:2", city="Ely")
    assert build(warehouse, one, two)["city"] == build(warehouse, two, one)["city"] == "Bath"


def test_every_value_names_the_record_it_came_from(warehouse: DuckDBWarehouse) -> None:
    row = build(warehouse, ann("crm:1", trust=3, city="Bath"), ann("shop:1", given_name="Ann"))
    sources = warehouse.sql("SELECT field, record_id, source FROM identity.golden_source ORDER BY field").to_pylist()
    assert [tuple(source.values()) for source in sources] == [
        ("city", "crm:1", "crm"),
        ("given_name", "shop:1", "shop"),
    ]
    assert set(row) == {"person_id", "email", "phone", "given_name", "family_name", "city"}


def test_identifiers_stand_in_canonical_form_or_not_at_all(warehouse: DuckDBWarehouse) -> None:
    good = Record("crm:1", {"email": " Ann@Example.COM", "phone": "07700 900123"}, region="GB")
    assert build(warehouse, good) | {"person_id": ""} == {
        "person_id": "", "email": "ann@example.com", "phone": "+447700900123",
        "given_name": None, "family_name": None, "city": None,
    }  # fmt: skip
    bad = Record("crm:1", {"email": "n/a", "phone": "07700 900123"})
    row = build(warehouse, bad)
    assert (row["email"], row["phone"]) == (None, None)


def test_a_valid_address_beats_junk_of_a_trusted_source(warehouse: DuckDBWarehouse) -> None:
    junk = Record("crm:1", {"email": "none", "customer_number": "7"}, trust=3)
    good = Record("shop:1", {"email": "ann@example.com", "customer_number": "7"})
    assert build(warehouse, junk, good)["email"] == "ann@example.com"


def test_people_known_from_events_have_a_row_of_nulls(warehouse: DuckDBWarehouse) -> None:
    row = build(warehouse, Record("web:1", {"anonymous_id": "abc"}))
    assert {value for name, value in row.items() if name != "person_id"} == {None}


def test_without_any_customer_there_are_people_only(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [Record("web:1", {"anonymous_id": "abc"})])
    warehouse.drop("clean.customer")
    assert golden(warehouse, IdentityConfig(), run_id="run-1") == 1


def test_it_says_when_resolve_has_not_run(warehouse: DuckDBWarehouse) -> None:
    with pytest.raises(StopRun, match="resolve has not run"):
        golden(warehouse, IdentityConfig(), run_id="run-1")


def test_a_rule_for_no_field_is_a_fault(warehouse: DuckDBWarehouse) -> None:
    with pytest.raises(ConfigError, match="did you mean 'city'"):
        build(warehouse, ann("crm:1"), fields={"citty": {"order": ["recency"]}})


def test_a_verified_value_beats_a_newer_one_of_the_same_trust(warehouse: DuckDBWarehouse) -> None:
    checked = ann("crm:1", day=1, city="Bath", given_name="true")
    newer = ann("crm:2", day=9, city="Ely", given_name="false")
    assert build(warehouse, checked, newer, fields={"city": {"verified": "given_name"}})["city"] == "Bath"
    assert build(warehouse, checked, newer)["city"] == "Ely"
    with pytest.raises(ConfigError, match=r"fields\.city\.verified: .* 'citi'; did you mean 'city'"):
        build(warehouse, checked, fields={"city": {"verified": "citi"}})


def test_what_a_steward_set_stays_with_the_record_and_is_marked_as_theirs(warehouse: DuckDBWarehouse) -> None:
    records = ann("crm:1", trust=3, city="Bath"), ann("shop:1", city="Ely")
    build(warehouse, *records)
    person = ids(warehouse)["crm:1"]
    override(warehouse, IdentityConfig(), person, "city", "Wells", by="Sam", why="a letter came back")
    for _ in range(2):
        assert build(warehouse, *records)["city"] == "Wells"
        [source] = warehouse.sql("SELECT record_id, source FROM identity.golden_source").to_pylist()
        assert tuple(source.values()) == ("crm:1", "steward")
    assert end_override(warehouse, person, "city") == 1
    assert build(warehouse, *records)["city"] == "Bath"
