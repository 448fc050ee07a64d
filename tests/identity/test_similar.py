"""Records that share no identifier: who is recognised, who is kept apart, and what bad input does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.errors import ConfigError, StopRun
from consentry.identity.config import IdentityConfig
from consentry.identity.metrics import pairwise
from consentry.identity.model import load, people, save
from consentry.identity.resolution import headlines
from consentry.identity.similar import match
from consentry.identity.similar_config import SimilarRules
from consentry.testing.hard_customers import hard_customers, household_traps
from consentry.testing.identity_records import Record, groups, run, together
from consentry.testing.syllables import FAMILY, GIVEN
from consentry.warehouse import DuckDBWarehouse

STRANGERS = [(GIVEN[n * 7 % 900], FAMILY[n * 11 % 1_500]) for n in range(300)]
ALIKE = IdentityConfig.model_validate({"similar": {}})


@pytest.fixture(scope="module")
def warehouse() -> DuckDBWarehouse:
    return DuckDBWarehouse(threads=2)


@pytest.fixture(autouse=True)
def _fresh(warehouse: DuckDBWarehouse) -> None:
    for table in (*warehouse.tables("identity"), *warehouse.tables("clean")):
        warehouse.drop(table)


def crowd(count: int = 300) -> list[Record]:
    """Strangers, so that names have a frequency."""
    return [
        named(f"crm:s{n}", given, family, f"Town{n % 40}", email=f"s{n}@example.org")
        for n, (given, family) in enumerate(STRANGERS[:count])
    ]


def named(record_id: str, given: str | None, family: str | None, city: str | None = "Leeds", **ids: str) -> Record:
    return Record(record_id, ids, columns={"given_name": given, "family_name": family, "city": city})


def test_records_that_are_alike_become_one_person(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [*crowd(), named("crm:1", "Annabel", "Leemore"), named("shop:1", "Anabel", "Leemore")], ALIKE)
    assert together(warehouse, "crm:1", "shop:1")
    [pair] = warehouse.sql("SELECT * FROM identity.similar_pair WHERE record_id = 'crm:1'").to_pylist()
    assert pair["other_id"] == "shop:1"
    assert pair["probability"] > 0.5


def test_without_the_block_nobody_is_joined_by_likeness(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [*crowd(20), named("crm:1", "Annabel", "Leemore"), named("shop:1", "Annabel", "Leemore")])
    assert not together(warehouse, "crm:1", "shop:1")


def test_alike_records_with_different_unique_ids_stay_two(warehouse: DuckDBWarehouse) -> None:
    pair = [named(f"crm:{n}", "Annabel", "Leemore", customer_number=str(n)) for n in (1, 2)]
    run(warehouse, [*crowd(), *pair], ALIKE)
    assert not together(warehouse, "crm:1", "crm:2")


def test_sources_of_different_purposes_are_not_joined_by_likeness(warehouse: DuckDBWarehouse) -> None:
    config = IdentityConfig.model_validate(
        {"similar": {}, "linking": {"purposes": {"crm": ["service"], "shop": ["marketing"]}}}
    )
    run(warehouse, [*crowd(), named("crm:1", "Annabel", "Leemore"), named("shop:1", "Annabel", "Leemore")], config)
    assert not together(warehouse, "crm:1", "shop:1")


def test_two_records_of_a_duplicate_free_source_stay_two(warehouse: DuckDBWarehouse) -> None:
    config = IdentityConfig.model_validate({"similar": {"duplicate_free": ["crm"]}})
    pair = [named(f"crm:{n}", "Annabel", "Leemore") for n in (1, 2)]
    run(warehouse, [*crowd(), *pair, named("shop:1", "Annabel", "Leemore")], config)
    assert not together(warehouse, "crm:1", "crm:2")


def test_running_again_on_the_same_records_changes_nothing(warehouse: DuckDBWarehouse) -> None:
    records = [*crowd(60), named("crm:1", "Annabel", "Leemore"), named("shop:1", "Anabel", "Leemore")]
    run(warehouse, records, ALIKE)
    assert run(warehouse, records, ALIKE, run_id="run-2").events == {}


_LAWS = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_LAWS
@given(st.integers(0, 1_000), st.randoms(use_true_random=False), st.lists(st.integers(0, 80), max_size=1))
def test_order_and_runs_do_not_matter_for_likeness(
    warehouse: DuckDBWarehouse, seed: int, random: object, cuts: list[int]
) -> None:
    names = ("given_name", "family_name", "city")
    records = [
        Record(row["record_id"], {"email": row["email"] or []}, columns={name: row[name] for name in names})
        for row in hard_customers(80, seed=seed).to_pylist()
    ]
    run(warehouse, records, ALIKE)
    at_once = groups(warehouse)
    for table in (*warehouse.tables("identity"), *warehouse.tables("clean")):
        warehouse.drop(table)
    random.shuffle(records)  # type: ignore[attr-defined]
    for n, cut in enumerate([*sorted(cuts), len(records)]):
        run(warehouse, records[:cut], ALIKE, run_id=f"run-{n}")
    assert groups(warehouse) == at_once


def test_hard_customers_are_told_apart_and_recognised() -> None:
    table = hard_customers(4_000, seed=5)
    labels = match(table)
    found = pairwise(labels, np.unique(np.array(table["person"].to_pylist()), return_inverse=True)[1])
    traps = household_traps(table)
    assert found.precision > 0.9
    assert found.recall > 0.85
    assert (labels[traps[:, 0]] == labels[traps[:, 1]]).mean() <= 0.005


def test_columns_are_found_by_name_or_by_mapping() -> None:
    rows = {
        "given_name": ["Annabel", "Annabel"],
        "family_name": ["Leemore", "Leemore"],
        "city": ["Leeds", "Leeds"],
    }
    given, family = zip(*STRANGERS, strict=True)
    filler = {"given_name": given, "family_name": family, "city": [f"Town{n % 40}" for n in range(300)]}
    table = pa.table({name: [*rows[name], *filler[name]] for name in rows})
    renamed = table.rename_columns(["first", "last", "town"])
    columns = {"given_name": "first", "family_name": "last", "city": "town"}
    assert match(table)[1] == 0
    assert match(renamed, columns).tolist() == match(table).tolist()


def test_a_full_name_is_taken_apart() -> None:
    names = ["Annabel Leemore", "ANNABEL  Leemore", *(f"{given} {family}" for given, family in STRANGERS)]
    assert match(pa.table({"full_name": names}))[:3].tolist() == [0, 0, 2]


def test_unicode_tricks_hide_nobody() -> None:
    tricks = [("Ann\u0301abel", "Leemore"), ("A\u200bnnábel", "LEEMORE"), ("\u202eAnnabel", "Leemore\u00ad")]
    rows = [*tricks, *STRANGERS]
    labels = match(pa.table({"given_name": [a for a, _ in rows], "family_name": [b for _, b in rows]}))
    assert labels[:3].tolist() == [0, 0, 0]


def test_ten_thousand_letters_are_compared_in_bounded_time() -> None:
    names = ["x" * 10_000 + str(n) for n in range(50)] + [f"Given{n}" for n in range(100)]
    assert len(match(pa.table({"given_name": names, "family_name": names}))) == 150


@pytest.mark.parametrize("size", [0, 1, 3_000])
def test_equal_records_without_anything_personal_are_not_one_person(size: int) -> None:
    labels = match(pa.table({"given_name": ["Ann"] * size, "family_name": ["Lee"] * size}))
    assert len(labels) == size


def test_a_column_of_one_value_leaves_its_block_out_and_says_so(warehouse: DuckDBWarehouse) -> None:
    records = [named(f"crm:{n}", f"Given{n}", "Same", "Leeds") for n in range(1_000)]
    found = run(warehouse, records, ALIKE)
    assert found.persons == 1_000
    blocks = warehouse.sql("SELECT * FROM identity.similar_block").to_pylist()
    assert {"rule": "family city", "keys": 1, "records": 1_000} in blocks
    assert any(alarm.code == "blocks_left_out" for alarm in found.alarms)
    assert any("too many to compare" in sentence for sentence in headlines(found.alarms))


def test_nothing_to_compare_is_said(warehouse: DuckDBWarehouse) -> None:
    with pytest.raises(StopRun, match="No column of the records says"):
        match(pa.table({"favourite_colour": ["red", "blue"]}))


def test_a_column_that_is_not_there_is_named(warehouse: DuckDBWarehouse) -> None:
    config = IdentityConfig.model_validate({"similar": {"columns": {"given_name": "givenname"}}})
    with pytest.raises(ConfigError, match=r"similar\.columns\.given_name.*did you mean"):
        run(warehouse, crowd(3), config)


def test_a_model_is_kept_as_splinks_settings(tmp_path: Path) -> None:
    model = people(["given_name", "family_name", "city"])
    model = model.with_u({c.name: [0.5 / len(c.told)] * len(c.told) for c in model.comparisons})
    save(model, tmp_path / "model.json")
    assert load(tmp_path / "model.json").comparisons == model.comparisons
    bare = tmp_path / "splink.json"
    bare.write_text(json.dumps(json.loads((tmp_path / "model.json").read_text())["settings"]))
    assert load(bare).comparisons == model.comparisons


@pytest.mark.parametrize("content", ["", "[]", '{"comparisons": [{}]}', '{"settings": 3}'])
def test_what_is_no_model_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="is not a model"):
        load(path)
    with pytest.raises(ConfigError, match="There is no model"):
        load(tmp_path / "nowhere.json")


def test_a_cut_above_the_threshold_of_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="more easily than two groups"):
        SimilarRules(cut=0.6, pair=0.5)
