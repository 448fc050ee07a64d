"""The queue of a steward: what is in doubt, what speaks for and against, and that a decision empties it for good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.errors import ConfigError
from consentry.identity.bridges import pieces_without
from consentry.identity.config import IdentityConfig
from consentry.identity.decisions import Decisions, Kind, Seat
from consentry.identity.explain import explain
from consentry.identity.resolve import resolve
from consentry.identity.review import Case, Page, review
from consentry.testing.identity_records import Record, fill, groups, ids, run
from consentry.warehouse import DuckDBWarehouse

EMPTY = IdentityConfig()
ALIKE = IdentityConfig.model_validate({"similar": {"pair": 0.5, "cut": 0.2}})


def named(record_id: str, box: str, name: str) -> Record:
    return Record(record_id, {"email": f"{box}@example.com"}, columns={"given_name": name})


def queue(warehouse: DuckDBWarehouse, config: IdentityConfig = EMPTY, seats: Sequence[Seat] = ()) -> tuple[Case, ...]:
    return review(warehouse, config, seats=seats).cases


def likely(warehouse: DuckDBWarehouse, *pairs: tuple[str, str, float]) -> None:
    """Say how alike pairs are, in place of what the scores say."""
    warehouse.sql("CREATE OR REPLACE TABLE identity.similar_pair (record_id TEXT, other_id TEXT, probability DOUBLE)")
    for one, other, chance in pairs:
        warehouse.sql("INSERT INTO identity.similar_pair VALUES ($one, $other, $p)", one=one, other=other, p=chance)


def test_the_queue_holds_what_the_rules_cannot_be_sure_of(warehouse: DuckDBWarehouse) -> None:
    config = IdentityConfig.model_validate({"large_person": 3})
    crowd = [named(f"shop:{n}", "office", f"Zoe{n}") for n in range(9)]
    equal = [Record(f"crm:{n}", {"customer_number": "17001"}) for n in range(5)]
    names = {"crm:a": "Robert", "crm:b": "Mary"}
    pair = [Record(one, {"customer_number": "18001"}, columns={"given_name": name}) for one, name in names.items()]
    run(warehouse, [*crowd, *equal, *pair], config)
    found = queue(warehouse, config)
    assert [case.code for case in found] == ["large_person", "shared_value", "names_differ"]
    assert (found[2].people, found[2].records) == ((ids(warehouse)["crm:a"],), ("crm:a", "crm:b"))
    assert not any("office" in case.sentence for case in found)


def test_a_large_person_is_shown_with_its_weakest_bridge(warehouse: DuckDBWarehouse) -> None:
    config = IdentityConfig.model_validate({"large_person": 3})
    sides = [
        Record(f"crm:{n}", {"email": f"box{n // 2}@example.com", "anonymous_id": f"cookie{n // 2}"}) for n in range(4)
    ]
    bridge = [Record(f"web:{n}", {"anonymous_id": f"cookie{n}", "phone": "+447700900123"}) for n in range(2)]
    run(warehouse, [*sides, *bridge], config)
    [case] = queue(warehouse, config)
    assert case.weakest is not None
    assert (case.code, case.weakest.value, case.weakest.apart) == ("large_person", "+44***23", 2)
    assert case.next["one person"] == f"consentry identity merge JOB {case.people[0]} --by NAME --why REASON"


def test_a_value_between_people_who_contradict_each_other_is_in_the_queue(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [named("crm:a", "home", "Robert"), named("crm:b", "home", "Mary")])
    [case] = queue(warehouse)
    assert (case.code, set(case.people)) == ("contradictory_value", set(ids(warehouse).values()))
    name = next(one for one in case.evidence if one.name == "given_name")
    assert (name.level, name.one, name.other) == ("different", "ro***", "***")


def test_a_merge_that_is_not_heeded_is_in_the_queue(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [Record(f"crm:{n}", {"customer_number": f"1700{n}"}) for n in range(2)])
    [case] = queue(warehouse, seats=[Seat("d1", "merge", False, 0, f"crm:{n}") for n in range(2)])
    assert (case.code, case.size) == ("merge_unheeded", 2)
    assert case.next["take it back"] == "consentry identity revert JOB d1 --by NAME --why REASON"


@pytest.mark.parametrize(("chance", "shown"), [(0.19, False), (0.2, True), (0.45, True), (0.97, True)])
def test_two_people_are_in_the_queue_from_the_lower_threshold_on(
    warehouse: DuckDBWarehouse, chance: float, shown: bool
) -> None:
    run(warehouse, [named("crm:a", "a", "Robert"), named("crm:b", "b", "Rupert")])
    likely(warehouse, ("crm:a", "crm:b", chance))
    found = queue(warehouse, ALIKE)
    assert [case.code for case in found] == ["close_call"] * shown
    assert all(set(case.people) == set(ids(warehouse).values()) for case in found)


def test_two_people_with_customer_numbers_of_their_own_are_no_close_call(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [Record(f"crm:{n}", {"customer_number": f"1700{n}"}) for n in range(2)])
    likely(warehouse, ("crm:0", "crm:1", 0.45))
    assert queue(warehouse, ALIKE) == ()


def test_what_a_steward_joined_falls_apart_for_want_of_no_link(warehouse: DuckDBWarehouse) -> None:
    records = [Record(f"crm:{n}", {"email": "a@example.com"}) for n in range(3)]
    run(warehouse, records)
    person = ids(warehouse)["crm:0"]
    for decided, weakest in (((), "a***@e***.com"), ((("crm:0", "crm:1", "crm:2"),), None)):
        found = explain(warehouse, person, decided=decided)
        assert found is not None and (found.weakest.value if found.weakest else None) == weakest


def test_invisible_characters_make_no_other_name(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [named("crm:1", "a", "A\u0301n\u200bn\u202e"), named("crm:2", "a", "ÁNN")])
    assert queue(warehouse) == ()


def test_one_person_is_in_the_queue_while_only_a_doubtful_likeness_holds_it(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [named(f"crm:{n}", f"box{n}", "Robert") for n in range(3)], ALIKE)
    warehouse.sql("UPDATE identity.membership SET person_id = (SELECT min(person_id) FROM identity.membership)")
    likely(warehouse, ("crm:0", "crm:1", 0.6), ("crm:0", "crm:2", 0.9), ("crm:1", "crm:2", 0.55))
    [case] = queue(warehouse, ALIKE)
    assert (case.code, case.records, len(case.people)) == ("close_call", ("crm:0", "crm:1"), 1)
    assert case.next["two people"] == "consentry identity not-same JOB crm:0 crm:1 --by NAME --why REASON"
    likely(warehouse, ("crm:0", "crm:1", 0.6), ("crm:0", "crm:2", 0.9), ("crm:1", "crm:2", 0.85))
    assert queue(warehouse, ALIKE) == ()


def test_the_evidence_of_a_pair_is_told_field_by_field_and_masked(warehouse: DuckDBWarehouse) -> None:
    columns = {"given_name": "Robert", "family_name": "Pemberton", "city": "Bath"}
    other = columns | {"given_name": "Roberta", "city": None}
    records = [
        Record("crm:a", {"email": "robert@example.com", "tax": "X-1234567"}, columns=columns),
        Record("crm:b", {"email": "pemberton@example.com", "tax": "Y-7654321"}, columns=other),
    ]
    config = IdentityConfig.model_validate({"similar": {}, "identifiers": {"tax": {"unique": False}}})
    run(warehouse, records, config)
    likely(warehouse, ("crm:a", "crm:b", 0.45))
    [case] = [case for case in queue(warehouse, config) if case.code == "close_call"]
    told = {one.name: (one.level, one.one, one.other) for one in case.evidence}
    assert told == {
        "given_name": ("spelled almost alike", "ro***", "ro***"),
        "family_name": ("equal", "pe***", "pe***"),
        "email": ("different", "r***@e***.com", "p***@e***.com"),
        "city": ("missing", "***", None),
        "tax": ("different", "X-***", "Y-***"),
    }
    weights = {one.name: one.bits for one in case.evidence}
    assert weights["family_name"] is not None and weights["family_name"] > 0 > (weights["email"] or 0)
    assert (weights["city"], weights["tax"]) == (0.0, None)


def test_pages_go_on_where_the_last_ended_though_entries_have_gone(warehouse: DuckDBWarehouse) -> None:
    records = [named(f"crm:{n}", f"box{n // 2}", "Robert" if n % 2 else "Mary") for n in range(10)]
    run(warehouse, records)
    first = review(warehouse, EMPTY, limit=2)
    assert (len(first.cases), first.counts) == (2, {"contradictory_value": 5})
    gone = [Seat("d1", "not-same", False, n, record) for n, record in enumerate(first.cases[1].records)]
    rest = _pages(warehouse, first.next, gone)
    keys = [case.key for page in rest for case in page.cases]
    assert len(keys) == 3 and not {case.key for case in first.cases} & set(keys)
    assert review(warehouse, EMPTY, code="large_person").cases == ()


def _pages(warehouse: DuckDBWarehouse, after: str | None, seats: Sequence[Seat]) -> Iterator[Page]:
    while after:
        page = review(warehouse, EMPTY, seats=seats, after=after, limit=2)
        yield page
        after = page.next


def test_a_wrong_kind_or_place_is_a_sentence(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [named("crm:a", "a", "Robert")])
    with pytest.raises(ConfigError, match="did you mean 'close_call'"):
        review(warehouse, EMPTY, code="close_cal")
    for place in ("x", "close_call:x:y", "names:0.1:ab"):
        with pytest.raises(ConfigError, match="no place in the queue"):
            review(warehouse, EMPTY, after=place)


class Desk:
    """A steward at work: records come in, decisions are made, and the next run heeds them."""

    def __init__(self, warehouse: DuckDBWarehouse, decisions: Decisions) -> None:
        self.warehouse = warehouse
        self.decisions = decisions
        self.runs = 0

    def take(self, records: Sequence[Record], *pairs: tuple[str, str, float]) -> None:
        self.runs += 1
        fill(self.warehouse, records)
        resolve(self.warehouse, EMPTY, run_id=f"run-{self.runs}", decisions=self.decisions)
        likely(self.warehouse, *pairs)

    def say(self, kind: Kind, *sides: list[str]) -> None:
        self.decisions.decide(self.warehouse, kind, sides, by="Sam", why="asked")

    def codes(self) -> list[str]:
        seats = self.decisions.seats(self.warehouse, "identity.membership")
        return [case.code for case in queue(self.warehouse, ALIKE, seats)]


@pytest.fixture
def desk(warehouse: DuckDBWarehouse, decisions: Decisions) -> Desk:
    return Desk(warehouse, decisions)


@pytest.mark.parametrize("kind", ["merge", "not-same"])
def test_a_pair_that_was_decided_leaves_at_once_and_never_comes_back(desk: Desk, kind: Kind) -> None:
    records = [named("crm:a", "a", "Robert"), named("crm:b", "b", "Rupert")]
    pair = ("crm:a", "crm:b", 0.45)
    desk.take(records, pair)
    assert desk.codes() == ["close_call"]
    desk.say(kind, *([["crm:a", "crm:b"]] if kind == "merge" else [["crm:a"], ["crm:b"]]))
    # A merge stands there until a run has heeded it, as what it is.
    assert desk.codes() == (["merge_unheeded"] if kind == "merge" else [])
    desk.take(records, pair)
    assert desk.codes() == []
    # Somebody new belongs to one of them, and is as alike to the other.
    desk.take([*records, named("crm:c", "a", "Robert")], pair, ("crm:b", "crm:c", 0.4))
    assert (len(groups(desk.warehouse)), desk.codes()) == ((1, []) if kind == "merge" else (2, []))


def test_what_was_said_to_be_one_person_is_not_asked_again(desk: Desk) -> None:
    names = ("Robert", "Mary")
    records = [Record(f"crm:{name}", {"customer_number": "18001"}, columns={"given_name": name}) for name in names]
    desk.take(records)
    assert desk.codes() == ["names_differ"]
    desk.say("merge", [f"crm:{name}" for name in names])
    assert desk.codes() == []
    desk.take(records)
    assert desk.codes() == []


GRAPHS = st.dictionaries(st.integers(0, 6), st.lists(st.sampled_from("abcdefg"), min_size=1, unique=True), max_size=7)


@given(GRAPHS)
def test_the_pieces_without_a_value_are_those_that_are_found_by_taking_it_away(holders: dict[int, list[str]]) -> None:
    for value, pieces in pieces_without(holders).items():
        rest = {other: held for other, held in holders.items() if other != value}
        around = next(part for part in _parts(holders) if holders[value][0] in part)
        assert pieces == max(sum(part <= around for part in _parts(rest, around)), 1)


def _parts(holders: dict[int, list[str]], alone: frozenset[str] = frozenset()) -> set[frozenset[str]]:
    parts = {frozenset(record) for held in holders.values() for record in held} | {frozenset(r) for r in alone}
    for held in holders.values():
        met = {part for part in parts if part & set(held)}
        parts = (parts - met) | {frozenset().union(*met)}
    return parts
