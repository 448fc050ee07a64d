"""Publishing memberships: groups as invariants, changes, sizes, and what stops a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from consentry.errors import StopRun
from consentry.segments import membership
from consentry.segments.bits import Bits
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock
from consentry.segments.evaluate import Evaluated, evaluate
from consentry.segments.files import Segment
from consentry.segments.groups import assign
from consentry.segments.membership import make_tables, publish, rosters
from consentry.segments.memberships import memberships
from consentry.segments.parse import parse
from consentry.segments.person import Event, Person
from consentry.segments.refresh import refresh
from consentry.segments.segment import Place
from consentry.warehouse import DuckDBWarehouse
from tests.segments.conftest import rule_segments

Write = Callable[[str], tuple[Segment, ...]]
Decide = Callable[..., Evaluated]
Populate = Callable[[Mapping[str, Person]], None]
Published = Callable[[], dict[str, set[str]]]

LADDER = """\
groups: [{name: value, fallback: other_buyers}]
segments:
  - segment: high_value_recent
    description: Bought in the last 30 days and for 500 or more
    purpose: ads
    rule: last(purchase) within last 30 days and sum(purchase.value) >= 500
    group: {name: value, priority: 1}
  - segment: lapsed
    description: Did not buy for 30 days, and for less than 500
    purpose: ads
    rule: last(purchase) <= 30 days ago and sum(purchase.value) < 500
    group: {name: value, priority: 2}
  - {segment: other_buyers, description: Whoever the two leave over, purpose: ads}
"""


def ages(*values: int | None) -> dict[str, Person]:
    return {f"p{n}": Person({"age": age}) for n, age in enumerate(values)}


def one(name: str, rule: str, more: str = "") -> str:
    return f"segments:\n  - {{segment: {name}, description: test, purpose: ads, rule: {rule}{more}}}\n"


def test_if_else_if_the_quadrants_left_uncovered_go_to_the_fallback(
    write: Write, decide: Decide, populate: Populate, published: Published, now: datetime
) -> None:
    def bought(days: int, value: float) -> Person:
        return Person({}, [Event("purchase", now - timedelta(days=days), {"value": value})])

    populate(
        {"hr": bought(1, 500.0), "hl": bought(31, 500.0), "lr": bought(1, 1.0), "ll": bought(31, 1.0), "n": Person()}
    )
    found = decide(write(LADDER))
    assert published() == {"high_value_recent": {"hr"}, "lapsed": {"ll"}, "other_buyers": {"hl", "lr", "n"}}
    assert sum(found.members.values()) == found.population == 5


def test_priority_hierarchy_the_lowest_number_wins(
    write: Write, decide: Decide, populate: Populate, published: Published
) -> None:
    text = """\
groups: [{name: g}]
segments:
  - {segment: a, description: t, purpose: ads, rule: age > 10, group: {name: g, priority: 2}}
  - {segment: b, description: t, purpose: ads, rule: age > 20, group: {name: g, priority: 1}}
"""
    populate(ages(15, 25, 5))
    decide(write(text))
    assert published() == {"a": {"p0"}, "b": {"p1"}}


def test_priority_scoring_the_higher_score_wins_then_the_name(
    write: Write, decide: Decide, populate: Populate, published: Published
) -> None:
    text = """\
groups: [{name: g}]
segments:
  - {segment: a, description: t, purpose: ads, rule: age > 10, group: {name: g, priority: 1, score: income}}
  - {segment: b, description: t, purpose: ads, rule: age > 10, group: {name: g, priority: 1, score: age}}
"""
    incomes = {"less": 5.0, "more": 99.0, "same": 20.0, "unknown": None}
    populate({name: Person({"age": 20, "income": income}) for name, income in incomes.items()})
    decide(write(text))
    assert published() == {"a": {"more", "same"}, "b": {"less", "unknown"}}


def test_sub_rules_in_segment_means_the_final_members_after_the_group(
    write: Write, decide: Decide, populate: Populate, published: Published
) -> None:
    text = """\
groups: [{name: g, fallback: rest}]
segments:
  - {segment: a, description: t, purpose: ads, rule: age > 10, group: {name: g, priority: 1}}
  - {segment: b, description: t, purpose: ads, rule: age > 5, group: {name: g, priority: 2}}
  - {segment: rest, description: t, purpose: ads}
  - {segment: of_b, description: t, purpose: ads, rule: in segment(b)}
  - {segment: of_rest, description: t, purpose: ads, rule: in segment(rest) and not in segment(of_b)}
