"""Only what changed is looked at again, and nobody can tell from the result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.identity.changes import changes_since
from consentry.identity.config import IdentityConfig
from consentry.identity.decisions import Decisions
from consentry.identity.resolution import Resolution
from consentry.identity.resolve import resolve
from consentry.store import Store
from consentry.testing.identity_records import Record, Values, fill, groups, ids, run
from consentry.warehouse import DuckDBWarehouse

EMPTY = IdentityConfig()
ALIKE = IdentityConfig.model_validate({"similar": {}})
TIGHT = IdentityConfig.model_validate({"identifiers": {"email": {"max_persons_per_value": 2, "max_per_person": 2}}})


def mail(record_id: str, box: str, **columns: str) -> Record:
    return Record(record_id, {"email": f"{box}@example.com"}, columns=columns)


def test_only_records_that_hang_together_with_a_change_are_looked_at(warehouse: DuckDBWarehouse) -> None:
    records = [mail(f"crm:{n}", f"p{n // 2}") for n in range(40)]
    assert run(warehouse, records).looked_at == 40
    assert run(warehouse, records, run_id="run-2").looked_at == 0
    found = run(warehouse, [*records, mail("crm:new", "p3")], run_id="run-3")
    assert (found.looked_at, found.records, found.persons, found.merged_records) == (3, 41, 20, 41)
    assert found.events == {"absorbed": 1}


def test_a_record_that_leaves_is_looked_at_with_those_it_held_together(warehouse: DuckDBWarehouse) -> None:
    records = [mail(f"crm:{n}", f"p{n}") for n in range(10)]
    bridge = Record("crm:x", {"email": ["p1@example.com", "p2@example.com"]})
    run(warehouse, [*records, bridge])
    found = run(warehouse, records, run_id="run-2")
    assert (found.looked_at, found.persons, found.events) == (2, 10, {"split": 1})


def test_a_name_that_changes_is_looked_at(warehouse: DuckDBWarehouse) -> None:
    others = [mail(f"crm:{n}", f"p{n}") for n in range(10)]
    run(warehouse, [*others, mail("crm:a", "x", given_name="Robert"), mail("crm:b", "x", given_name="Robert")])
    changed = [*others, mail("crm:a", "x", given_name="Robert"), mail("crm:b", "x", given_name="Mary")]
    found = run(warehouse, changed, run_id="run-2")
    assert (found.looked_at, found.persons) == (2, 12)


def test_other_settings_look_at_everything(warehouse: DuckDBWarehouse) -> None:
    records = [mail(f"crm:{n}", "p") for n in range(4)]
    run(warehouse, records)
    assert run(warehouse, records, TIGHT, "run-2").looked_at == 4


def named(record_id: str, given: str, family: str, city: str = "Leeds") -> Record:
    return Record(record_id, columns={"given_name": given, "family_name": family, "city": city})


def strangers() -> list[Record]:
    """Names of which no two are alike."""
    letters = "abcdefghijkmnopqrstuvwxz"
    return [
        named(
            f"crm:s{n}",
            letters[n % 24] * 5 + letters[n // 24],
            letters[n // 24 + 9] * 6 + letters[n % 24],
            f"T{n % 40}",
        )
        for n in range(200)
    ]


TWO = [named("crm:1", "Annabel", "Leemore"), named("shop:1", "Anabel", "Leemore")]


def test_likeness_is_judged_among_all_and_only_those_it_changes_are_looked_at(warehouse: DuckDBWarehouse) -> None:
    assert run(warehouse, [*strangers(), TWO[0]], ALIKE).persons == 201
    found = run(warehouse, [*strangers(), *TWO], ALIKE, run_id="run-2")
    assert (found.looked_at, found.persons, found.events) == (2, 201, {"absorbed": 1})


def test_records_that_did_not_change_are_not_compared_again(warehouse: DuckDBWarehouse) -> None:
    records = [*strangers(), *TWO]
    assert run(warehouse, records, ALIKE).persons == 201
    # A group that a comparison would find again.
    warehouse.sql("DELETE FROM identity.similar_group")
    assert run(warehouse, records, ALIKE, run_id="run-2").persons == 202
    changed = [*records[:-1], named("shop:1", "Anabell", "Leemore")]
    assert run(warehouse, changed, ALIKE, run_id="run-3").persons == 201


def test_a_decision_makes_a_run_compare_again(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    store = Store.in_file(tmp_path / "control.db")
    decisions = Decisions(store, [bytes(32)])
    fill(warehouse, [*strangers(), *TWO])
    assert resolve(warehouse, ALIKE, run_id="run-1", decisions=decisions).persons == 201
    decisions.decide(warehouse, "not-same", [["crm:1"], ["shop:1"]], by="Sam", why="two people")
    assert resolve(warehouse, ALIKE, run_id="run-2", decisions=decisions).persons == 202
    store.close()


def test_alarms_of_what_was_not_looked_at_stay(warehouse: DuckDBWarehouse) -> None:
    crowd = [mail(f"crm:{n}", "office") for n in range(30)]
    others = [mail(f"shop:{n}", f"p{n}") for n in range(30)]
    first = run(warehouse, crowd + others)
    found = run(warehouse, [*crowd, *others, mail("shop:new", "p1")], run_id="run-2")
    assert found.looked_at == 2
    assert found.alarms == first.alarms
    assert found.events == {"absorbed": 1}


def test_a_decision_is_looked_at_in_the_next_run_and_not_after(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    store = Store.in_file(tmp_path / "control.db")
    decisions = Decisions(store, [bytes(32)])
    fill(warehouse, [mail(f"crm:{n}", f"p{n}") for n in range(20)])

    def again(run_id: str) -> Resolution:
        return resolve(warehouse, EMPTY, run_id=run_id, decisions=decisions)

    again("run-1")
    decisions.decide(warehouse, "merge", [["crm:1", "crm:2"]], by="Sam", why="one person")
    assert [again(f"run-{n}").looked_at for n in (2, 3)] == [2, 0]
    assert frozenset({"crm:1", "crm:2"}) in groups(warehouse)
    store.close()


def test_the_feed_goes_on_from_the_last_event_that_was_read(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "b")])
    first = changes_since(warehouse, None, limit=1)
    rest = changes_since(warehouse, first[-1]["event_id"])
    assert [event["kind"] for event in first + rest] == ["created", "created"]
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "a")], run_id="run-2")
    assert [event["kind"] for event in changes_since(warehouse, rest[-1]["event_id"])] == ["merged"]


State = tuple[dict[str, Values], str | None]
NAMES = st.sampled_from([None, "Ann", "Robert", "Mary"])
IDS = st.fixed_dictionaries(
    {},
    optional={
        "email": st.lists(st.sampled_from(["a@example.com", "b@example.com", "c@example.com"]), min_size=1, max_size=2),
        "customer_number": st.sampled_from(["11", "12", "13"]),
        "anonymous_id": st.sampled_from(["k1", "k2"]),
    },
)
RECORDS = st.dictionaries(st.sampled_from(["crm:1", "crm:2", "crm:3", "shop:1", "shop:2", "web:1", "web:2"]),
                          st.tuples(IDS, NAMES), min_size=1)  # fmt: skip


def built(state: Mapping[str, State]) -> list[Record]:
    return [
        Record(record, ids, columns={"given_name": name, "family_name": "Lee"}) for record, (ids, name) in state.items()
    ]


def demoted(warehouse: DuckDBWarehouse) -> set[tuple[object, ...]]:
    rows = warehouse.sql("SELECT type, value, reason, records, persons FROM identity.demoted").to_pylist()
    return {tuple(row.values()) for row in rows}


@settings(max_examples=5, deadline=None)
@given(states=st.lists(RECORDS, min_size=2, max_size=4), config=st.sampled_from([EMPTY, TIGHT]))
def test_any_history_of_changes_gives_what_one_run_over_the_last_state_gives(
    states: list[dict[str, State]], config: IdentityConfig
) -> None:
    compare(states, config)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=100, deadline=None)
@given(states=st.lists(RECORDS, min_size=2, max_size=4), config=st.sampled_from([EMPTY, TIGHT, ALIKE]))
def test_a_hundred_histories_of_changes_give_what_one_run_gives(
    states: list[dict[str, State]], config: IdentityConfig
) -> None:
    compare(states, config)


def compare(states: list[dict[str, State]], config: IdentityConfig) -> None:
    # Records that nobody changes, so that every run looks at a part only.
    rest = [mail(f"rest:{n}", f"p{n // 2}") for n in range(60)]
    grown, fresh = DuckDBWarehouse(threads=1), DuckDBWarehouse(threads=1)
    for number, state in enumerate(states[:-1]):
        run(grown, rest + built(state), config, run_id=f"run-{number}")
    found = run(grown, rest + built(states[-1]), config, run_id="run-last")
    whole = run(fresh, rest + built(states[-1]), config)
    assert groups(grown) == groups(fresh)
    assert demoted(grown) == demoted(fresh)
    assert (found.persons, found.records, found.merged_records) == (whole.persons, whole.records, whole.merged_records)
    active = "SELECT person_id FROM identity.person WHERE status = 'active'"
    assert set(grown.sql(active)["person_id"].to_pylist()) == set(ids(grown).values())
    for warehouse in (grown, fresh):
        warehouse.close()
