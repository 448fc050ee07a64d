"""What stewards decide holds in every later run, and never quietly against anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.errors import ConfigError
from consentry.identity.config import IdentityConfig
from consentry.identity.decisions import Decisions, Kind
from consentry.identity.resolve import resolve
from consentry.store import Store
from consentry.testing.identity_records import Record, fill, groups, ids, together
from consentry.warehouse import DuckDBWarehouse

KEY = bytes(range(32))


class Said(TypedDict):
    by: str
    why: str


SAID: Said = {"by": "Sam", "why": "the customer called"}


def run(
    warehouse: DuckDBWarehouse, decisions: Decisions, records: list[Record], run_id: str = "run-1"
) -> set[frozenset[str]]:
    fill(warehouse, records)
    resolve(warehouse, IdentityConfig(), run_id=run_id, decisions=decisions)
    return groups(warehouse)


def mail(record_id: str, box: str, **columns: str) -> Record:
    return Record(record_id, {"email": f"{box}@example.com"}, columns=columns)


APART = [mail("crm:1", "a"), mail("crm:2", "b"), mail("crm:3", "c")]
SHARED = [mail("crm:1", "a"), mail("crm:2", "a"), mail("crm:3", "a")]


def test_a_merge_makes_one_person_of_two_and_holds_in_later_runs(
    warehouse: DuckDBWarehouse, decisions: Decisions
) -> None:
    run(warehouse, decisions, APART)
    decisions.decide(warehouse, "merge", [["crm:1", "crm:2"]], **SAID)
    for number in (2, 3):
        found = run(warehouse, decisions, APART, f"run-{number}")
        assert found == {frozenset({"crm:1", "crm:2"}), frozenset({"crm:3"})}


def test_a_person_that_was_split_stays_split_when_the_same_records_come_again(
    warehouse: DuckDBWarehouse, decisions: Decisions
) -> None:
    assert len(run(warehouse, decisions, SHARED)) == 1
    decisions.decide(warehouse, "split", [["crm:2"], ["crm:1", "crm:3"]], **SAID)
    for number in (2, 3):
        assert not together(warehouse, "crm:1", "crm:2") or number == 2
        run(warehouse, decisions, SHARED, f"run-{number}")
        assert not together(warehouse, "crm:1", "crm:2")
        assert not together(warehouse, "crm:3", "crm:2")


def test_a_split_holds_against_a_shared_unique_identifier(warehouse: DuckDBWarehouse, decisions: Decisions) -> None:
    records = [Record(f"crm:{n}", {"customer_number": "17"}) for n in (1, 2)]
    run(warehouse, decisions, records)
    decisions.decide(warehouse, "not-same", [["crm:1"], ["crm:2"]], **SAID)
    assert len(run(warehouse, decisions, records, "run-2")) == 2


def test_a_merge_that_is_taken_back_comes_apart_again(warehouse: DuckDBWarehouse, decisions: Decisions) -> None:
    run(warehouse, decisions, APART)
    made = decisions.decide(warehouse, "merge", [["crm:1", "crm:2"]], **SAID)
    run(warehouse, decisions, APART, "run-2")
    decisions.revert(made.decision_id, by="Alex", why="it was the neighbour")
    assert len(run(warehouse, decisions, APART, "run-3")) == 3
    assert [one.kind for one in decisions.listed()] == ["merge", "reverted"]


def test_a_decision_that_is_heeded_or_taken_back_is_an_event(warehouse: DuckDBWarehouse, decisions: Decisions) -> None:
    run(warehouse, decisions, SHARED)
    made = decisions.decide(warehouse, "split", [["crm:2"], ["crm:1", "crm:3"]], **SAID)
    run(warehouse, decisions, SHARED, "run-2")
    decisions.revert(made.decision_id, **SAID)
    run(warehouse, decisions, SHARED, "run-3")
    query = "SELECT run_id, person_id, other_person_id, evidence FROM identity.identity_event WHERE kind = 'manual'"
    first, last = warehouse.sql(f"{query} ORDER BY event_id").to_pylist()
    assert (first["run_id"], last["run_id"]) == ("run-2", "run-3")
    assert first["other_person_id"] and last["other_person_id"] is None
    assert json.loads(last["evidence"]) == {"decision": made.decision_id, "kind": "split", "holds": False}


def test_a_merge_wins_over_names_that_differ(warehouse: DuckDBWarehouse, decisions: Decisions) -> None:
    records = [mail("crm:1", "a", given_name="Robert"), mail("crm:2", "a", given_name="Bob")]
    assert len(run(warehouse, decisions, records)) == 2
    decisions.decide(warehouse, "merge", [["crm:1", "crm:2"]], **SAID)
    assert len(run(warehouse, decisions, records, "run-2")) == 1


def test_a_merge_wins_over_unique_identifiers_only_when_it_is_forced(
    warehouse: DuckDBWarehouse, decisions: Decisions
) -> None:
    records = [Record(f"crm:{n}", {"customer_number": str(n)}) for n in (17, 18)]
    records += [Record("shop:1", {"customer_number": "17"}), Record("shop:2", {"customer_number": "18"})]
    run(warehouse, decisions, records)
    made = decisions.decide(warehouse, "merge", [["crm:17", "crm:18"]], **SAID)
    assert len(run(warehouse, decisions, records, "run-2")) == 2
    decisions.revert(made.decision_id, **SAID)
    decisions.decide(warehouse, "merge", [["crm:17", "crm:18"]], forced=True, **SAID)
    assert len(run(warehouse, decisions, records, "run-3")) == 1


def test_records_without_any_identifier_can_be_merged(warehouse: DuckDBWarehouse, decisions: Decisions) -> None:
    records = [Record("crm:1"), Record("crm:2"), mail("crm:3", "a")]
    run(warehouse, decisions, records)
    decisions.decide(warehouse, "merge", [["crm:1", "crm:2", "crm:3"]], **SAID)
    decisions.decide(warehouse, "merge", [["crm:1", "crm:3"]], **SAID)
    assert len(run(warehouse, decisions, records, "run-2")) == 1


@pytest.mark.parametrize(
    ("steps", "kind", "sides"),
    [
        ([("merge", [["crm:1", "crm:2"]])], "not-same", [["crm:1"], ["crm:2"]]),
        ([("merge", [["crm:1", "crm:2"]]), ("merge", [["crm:2", "crm:3"]])], "not-same", [["crm:3"], ["crm:1"]]),
        ([("not-same", [["crm:1"], ["crm:3"]]), ("merge", [["crm:1", "crm:2"]])], "merge", [["crm:2", "crm:3"]]),
        ([("split", [["crm:1"], ["crm:3"]])], "merge", [["crm:1", "crm:2", "crm:3"]]),
    ],
)
def test_a_decision_that_contradicts_others_over_any_number_of_steps_is_refused(
    warehouse: DuckDBWarehouse,
    decisions: Decisions,
    steps: list[tuple[Kind, list[list[str]]]],
    kind: Kind,
    sides: list[list[str]],
) -> None:
    run(warehouse, decisions, APART)
    for earlier, about in steps:
        decisions.decide(warehouse, earlier, about, **SAID)
    with pytest.raises(
        ConfigError, match=r"contradicts decision .* of Sam.* Take that back first: consentry"
    ) as caught:
        decisions.decide(warehouse, kind, sides, **SAID)
    assert caught.value.code == "decision_contradicted"
    assert len(decisions.listed()) == len(steps)


def test_a_decision_needs_a_name_and_a_reason(warehouse: DuckDBWarehouse, decisions: Decisions) -> None:
    with pytest.raises(ConfigError, match="--by NAME --why REASON"):
        decisions.decide(warehouse, "merge", [["crm:1", "crm:2"]], by="Sam", why=" ")
    with pytest.raises(ConfigError, match="no decision 'x' that holds"):
        decisions.revert("x", **SAID)


def test_decisions_hold_after_the_keys_were_rotated(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    store = Store.in_file(tmp_path / "control.db")
    run(warehouse, Decisions(store, [KEY]), APART)
    Decisions(store, [KEY]).decide(warehouse, "merge", [["crm:1", "crm:2"]], **SAID)
    rotated = Decisions(store, [bytes(range(1, 33)), KEY])
    rotated.decide(warehouse, "merge", [["crm:2", "crm:3"]], **SAID)
    assert len(run(warehouse, rotated, APART, "run-2")) == 1
    store.close()


def test_the_store_holds_no_record_id(warehouse: DuckDBWarehouse, decisions: Decisions, tmp_path: Path) -> None:
    records = [mail("crm:ann@example.com", "a"), mail("crm:bea@example.com", "b")]
    run(warehouse, decisions, records)
    decisions.decide(warehouse, "merge", [[record.record_id for record in records]], **SAID)
    assert len(run(warehouse, decisions, records, "run-2")) == 1
    assert not any(b"ann@example" in path.read_bytes() for path in tmp_path.iterdir())


LETTERS = st.sampled_from("abcd")
DECIDED = st.lists(st.tuples(st.booleans(), LETTERS, LETTERS), max_size=4)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(boxes=st.lists(st.sampled_from("xyz"), min_size=4, max_size=4), decided=DECIDED)
def test_no_person_ever_holds_two_records_that_a_steward_keeps_apart(
    boxes: list[str], decided: list[tuple[bool, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store.in_file(tmp_path_factory.mktemp("store") / "control.db")
    warehouse, decisions = DuckDBWarehouse(threads=1), Decisions(store, [KEY])
    records = [mail(f"crm:{letter}", box) for letter, box in zip("abcd", boxes, strict=True)]
    run(warehouse, decisions, records)
    kept: list[tuple[bool, str, str]] = []
    for merge, one, other in decided:
        first, second = f"crm:{one}", f"crm:{other}"
        if one == other:
            continue
        try:
            if merge:
                decisions.decide(warehouse, "merge", [[first, second]], **SAID)
            else:
                decisions.decide(warehouse, "not-same", [[first], [second]], **SAID)
        except ConfigError:
            continue
        kept.append((merge, first, second))
    run(warehouse, decisions, records, "run-2")
    person = ids(warehouse)
    assert all((person[one] == person[other]) == merge for merge, one, other in kept)
    store.close()
    warehouse.close()
