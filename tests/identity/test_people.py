"""Person ids that stay, the events that say what changed, and the ways to look a person up."""

from __future__ import annotations

import uuid
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.identity.aliases import resolve_alias
from consentry.identity.explain import explain
from consentry.identity.inherit import inherit
from consentry.testing.identity_records import Record, groups, ids, run, together
from consentry.warehouse import DuckDBWarehouse


@pytest.fixture
def warehouse() -> DuckDBWarehouse:
    return DuckDBWarehouse(threads=2)


def mail(record_id: str, *boxes: str) -> Record:
    return Record(record_id, {"email": [f"{box}@example.com" for box in boxes]})


def events(warehouse: DuckDBWarehouse, run_id: str) -> list[tuple[str, str, str | None]]:
    query = "SELECT kind, person_id, other_person_id FROM identity.identity_event WHERE run_id = $run ORDER BY event_id"
    return [tuple(row.values()) for row in warehouse.sql(query, run=run_id).to_pylist()]


def status(warehouse: DuckDBWarehouse, person: str) -> tuple[str, str | None]:
    query = "SELECT status, merged_into FROM identity.person WHERE person_id = $person"
    [row] = warehouse.sql(query, person=person).to_pylist()
    return row["status"], row["merged_into"]


def test_person_ids_are_uuids_of_version_7(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "b")])
    assert {uuid.UUID(person).version for person in ids(warehouse).values()} == {7}


def test_a_new_record_joins_under_the_old_id(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [mail("crm:5", "a")])
    [old] = ids(warehouse).values()
    run(warehouse, [mail("crm:5", "a"), mail("crm:1", "a")], run_id="run-2")
    assert set(ids(warehouse).values()) == {old}
    assert events(warehouse, "run-2") == [("absorbed", old, None)]


def test_two_people_who_turn_out_to_be_one_keep_the_id_of_the_larger(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "b"), mail("crm:3", "b")])
    before = ids(warehouse)
    run(warehouse, [mail("crm:1", "a", "b"), mail("crm:2", "b"), mail("crm:3", "b")], run_id="run-2")
    assert set(ids(warehouse).values()) == {before["crm:2"]}
    assert events(warehouse, "run-2") == [("merged", before["crm:1"], before["crm:2"])]
    assert status(warehouse, before["crm:1"]) == ("merged", before["crm:2"])
    assert resolve_alias(warehouse, before["crm:1"]) == before["crm:2"]


def test_of_two_equally_large_the_older_id_stays(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [mail("crm:9", "z")])
    run(warehouse, [mail("crm:9", "z"), mail("crm:1", "a")], run_id="run-2")
    before = ids(warehouse)
    run(warehouse, [mail("crm:9", "z", "a"), mail("crm:1", "a")], run_id="run-3")
    assert set(ids(warehouse).values()) == {before["crm:9"]}


def test_a_person_who_turns_out_to_be_two_is_split_and_the_larger_part_keeps_the_id(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [mail("crm:1", "a", "b"), mail("crm:2", "b"), mail("crm:3", "b")])
    [old] = set(ids(warehouse).values())
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "b"), mail("crm:3", "b")], run_id="run-2")
    after = ids(warehouse)
    assert after["crm:2"] == after["crm:3"] == old
    assert events(warehouse, "run-2") == [("split", after["crm:1"], old)]


def test_a_record_that_changes_people_is_told(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "a"), mail("crm:3", "a"), mail("crm:4", "b")])
    before = ids(warehouse)
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "a"), mail("crm:3", "b"), mail("crm:4", "b")], run_id="run-2")
    assert events(warehouse, "run-2") == [("moved", before["crm:4"], before["crm:1"])]
    history = warehouse.sql("SELECT * FROM identity.membership WHERE record_id = 'crm:3' ORDER BY valid_from_run")
    assert [(row["valid_from_run"], row["valid_to_run"]) for row in history.to_pylist()] == [
        ("run-1", "run-2"),
        ("run-2", None),
    ]


def test_records_that_vanish_are_closed_and_find_their_person_again(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "b")])
    before = ids(warehouse)
    run(warehouse, [mail("crm:1", "a")], run_id="run-2")
    assert ids(warehouse) == {"crm:1": before["crm:1"]}
    assert events(warehouse, "run-2") == [("closed", before["crm:2"], None)]
    assert status(warehouse, before["crm:2"]) == ("closed", None)
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "b")], run_id="run-3")
    assert ids(warehouse) == before
    assert events(warehouse, "run-3") == [("reopened", before["crm:2"], None)]


def test_an_alias_leads_over_any_number_of_merges(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "b"), mail("crm:3", "c")])
    first = ids(warehouse)
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "b"), mail("crm:3", "c", "b")], run_id="run-2")
    run(warehouse, [mail("crm:1", "a", "b"), mail("crm:2", "b"), mail("crm:3", "c", "b")], run_id="run-3")
    [now] = set(ids(warehouse).values())
    assert {resolve_alias(warehouse, person) for person in first.values()} == {now}
    assert resolve_alias(warehouse, str(uuid.uuid4())) is None


