"""An incremental refresh, a full evaluation and the in-process judge give one answer, whatever happened in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock
from consentry.segments.edges import edges, next_change_us
from consentry.segments.evaluate import Evaluated, evaluate
from consentry.segments.memberships import memberships
from consentry.segments.parse import parse, parse_value
from consentry.segments.people import number_profile
from consentry.segments.person import Event, Judge, Person, Scores, instant
from consentry.segments.refresh import refresh
from consentry.segments.scores import Rfm, Term, Weighted
from consentry.segments.segment import Cycle, Place, Segment, steps
from consentry.segments.spell import spell, spell_value
from consentry.warehouse import DuckDBWarehouse
from tests.segments.conftest import rule_segments
from tests.segments.test_batch_equals_person import CATALOG as PLAIN
from tests.segments.test_batch_equals_person import DAY, NOWS, people, rules, store

CATALOG = replace(
    PLAIN,
    scores={
        "rfm": Rfm(parse_value("last(buy)"), parse_value("count(buy)"), parse_value("sum(buy.items)")),
        "score.engagement": Weighted(
            "engagement",
            (
                Term(parse_value("count(view, last 7 days)"), 0.4, "minmax"),
                Term(parse_value("last(login)"), 0.3, "minmax", is_time=True, lower_is_better=True),
                Term(parse_value("age"), 0.3, "zscore"),
            ),
            bands=(("low", -1.0), ("high", 0.4)),
        ),
        "score.points": Weighted(
            "points", (Term(parse_value("count(view)"), 1), Term(parse_value("count(buy, last 1 day)"), 10)), True
        ),
    },
)
COMPARED = [
    "rfm.r >= 4", "rfm.f == 1", "rfm.m > 2", "rfm.segment == 'champions'", "rfm.segment not in ('new', 'promising')",
    "score.engagement >= 0.5", "band.engagement == 'high'", "score.points >= 3", "score.points is missing",
    "income >= percentile(75 of income)", "count(view, last 1 day) > percentile(50 of count(view, last 1 day))",
    "age >= percentile(25 of age over count(buy) > 0)", "score.points > percentile(50 of score.points)",
]  # fmt: skip
GAPS = [timedelta(), timedelta(seconds=1), timedelta(minutes=10), timedelta(hours=3), timedelta(days=1), timedelta(30)]


@st.composite
def defined(draw: st.DrawFn) -> list[Segment]:
    made: list[Segment] = []
    for n in range(draw(st.integers(1, 5))):
        rule: ast.Rule = draw(rules(None) | st.sampled_from(COMPARED).map(parse))
        if made and draw(st.booleans()):
            rule = ast.And((ast.InSegment(draw(st.sampled_from(made)).name), ast.Not(rule)))
        place = draw(st.none() | st.integers(1, 2).map(lambda priority: Place("g", priority)))
        if place and draw(st.booleans()):
            place = replace(place, score=parse_value(draw(st.sampled_from(["score.points", "count(buy, last 1 day)"]))))
        made.append(Segment(f"s{n}", "test", "ads", rule, group=place))
    if any(segment.group for segment in made):
        made.append(Segment("rest", "test", "ads", None, fallback_of="g"))
    return made


def circular(made: Sequence[Segment]) -> bool:
    try:
        steps(made)
    except Cycle:
        return True
    return False


def published(warehouse: DuckDBWarehouse) -> set[tuple[str, str]]:
    rows = warehouse.sql("SELECT segment, person_id FROM segment.membership").to_pylist()
    return {(row["segment"], row["person_id"]) for row in rows}


def judged(made: Sequence[Segment], persons: Sequence[Person], now: datetime, found: Evaluated) -> set[tuple[str, str]]:
    known = {
        node: found.thresholds[spell_value(node)]
        for segment in made
        if segment.rule
        for node, _ in ast.walk(segment.rule)
        if isinstance(node, ast.Percentile)
    }
    clock, scores = Clock(now, CATALOG.zone()), Scores(CATALOG, found.figures)
    return {
        (name, f"p{n}") for n, person in enumerate(persons) for name in memberships(made, person, clock, known, scores)
    }


def clean(warehouse: DuckDBWarehouse) -> None:
    kept = ("roster", "cohort", "gone", "change_set", "people_set", "history", "evaluated", "person_ordinal", "due")
    for table in kept:
        warehouse.sql(f"DROP TABLE IF EXISTS segment.{table}")


STEPPED, WHOLE = DuckDBWarehouse(threads=1), DuckDBWarehouse(threads=1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(
    defined().filter(lambda made: not circular(made)),
    people,
    st.lists(st.tuples(people, st.sets(st.integers(0, 5)), st.sampled_from(GAPS)), min_size=1, max_size=3),
    st.sampled_from(NOWS),
    st.booleans(),
)
def test_real_time_and_refreshed_and_nightly_are_one_answer(
    made: list[Segment],
    persons: list[Person],
    happens: list[tuple[list[Person], set[int], timedelta]],
    now: datetime,
    numbered: bool,
) -> None:
    clean(STEPPED)
    clean(WHOLE)
    spelled = {segment.name: spell(segment.rule) if segment.rule else "" for segment in made}
    keep(STEPPED, persons, numbered=numbered)
    evaluate(STEPPED, made, CATALOG, now=now, run_id="r0")
    for n, (others, changed, gap) in enumerate(happens, 1):
        now += gap
        persons = after(persons, others, changed)
        keep(STEPPED, persons, numbered=numbered)
        store(WHOLE, persons)
        found = refresh(STEPPED, made, CATALOG, now=now, run_id=f"r{n}", touched=[f"p{m}" for m in changed])
        full = evaluate(WHOLE, made, CATALOG, now=now, run_id=f"r{n}")
        wrong = {(spelled[segment], person) for segment, person in published(STEPPED) ^ published(WHOLE)}
        assert not wrong
        assert published(STEPPED) == judged(made, persons, now, found)
        assert (found.members, found.thresholds) == (full.members, full.thresholds)


def keep(warehouse: DuckDBWarehouse, persons: list[Person], *, numbered: bool) -> None:
    store(warehouse, persons)
    if numbered:
        number_profile(warehouse)


def after(persons: list[Person], others: list[Person], changed: set[int]) -> list[Person]:
    """Put others in the place of those who change; some come or leave."""
    size = max(len(persons), len(others)) if 0 in changed else min(len(persons), len(others))
    return [others[n] if n < len(others) and (n in changed or n >= len(persons)) else persons[n] for n in range(size)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(rules(None), people, st.sampled_from(NOWS))
def test_nothing_changes_before_the_time_that_next_change_names(
    rule: ast.Rule, persons: list[Person], now: datetime
) -> None:
    found, zone = edges([rule], PLAIN), PLAIN.zone()
    for person in persons:
        clock = Clock(now, zone)
        due = next_change_us(person, clock, found)
        before = Judge(person, clock).holds(rule)
        last = now + timedelta(days=3 * 365) if due is None else instant(due) - timedelta(microseconds=1)
        between = [now + (last - now) * share for share in (0.25, 0.5, 0.99)] + [last]
        assert {Judge(person, Clock(at, zone)).holds(rule) for at in between if at > now} <= {before} or found.everyone


def test_triggers_an_abandoned_cart_enters_after_ten_minutes_with_no_new_event(
    tmp_path: Path, warehouse: DuckDBWarehouse, populate: Callable[[Mapping[str, Person]], None], catalog: Catalog,
    now: datetime,
) -> None:  # fmt: skip
    rule = "did(latest add_to_cart then no purchase within 10 minutes, last 1 days)"
    segments = rule_segments({"left": rule}, tmp_path)
    person = Person({}, [Event("add_to_cart", now)])
    populate({"p": person})
    assert evaluate(warehouse, segments, catalog, now=now, run_id="r0").members == {"left": 0}
    due = next_change_us(person, Clock(now, catalog.zone()), edges([parse(rule)], catalog))
    assert due is not None and instant(due) == now + timedelta(minutes=10)
    found = refresh(warehouse, segments, catalog, now=instant(due), run_id="r1")
    assert (found.members, found.entered) == ({"left": 1}, {"left": 1})
    gone = refresh(warehouse, segments, catalog, now=now + timedelta(days=1, seconds=1), run_id="r2")
    assert (gone.members, gone.left) == ({"left": 0}, {"left": 1})


@pytest.mark.parametrize(("seconds", "members"), [(7 * DAY, 1), (7 * DAY + 1, 0)])
def test_an_event_leaves_its_window_to_the_second(
    tmp_path: Path, warehouse: DuckDBWarehouse, populate: Callable[[Mapping[str, Person]], None], catalog: Catalog,
    now: datetime, seconds: int, members: int,
) -> None:  # fmt: skip
    segments = rule_segments({"s": "count(login, last 7 days) >= 1"}, tmp_path)
    populate({"p": Person({}, [Event("login", now)])})
    evaluate(warehouse, segments, catalog, now=now, run_id="r0")
    later = now + timedelta(seconds=seconds)
    assert refresh(warehouse, segments, catalog, now=later, run_id="r1").members == {"s": members}


def test_a_late_event_counts_once_its_person_is_named(
    tmp_path: Path, warehouse: DuckDBWarehouse, populate: Callable[[Mapping[str, Person]], None], catalog: Catalog,
    now: datetime,
) -> None:  # fmt: skip
    segments = rule_segments({"s": "count(login, last 7 days) >= 1"}, tmp_path)
    populate({"p": Person(), "q": Person()})
    evaluate(warehouse, segments, catalog, now=now, run_id="r0")
    populate({"p": Person({}, [Event("login", now - timedelta(days=6))]), "q": Person()})
    found = refresh(warehouse, segments, catalog, now=now + timedelta(minutes=15), run_id="r1", touched=["p"])
    assert found.entered == {"s": 1}


def test_changed_definitions_are_evaluated_for_everyone(
    tmp_path: Path, warehouse: DuckDBWarehouse, populate: Callable[[Mapping[str, Person]], None], catalog: Catalog,
    now: datetime,
) -> None:  # fmt: skip
    populate({"p": Person({"age": 20}), "q": Person({"age": 40})})
    evaluate(warehouse, rule_segments({"s": "age > 30"}, tmp_path), catalog, now=now, run_id="r0")
    again = rule_segments({"s": "age > 10"}, tmp_path)
    assert refresh(warehouse, again, catalog, now=now, run_id="r1").members == {"s": 2}


def test_what_scores_are_made_of_has_edges_too() -> None:
    found = edges([parse("score.engagement > 1")], CATALOG).found
    assert any(edge.seconds == 7 * DAY and edge.event == "view" for edge in found)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(rules(None), people, st.sampled_from(NOWS))
def test_the_timers_of_everyone_are_those_of_each(rule: ast.Rule, persons: list[Person], now: datetime) -> None:
    clean(WHOLE)
    store(WHOLE, persons)
    evaluate(WHOLE, [Segment("s", "test", "ads", rule)], PLAIN, now=now, run_id="r1")
    written = {
        row["person_id"]: row["due_at"] for row in WHOLE.sql("SELECT person_id, due_at FROM segment.timer").to_pylist()
    }
    found = edges([rule], PLAIN)
    due = {f"p{n}": next_change_us(person, Clock(now, PLAIN.zone()), found) for n, person in enumerate(persons)}
    assert written == {name: instant(at) for name, at in due.items() if at is not None}
