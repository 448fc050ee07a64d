"""Erasure takes records and what is known of them; nobody else becomes one person because of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.identity.aliases import resolve_alias
from consentry.identity.config import IdentityConfig
from consentry.identity.decisions import Decisions
from consentry.identity.resolution import Resolution
from consentry.identity.resolve import resolve
from consentry.store import Store
from consentry.testing.hard_customers import hard_customers
from consentry.testing.identity_records import Record, fill, groups, ids, together
from consentry.warehouse import DuckDBWarehouse

CONFIG = IdentityConfig.model_validate({"identifiers": {"email": {"max_persons_per_value": 3}}})
OTHER = IdentityConfig.model_validate({"identifiers": {"email": {"max_persons_per_value": 3, "priority": 21}}})


def mail(record_id: str, *boxes: str, **columns: str) -> Record:
    return Record(record_id, {"email": [f"{box}@example.com" for box in boxes]}, columns=columns)


def run(
    warehouse: DuckDBWarehouse,
    decisions: Decisions,
    records: list[Record],
    run_id: str = "run-1",
    *,
    erase: set[str] | None = None,
    config: IdentityConfig = CONFIG,
) -> Resolution:
    fill(warehouse, [record for record in records if record.record_id not in (erase or ())])
    if erase is None:
        return resolve(warehouse, config, run_id=run_id, decisions=decisions)
    gone = pa.table({"record_id": pa.array(sorted(erase), pa.string())})
    warehouse.write("quarantine.suppressed", gone.to_batches(), schema=gone.schema)
    return resolve(warehouse, config, run_id=run_id, decisions=decisions, erased="quarantine.suppressed")


def test_nothing_of_an_erased_record_stays(warehouse: DuckDBWarehouse, decisions: Decisions) -> None:
    records = [mail("crm:1", "a"), mail("crm:2", "b"), mail("shop:2", "b")]
    run(warehouse, decisions, records)
    person = ids(warehouse)["crm:1"]
    found = run(warehouse, decisions, records, "run-2", erase={"crm:1"})
    assert found.events == {"erased": 1}
    assert resolve_alias(warehouse, person) is None
    status = "SELECT status FROM identity.person WHERE person_id = $person"
    assert warehouse.sql(status, person=person)["status"].to_pylist() == ["erased"]
    for table in warehouse.tables("identity"):
        content = str([batch.to_pylist() for batch in warehouse.read(table)])
        assert "crm:1" not in content and "a@example.com" not in content, table


def test_a_person_who_keeps_records_lives_on(warehouse: DuckDBWarehouse, decisions: Decisions) -> None:
    records = [mail("crm:2", "b"), mail("shop:2", "b"), mail("shop:3", "b")]
    run(warehouse, decisions, records)
    before = ids(warehouse)["shop:2"]
    found = run(warehouse, decisions, records, "run-2", erase={"crm:2"})
    assert found.events == {"erased": 1}
    assert set(ids(warehouse).values()) == {before}


def test_the_erasure_of_a_bridge_splits_whom_it_held_together(warehouse: DuckDBWarehouse, decisions: Decisions) -> None:
    records = [mail("crm:1", "a"), mail("crm:2", "a", "b"), mail("crm:3", "b")]
    run(warehouse, decisions, records)
    found = run(warehouse, decisions, records, "run-2", erase={"crm:2"})
    assert (found.persons, found.events) == (2, {"split": 1, "erased": 1})


def crowd(size: int) -> list[Record]:
    return [mail(f"crm:{n}", "office") for n in range(size)]


def test_an_erasure_that_makes_a_crowd_small_enough_merges_nobody_not_even_later(
    warehouse: DuckDBWarehouse, decisions: Decisions
) -> None:
    records = crowd(4)
    assert run(warehouse, decisions, records).persons == 4
    assert run(warehouse, decisions, records, "run-2", erase={"crm:3"}).persons == 3
    left = records[:3]
    assert run(warehouse, decisions, left, "run-3").events == {}
    # Other settings make a run look at everybody again.
    assert run(warehouse, decisions, left, "run-4", config=OTHER).persons == 3
    kept = decisions.holding()
    assert {one.kind for one in kept} == {"erasure"}
    for one in kept:
        decisions.revert(one.decision_id, by="Sam", why="they are one indeed")
    assert run(warehouse, decisions, left, "run-5").persons == 1


def test_a_record_that_merely_vanishes_forbids_nothing(warehouse: DuckDBWarehouse, decisions: Decisions) -> None:
    run(warehouse, decisions, crowd(4))
    assert run(warehouse, decisions, crowd(3), "run-2").persons == 1


def test_what_a_steward_merged_stays_merged(warehouse: DuckDBWarehouse, decisions: Decisions) -> None:
    records = crowd(4)
    run(warehouse, decisions, records)
    decisions.decide(warehouse, "merge", [["crm:0", "crm:1"]], by="Sam", why="one person")
    run(warehouse, decisions, records, "run-2", erase={"crm:3"})
    assert together(warehouse, "crm:0", "crm:1")
    assert not together(warehouse, "crm:0", "crm:2")


BOXES = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3)
RECORDS = st.lists(st.tuples(BOXES, st.sampled_from(["Ann", "Robert", "Mary"]), st.booleans()), min_size=3, max_size=9)


@settings(max_examples=4, deadline=None)
@given(rows=RECORDS)
def test_no_erasure_ever_brings_two_people_together(
    rows: list[tuple[list[str], str, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store.in_file(tmp_path_factory.mktemp("store") / "control.db")
    warehouse, decisions = DuckDBWarehouse(threads=1), Decisions(store, [bytes(32)])
    records = [mail(f"crm:{n}", *boxes, given_name=name) for n, (boxes, name, _) in enumerate(rows)]
    erase = {f"crm:{n}" for n, (*_, gone) in enumerate(rows) if gone}
    run(warehouse, decisions, records)
    before = ids(warehouse)
    run(warehouse, decisions, records, "run-2", erase=erase)
    left = [record for record in records if record.record_id not in erase]
    for number, config in ((3, CONFIG), (4, OTHER)):
        now = ids(warehouse)
        assert not erase & now.keys()
        assert all(before[a] == before[b] for a in now for b in now if now[a] == now[b])
        run(warehouse, decisions, left, f"run-{number}", config=config)
    store.close()
    warehouse.close()


def test_the_erasure_of_one_in_a_hundred_merges_nobody(warehouse: DuckDBWarehouse, decisions: Decisions) -> None:
    rng = np.random.default_rng(3)
    records = [
        mail(f"crm:{n}", f"box{rng.integers(700)}", given_name=str(rng.choice(["Ann", "Robert", "Mary", "Zoe"])))
        for n in range(3_000)
    ]
    run(warehouse, decisions, records)
    before = ids(warehouse)
    erase = set(rng.choice(sorted(before), 30, replace=False).tolist())
    found = run(warehouse, decisions, records, "run-2", erase=erase)
    origins = [{before[record] for record in group} for group in groups(warehouse)]
    assert all(len(origin) == 1 for origin in origins)
    assert "merged" not in found.events
    assert found.looked_at < 1_000


@pytest.mark.parametrize("seed", [1, 2])
def test_no_erasure_merges_those_who_are_merely_alike(
    warehouse: DuckDBWarehouse, decisions: Decisions, seed: int
) -> None:
    """With likeness every record weighs on all others: 17 clusters merged on historical 50k (measured)."""
    columns = ("given_name", "family_name", "city")
    people = hard_customers(1_200, seed=seed).select(columns).to_pylist()
    config = IdentityConfig.model_validate({"similar": {}})
    records = [Record(f"crm:{n}", columns=row) for n, row in enumerate(people)]
    run(warehouse, decisions, records, config=config)
    before = ids(warehouse)
    erase = set(np.random.default_rng(seed).choice(sorted(before), 120, replace=False).tolist())
    found = run(warehouse, decisions, records, "run-2", erase=erase, config=config)
    assert all(len({before[record] for record in group}) == 1 for group in groups(warehouse))
    assert "merged" not in found.events
    assert decisions.holding()  # Somebody would have merged.