def test_no_identifier_of_an_erased_person_is_followed(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [mail("crm:1", "a")])
    [person] = ids(warehouse).values()
    warehouse.sql("UPDATE identity.person SET status = 'erased'")
    assert resolve_alias(warehouse, person) is None


def test_a_restored_value_is_told(warehouse: DuckDBWarehouse) -> None:
    crowd = [Record(f"crm:{n}", {"email": "shop@example.com", "customer_number": str(n)}) for n in range(9)]
    run(warehouse, crowd)
    run(warehouse, crowd[:1], run_id="run-2")
    told = Counter(kind for kind, _, _ in events(warehouse, "run-2"))
    assert told == {"closed": 8, "restored": 1}
    assert warehouse.count("identity.demoted") == 0


def test_an_interrupted_run_leaves_nothing_behind(warehouse: DuckDBWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "b")])
    before, people = ids(warehouse), warehouse.count("identity.person")
    with monkeypatch.context() as patch:
        patch.setattr("consentry.identity.publish._publish_demoted", _fail)
        with pytest.raises(KeyboardInterrupt):
            run(warehouse, [mail("crm:1", "a"), mail("crm:2", "a"), mail("crm:3", "c")], run_id="run-2")
    assert (ids(warehouse), warehouse.count("identity.person")) == (before, people)
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "a"), mail("crm:3", "c")], run_id="run-2")
    assert groups(warehouse) == {frozenset({"crm:1", "crm:2"}), frozenset({"crm:3"})}


def _fail(*_: object) -> None:
    raise KeyboardInterrupt


_PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=40)


@given(_PAIRS)
def test_ids_pass_on_one_to_one_by_the_largest_overlap(pairs: list[tuple[int, int]]) -> None:
    cluster = np.array([c for c, _ in pairs], dtype=np.int64)
    person = np.array([p for _, p in pairs], dtype=np.int64)
    kept = inherit(cluster, person, 8, 8)
    expected, taken = {}, set()
    for (c, p), _ in sorted(Counter(pairs).items(), key=lambda item: (-item[1], item[0][1], item[0][0])):
        if c not in expected and p not in taken:
            expected[c] = p
            taken.add(p)
    assert {c: p for c, p in enumerate(kept.tolist()) if p >= 0} == expected


def test_an_explanation_names_the_links_and_masks_the_values(warehouse: DuckDBWarehouse) -> None:
    records = [
        Record("crm:1", {"email": "ann.lee@example.com", "phone": "+447700900123"}),
        Record("crm:2", {"email": "ann.lee@example.com", "phone": ["+447700900123", "n/a"]}),
        Record("shop:1", {"phone": "+447700900123"}),
    ]
    run(warehouse, records)
    assert together(warehouse, "crm:1", "crm:2", "shop:1")
    [person] = set(ids(warehouse).values())
    found = explain(warehouse, person)
    assert found is not None
    assert found.records == ("crm:1", "crm:2", "shop:1")
    assert [(link.type, link.value, link.apart) for link in found.links] == [
        ("phone", "+44***23", 2),
        ("email", "a***@e***.com", 1),
    ]
    assert found.weakest == found.links[0]
    assert found.unused == (("phone", "placeholder", 1),)
    assert [event.kind for event in found.events] == ["created"]
    assert "ann.lee" not in repr(found) and "900123" not in repr(found)


def test_an_old_id_explains_the_person_it_went_into(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "b"), mail("crm:3", "b")])
    before = ids(warehouse)
    run(warehouse, [mail("crm:1", "b"), mail("crm:2", "b"), mail("crm:3", "b")], run_id="run-2")
    found = explain(warehouse, before["crm:1"])
    assert found is not None
    assert (found.asked, found.person_id) == (before["crm:1"], before["crm:2"])
    assert [event.kind for event in found.events] == ["created", "created", "merged"]
    assert explain(warehouse, "nobody") is None


@pytest.mark.slow
def test_a_tenth_more_records_changes_few_ids_and_every_change_has_an_event(warehouse: DuckDBWarehouse) -> None:
    rng = np.random.default_rng(7)
    people = rng.zipf(2.5, 8_000).clip(max=12)
    records = [
        Record(
            f"crm:{n:06d}",
            {"email": [f"p{person}v{rng.integers(3)}@example.com"], "phone": [f"+1202555{person % 10_000:04d}"]},
        )
        for n, person in enumerate(rng.permutation(np.repeat(np.arange(8_000), people)).tolist())
    ]
    known = [record for record in records if rng.random() < 0.9]
    run(warehouse, known)
    before = ids(warehouse)
    run(warehouse, records, run_id="run-2")
    after = ids(warehouse)
    changed = {record for record in before if before[record] != after[record]}
    assert len(changed) <= 0.0075 * len(before)
    told = {person for _, *pair in events(warehouse, "run-2") for person in pair}
    assert {before[record] for record in changed} | {after[record] for record in changed} <= told