"""
    populate(ages(20, 7, 1, None))
    decide(write(text))
    assert published() == {"a": {"p0"}, "b": {"p1"}, "of_b": {"p1"}, "rest": {"p2", "p3"}, "of_rest": {"p2", "p3"}}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(
    st.integers(0, 40).flatmap(
        lambda size: st.lists(
            st.tuples(st.lists(st.booleans(), min_size=size, max_size=size), st.integers(1, 3)), min_size=1, max_size=6
        ).map(lambda rows: (size, rows))
    ),
    st.booleans(),
)
def test_mutual_exclusivity_nobody_has_two_places_and_nobody_loses_one(
    given_rows: tuple[int, list[tuple[list[bool], int]]], with_fallback: bool
) -> None:
    size, rows = given_rows
    rules = {f"s{n}": Bits.of(np.array(held, dtype=np.bool_)) for n, (held, _) in enumerate(rows)}
    segments = [
        Segment(f"s{n}", "t", "ads", parse("age > 1"), group=Place("g", priority))
        for n, (_, priority) in enumerate(rows)
    ]
    fallback = "rest" if with_fallback else None
    given_out = assign(
        "g", segments, rules, fallback=fallback, everyone=Bits.all(size), score=lambda value: np.zeros(size)
    )
    taken = [ordinal for bits in given_out.values() for ordinal in bits.ordinals().tolist()]
    union = {ordinal for bits in rules.values() for ordinal in bits.ordinals().tolist()}
    assert len(taken) == len(set(taken))
    assert set(taken) == (set(range(size)) if with_fallback else union)


def test_membership_changes_are_noted_and_who_stays_keeps_the_time_of_entry(
    write: Write, decide: Decide, populate: Populate, warehouse: DuckDBWarehouse, now: datetime
) -> None:
    segments = write(one("grown", "age >= 18"))
    populate(ages(20, 30, 10))
    first = decide(segments, run_id="r1")
    populate(ages(20, 17, 19))
    later = now + timedelta(days=1)
    second = decide(segments, at=later, run_id="r2")
    assert (first.entered, first.left) == ({"grown": 2}, {})
    assert (second.entered, second.left) == ({"grown": 1}, {"grown": 1})
    rows = warehouse.sql("SELECT person_id, entered_at FROM segment.membership ORDER BY 1").to_pylist()
    assert [(row["person_id"], row["entered_at"]) for row in rows] == [("p0", now), ("p2", later)]
    changes = warehouse.sql('SELECT run_id, person_id, change, "at" FROM segment.change ORDER BY 1, 2').to_pylist()
    assert [tuple(row.values()) for row in changes] == [
        ("r1", "p0", "enter", now),
        ("r1", "p1", "enter", now),
        ("r2", "p1", "exit", later),
        ("r2", "p2", "enter", later),
    ]


def test_lifecycle_stages_are_a_group_whose_moves_are_logged(
    write: Write, decide: Decide, populate: Populate, warehouse: DuckDBWarehouse, now: datetime
) -> None:
    def buys(*days: int) -> Person:
        return Person({}, [Event("purchase", now - timedelta(days=n), {"value": 300.0}) for n in days])

    segments = write(LADDER)
    populate({"p": buys(31), "q": buys(1, 2)})
    decide(segments, run_id="r1")
    populate({"p": buys(31, 1), "q": buys(1, 2)})
    decide(segments, at=now + timedelta(hours=1), run_id="r2")
    query = "SELECT person_id, from_segment, to_segment FROM segment.transition WHERE run_id = 'r2'"
    assert [tuple(row.values()) for row in warehouse.sql(query).to_pylist()] == [("p", "lapsed", "high_value_recent")]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sets(st.integers(0, 79), max_size=80), st.sampled_from([0, 1, 60])), max_size=7))
def test_people_who_come_go_and_come_again_have_the_time_of_their_last_entry(
    runs: list[tuple[set[int], int]],
) -> None:
    warehouse = DuckDBWarehouse(threads=1)
    make_tables(warehouse)
    warehouse.sql(
        "INSERT INTO segment.person_ordinal SELECT printf('00000000-0000-7000-8000-%012d', i), i FROM range(80) t(i)"
    )
    at, entered = datetime(2026, 1, 1, tzinfo=UTC), dict[str, datetime]()
    for n, (inside, gap) in enumerate(runs):
        at += timedelta(seconds=gap)
        ordinals = inside | ({*range(60)} if n % 3 == 1 else set())
        names = {f"00000000-0000-7000-8000-{ordinal:012d}" for ordinal in ordinals}
        entered = {name: entered.get(name, at) for name in names}
        with warehouse.transaction():
            publish(warehouse, {"s": BitMap(ordinals)}, now=at, run_id=f"r{n}")
        rows = warehouse.sql("SELECT person_id, entered_at FROM segment.membership").to_pylist()
        assert len(rows) == len(names)
        assert {row["person_id"]: row["entered_at"] for row in rows} == entered


SOME_OF_300 = st.sets(st.integers(0, 299), max_size=8).map(lambda few: {*range(100, 250)} ^ few)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.just(set[int]()) | SOME_OF_300), max_size=9))
def test_rosters_are_who_is_in_whether_they_were_written_anew_or_changes_came_after(
    runs: list[dict[str, set[int]]],
) -> None:
    warehouse = DuckDBWarehouse(threads=1)
    make_tables(warehouse)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(membership, "_MANY_SETS", 3)
        for n, members in enumerate(runs):
            with warehouse.transaction():
                publish(
                    warehouse,
                    {name: BitMap(people) for name, people in members.items()},
                    now=at + timedelta(minutes=n),
                    run_id=f"r{n}",
                )
            assert {name: set(people) for name, people in rosters(warehouse).items()} == members


def test_a_roster_is_not_written_anew_for_a_few_people() -> None:
    warehouse = DuckDBWarehouse(threads=1)
    make_tables(warehouse)
    kept = []
    for n in range(40):
        with warehouse.transaction():
            members = {"s": BitMap(range(1000 + n))}
            publish(warehouse, members, now=datetime(2026, 1, 1, n // 60, n % 60, tzinfo=UTC), run_id=f"r{n}")
        kept.append(warehouse.sql("SELECT upto FROM segment.roster")["upto"][0].as_py())
        assert rosters(warehouse) == members
    assert sorted(set(kept)) == [1, 34]  # the first, and the one that would have had more than 32 sets after it


def test_publishing_the_same_again_changes_nothing(
    write: Write, decide: Decide, populate: Populate, warehouse: DuckDBWarehouse
) -> None:
    populate(ages(20, 30, 10))
    segments = write(one("grown", "age >= 18"))
    decide(segments, run_id="r1")
    again = decide(segments, run_id="r2")
    assert (again.entered, again.left) == ({}, {})
    assert warehouse.count("segment.change") == 2


def test_a_segment_that_is_no_longer_defined_loses_its_members(
    write: Write, decide: Decide, populate: Populate, published: Published
) -> None:
    populate(ages(20))
    decide(write(one("old", "age >= 18")), run_id="r1")
    found = decide(write(one("new", "age >= 18")), run_id="r2")
    assert published() == {"new": {"p0"}}
    assert found.left == {"old": 1}


def test_nothing_is_published_when_the_last_step_fails(
    write: Write, decide: Decide, populate: Populate, published: Published, warehouse: DuckDBWarehouse
) -> None:
    populate(ages(20))
    segments = write(one("grown", "age >= 18"))
    decide(segments, run_id="r1")
    populate(ages(20, 30))
    # A table of changes with too few columns makes the step fail after the memberships were written.
    warehouse.sql("ALTER TABLE segment.change_set RENAME COLUMN run_id TO another")
    with pytest.raises(StopRun):
        decide(segments, run_id="r2")
    assert published() == {"grown": {"p0"}}


def test_minimum_size_a_segment_below_it_is_flagged_and_still_published(
    write: Write, decide: Decide, populate: Populate, published: Published
) -> None:
    populate(ages(20, 30, 10, 5))
    found = decide(write(one("grown", "age >= 18", ", min_share: 60%")))
    assert found.undersized == {"grown"}
    assert found.notes == ("The segment 'grown' has 2 members; its minimum is 3.",)
    assert published() == {"grown": {"p0", "p1"}}
    assert decide(write(one("grown", "age >= 18", ", min_size: 2"))).undersized == frozenset()


def test_15_minutes_are_many_times_what_a_hundredth_of_the_work_of_a_large_shop_may_take(
    tmp_path: Path, warehouse: DuckDBWarehouse, now: datetime
) -> None:
    catalog = Catalog({"age": "integer"}, {"buy": {"value": "number"}, "view": {}})
    rules = {f"s{n}": f"age >= {n} and count(buy, last {1 + n} days) > {n % 4}" for n in range(50)}
    rules |= {
        f"t{n}": f"sum(buy.value, last {30 + n} days) > {n} or count(view, last {1 + n} days) > 9" for n in range(50)
    }
    warehouse.sql("CREATE TABLE profile.person AS SELECT i::TEXT AS person_id, i % 80 AS age FROM range(20_000) t(i)")
    for name, more in (("buy", ", (i % 97)::DOUBLE AS value"), ("view", "")):
        at = f"TIMESTAMPTZ '{now.isoformat()}' - to_seconds((i * 7919) % 7_776_000)"
        columns = f"((i * 31) % 20_000)::TEXT AS person_id, {at} AS occurred_at{more}"
        warehouse.sql(f"CREATE TABLE profile.event__{name} AS SELECT {columns} FROM range(100_000) t(i) ORDER BY 1")
    segments = rule_segments(rules, tmp_path, catalog)
    begun = process_time()
    full = evaluate(warehouse, segments, catalog, now=now, run_id="full")
    evaluated = process_time()
    later = now + timedelta(minutes=15)
    found = refresh(warehouse, segments, catalog, now=later, run_id="later", touched=[str(n) for n in range(200)])
    refreshed = process_time()
    assert full.population == 20_000 and sum(full.members.values()) > 100_000
    assert found.members != full.members
    # A hundredth of 2,000,000 people and 20,000,000 events has a hundredth of 15 minutes.
    assert max(evaluated - begun, refreshed - evaluated) < 9


def test_an_empty_population_gives_empty_segments_and_a_note(write: Write, decide: Decide, populate: Populate) -> None:
    populate({})
    found = decide(write(LADDER))
    assert (found.population, set(found.members.values())) == (0, {0})
    assert "nobody" in found.notes[0]


def test_columns_of_missing_values_alone_give_no_members(
    write: Write, decide: Decide, populate: Populate, published: Published
) -> None:
    populate({"a": Person(), "b": Person()})
    rule = "age > 1 or income < percentile(50 of income) or country == 'DE' or seen within last 3 days or subscribed"
    found = decide(write(one("s", f'"{rule}"')))
    assert published() == {}
    assert found.thresholds == {"percentile(50 of income)": None}


def test_people_without_a_profile_have_no_events_that_count(
    write: Write, decide: Decide, populate: Populate, warehouse: DuckDBWarehouse, published: Published, now: datetime
) -> None:
    populate({"kept": Person(), "refused": Person({}, [Event("login", now)])})
    warehouse.sql("DELETE FROM profile.person WHERE person_id = 'refused'")
    decide(write(one("s", "count(login) >= 0")))
    assert published() == {"s": {"kept"}}


def test_a_person_twice_in_the_profile_stops_the_run(
    write: Write, decide: Decide, populate: Populate, warehouse: DuckDBWarehouse
) -> None:
    populate(ages(20))
    warehouse.sql("INSERT INTO profile.person SELECT * FROM profile.person")
    with pytest.raises(StopRun, match="2 rows for 1 persons"):
        decide(write(one("s", "age > 3")))


@pytest.mark.parametrize(
    ("lost", "sentence"),
    [
        ("DROP TABLE profile.person", "The table profile.person is not there"),
        ("DROP TABLE profile.event__login", "The table profile.event__login is not there"),
        ("ALTER TABLE profile.person DROP COLUMN age", "has no column age"),
    ],
)
def test_a_profile_that_lacks_something_stops_the_run(
    write: Write, decide: Decide, populate: Populate, warehouse: DuckDBWarehouse, lost: str, sentence: str
) -> None:
    populate(ages(20))
    warehouse.sql(lost)
    with pytest.raises(StopRun, match=sentence):
        decide(write(one("s", '"age > 3 and count(login) == 0"')))


def test_many_features_of_one_event_are_worked_out_in_pieces(
    write: Write, decide: Decide, populate: Populate, published: Published, now: datetime
) -> None:
    events = [Event("login", now - timedelta(days=day)) for day in range(100)]
    populate({"p": Person({}, events), "q": Person()})
    rule = " and ".join(f"count(login, last {days} days) == {days + 1}" for days in range(1, 90))
    decide(write(one("s", f'"{rule}"')))
    assert published() == {"s": {"p"}}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.none() | st.integers(0, 30), st.none() | st.integers(0, 30)), max_size=8))
def test_profile_lookup_gives_the_segments_that_the_batch_gives(
    write: Write, decide: Decide, populate: Populate, published: Published, now: datetime, values: list[tuple[int, int]]
) -> None:
    text = """\
groups: [{name: g, fallback: rest}]
segments:
  - {segment: a, description: t, purpose: ads, rule: age > 20, group: {name: g, priority: 1}}
  - {segment: b, description: t, purpose: ads, rule: age > 10, group: {name: g, priority: 2, score: income}}
  - {segment: c, description: t, purpose: ads, rule: income > 5, group: {name: g, priority: 2, score: age}}
  - {segment: rest, description: t, purpose: ads}
  - {segment: of_b, description: t, purpose: ads, rule: in segment(b) or not in segment(rest) and age < 25}
"""
    people = {f"p{n}": Person({"age": age, "income": income}) for n, (age, income) in enumerate(values)}
    segments = write(text)
    populate(people)
    decide(segments)
    batch = {(segment, name) for segment, names in published().items() for name in names}
    clock = Clock(now, ZoneInfo("UTC"))
    assert batch == {(found, name) for name, person in people.items() for found in memberships(segments, person, clock)}
