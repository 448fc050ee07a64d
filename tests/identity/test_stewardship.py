"""What a steward is shown: how a person came together, and what is in doubt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consentry.identity.config import IdentityConfig
from consentry.identity.decisions import Seat
from consentry.identity.review import review
from consentry.identity.waterfall import waterfall
from consentry.testing.identity_records import Record, ids, run
from consentry.warehouse import DuckDBWarehouse

EMPTY = IdentityConfig()


@pytest.fixture
def warehouse() -> Iterator[DuckDBWarehouse]:
    warehouse = DuckDBWarehouse(threads=2)
    yield warehouse
    warehouse.close()


def test_a_waterfall_tells_what_joined_whom_the_strongest_first_and_leaves_out_what_added_nothing(
    warehouse: DuckDBWarehouse,
) -> None:
    records = [
        Record("crm:1", {"email": "ann@example.com", "customer_number": "17001"}),
        Record("crm:2", {"email": "ann@example.com", "customer_number": "17001"}),
        Record("crm:3", {"email": "ann@example.com", "phone": "+442079460018"}),
        Record("crm:4", {"phone": "+442079460018"}),
    ]
    run(warehouse, records)
    steps = waterfall(warehouse, EMPTY, ids(warehouse)["crm:1"])
    assert [(step.kind, step.value, step.joined, step.left) for step in steps] == [
        ("customer_number", "17***", ("crm:1", "crm:2"), 3),
        ("email", "a***@e***.com", ("crm:1", "crm:3"), 2),
        ("phone", "+44***18", ("crm:1", "crm:4"), 1),
    ]


def test_a_step_says_for_what_its_records_may_be_linked(warehouse: DuckDBWarehouse) -> None:
    config = IdentityConfig.model_validate({"linking": {"purposes": {"crm": ["ads", "service"], "web": ["service"]}}})
    run(warehouse, [Record(f"{source}:1", {"email": "a@example.com"}) for source in ("crm", "web")], config)
    [step] = waterfall(warehouse, config, ids(warehouse)["crm:1"])
    assert step.purposes == ("service",)


def named(record_id: str, box: str, name: str) -> Record:
    return Record(record_id, {"email": f"{box}@example.com"}, columns={"given_name": name})


def test_the_queue_holds_what_the_rules_cannot_be_sure_of(warehouse: DuckDBWarehouse) -> None:
    config = IdentityConfig.model_validate({"large_person": 3})
    crowd = [named(f"shop:{n}", "office", f"Zoe{n}") for n in range(9)]
    equal = [Record(f"crm:{n}", {"customer_number": "17001"}) for n in range(5)]
    names = {"crm:a": "Robert", "crm:b": "Mary"}
    pair = [Record(one, {"customer_number": "18001"}, columns={"given_name": name}) for one, name in names.items()]
    run(warehouse, [*crowd, *equal, *pair], config)
    doubts = review(warehouse, config)
    assert [doubt.code for doubt in doubts] == ["large_person", "shared_value", "names_differ"]
    assert doubts[2].people == (ids(warehouse)["crm:a"],)
    assert not any("office" in doubt.sentence for doubt in doubts)


def test_a_value_between_people_who_contradict_each_other_is_in_the_queue(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [named("crm:a", "home", "Robert"), named("crm:b", "home", "Mary")])
    [doubt] = review(warehouse, EMPTY)
    assert (doubt.code, set(doubt.people)) == ("contradictory_value", set(ids(warehouse).values()))


def test_a_merge_that_is_not_heeded_is_in_the_queue(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [Record(f"crm:{n}", {"customer_number": f"1700{n}"}) for n in range(2)])
    seats = [Seat("d1", "merge", False, 0, f"crm:{n}") for n in range(2)]
    [doubt] = review(warehouse, EMPTY, seats=seats)
    assert (doubt.code, doubt.size) == ("merge_unheeded", 2)


def test_records_that_are_alike_by_a_hair_are_in_the_queue(warehouse: DuckDBWarehouse) -> None:
    config = IdentityConfig.model_validate({"similar": {"pair": 0.5, "cut": 0.2}})
    run(warehouse, [named("crm:a", "a", "Robert"), named("crm:b", "b", "Rupert")])
    warehouse.sql("CREATE OR REPLACE TABLE identity.similar_pair (record_id TEXT, other_id TEXT, probability DOUBLE)")
    warehouse.sql("INSERT INTO identity.similar_pair VALUES ('crm:a', 'crm:b', 0.45)")
    [doubt] = review(warehouse, config)
    assert (doubt.code, len(doubt.people)) == ("close_call", 2)
