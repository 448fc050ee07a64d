"""What rules knew of people at earlier evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.config import Faults
from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock
from consentry.segments.describe import explain
from consentry.segments.earlier import EARLIER, earlier, forget_earlier, names_read, replace_people, replace_served
from consentry.segments.evaluate import Evaluated, evaluate, nodes_of
from consentry.segments.files import Segment
from consentry.segments.people import PERSONS, number_profile
from consentry.segments.person import Event, Person, Scores
from consentry.segments.score_files import read_scores
from consentry.segments.spell import spell_value
from consentry.warehouse import DuckDBWarehouse
from tests.segments.conftest import fill_events, members, rule_segments

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PEOPLE = [f"00000000-0000-7000-8000-{n:012d}" for n in range(3)]
NOBODY = "SELECT NULL::UUID AS person_id, NULL::TIMESTAMPTZ AS at"
PLAIN = Catalog(
    attributes={
        "age": "integer",
        "spend": "number",
        "country": "text",
        "subscribed": "boolean",
        "born": "date",
        "seen": "timestamp",
        "shoe": "integer",
    },
    events={"purchase": {"value": "number"}},
)
RULES = {
    "old": "age >= percentile(50 of age)",
    "rich": "spend > 10 or spend is missing",
    "near": "country in ('DE', 'AT')",
    "buyer": "subscribed and count(purchase, last 3 days) >= 1",
    "lavish": "sum(purchase.value) > spend",
    "grown": "born < 2000-01-01 or seen within last 1 days",
    "keen": "score.keen >= 0.5",
}
SCORES = "scores: [{score: keen, description: t, weights: [{value: age, weight: 1, scale: minmax}]}]"
Attributes = Mapping[str, Any]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    path = tmp_path_factory.mktemp("scores") / "scores.yaml"
    path.write_text(SCORES, encoding="utf-8")
    faults = Faults()
    found = read_scores(path, PLAIN, faults)
    faults.check()
    return found


@pytest.fixture(scope="module")
def rules(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> tuple[Segment, ...]:
    return rule_segments(RULES, tmp_path_factory.mktemp("rules"), catalog)


def noted(run: int) -> datetime:
    """Return the instant of the real clock at which a run's evaluation stands in the log."""
    return BEGIN + run * DAY + timedelta(minutes=1)


def publish(
    warehouse: DuckDBWarehouse,
    catalog: Catalog,
    people: Mapping[str, Attributes],
    names: frozenset[str],
    *,
    run: int = 0,
    keep: timedelta = 100 * DAY,
    unsettled: str = NOBODY,
) -> None:
    """Publish the profile of a run, one a day."""
    schema = {"integer": "BIGINT", "number": "DOUBLE", "text": "TEXT", "timestamp": "TIMESTAMPTZ"}
    columns = ", ".join(f"{name} {schema.get(kind, kind)}" for name, kind in catalog.attributes.items())
    warehouse.sql(f"CREATE OR REPLACE TABLE {PERSONS}_staged (person_id UUID, {columns})")
    for person, attributes in people.items():
        bound = {"person": person, **{name: attributes.get(name) for name in catalog.attributes}}
        listed = ", ".join(f"${name}" for name in bound)
        warehouse.sql(f"INSERT INTO {PERSONS}_staged VALUES ({listed})", **bound)
    replace_people(warehouse, f"{PERSONS}_staged", names, unsettled=unsettled, now=BEGIN + run * DAY, keep=keep)
    number_profile(warehouse)


def judged(
    segments: Sequence[Segment], catalog: Catalog, person: Person, at: datetime, found: Evaluated
) -> dict[str, bool]:
    """Judge each rule for one person by what an evaluation worked out of everybody."""
    holds = {}
    for segment in segments:
        assert segment.rule is not None
        thresholds = {node: found.thresholds.get(spell_value(node)) for node in percentiles(segment)}
        scores = Scores(catalog, found.figures)
        holds[segment.name] = explain(segment.rule, person, Clock(at, catalog.zone()), thresholds, scores).holds
    return holds


def percentiles(segment: Segment) -> list[ast.Percentile]:
    nodes = ast.walk(segment.rule) if segment.rule is not None else ()
    return [node for node, _ in nodes if isinstance(node, ast.Percentile)]


ATTRIBUTES = st.fixed_dictionaries(
    {
        "age": st.none() | st.integers(18, 22),
        "spend": st.none() | st.sampled_from([0.1, 10.0, 10.000000000000002, 1e300]),
        "country": st.sampled_from([None, "DE", "it's", ""]),
        "subscribed": st.none() | st.booleans(),
        "born": st.sampled_from([None, date(1999, 12, 31), date(2000, 1, 1)]),
        "seen": st.none() | st.integers(0, 5).map(lambda hours: BEGIN + timedelta(hours=hours, microseconds=1)),
        "shoe": st.integers(36, 40),
    }
)
BUYS = st.sampled_from([None, 0.1, 20.0])
RUNS = st.lists(
    st.fixed_dictionaries(dict.fromkeys(PEOPLE, st.tuples(st.none() | ATTRIBUTES, BUYS))), min_size=1, max_size=4
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RUNS)
def test_what_is_told_of_each_earlier_run_agrees_with_the_membership_published_then(
    rules: tuple[Segment, ...], catalog: Catalog, runs: list[dict[str, tuple[Attributes | None, float | None]]]
) -> None:
    warehouse, names = DuckDBWarehouse(threads=1), names_read(nodes_of(rules), catalog)
    events: dict[str, list[Event]] = {person: [] for person in PEOPLE}
    then: list[tuple[Evaluated, dict[str, set[str]]]] = []
    for n, people in enumerate(runs):
        at = BEGIN + n * DAY
        for person, (_, buys) in people.items():
            events[person] += [Event("purchase", at, {"value": buys})] if buys is not None else []
        present = {person: Person(events=events[person]) for person, (found, _) in people.items() if found}
        fill_events(warehouse, catalog, present)
        publish(warehouse, catalog, {p: found for p, (found, _) in people.items() if found}, names, run=n)
        then.append((evaluate(warehouse, rules, catalog, now=at, run_id=f"r{n}"), members(warehouse)))
    for person, (found, _) in runs[-1].items():
        for n, (evaluated, inside) in enumerate(then):
            known = earlier(warehouse, person, names, noted(n))
            # Whoever was not in the profile all the time since is not known.
            if not all(people[person][0] for people in runs[n:]):
                assert found is None or known.of_now == names
                continue
            assert (known.of_now, set(known.values) <= names) == (frozenset(), True)
            assert found is not None
            whole = Person({**found, **known.values}, events[person])
            published = {name: person in inside.get(name, ()) for name in RULES}
            assert judged(rules, catalog, whole, BEGIN + n * DAY, evaluated) == published


def of(warehouse: DuckDBWarehouse, number: int, run: int) -> tuple[dict[str, Any], set[str]]:
    """Return what is known of a person as of a run, and what is not."""
    found = earlier(warehouse, PEOPLE[number], {"age", "country"}, noted(run))
    return dict(found.values), set(found.of_now)


NAMES = frozenset({"age", "country"})


def everyone(age: int, country: str = "DE") -> dict[str, Attributes]:
    return {person: {"age": age, "country": country, "shoe": age} for person in PEOPLE}


def test_only_what_rules_read_is_kept_and_no_longer_than_stated(catalog: Catalog) -> None:
    warehouse = DuckDBWarehouse(threads=1)
    for n in range(4):
        publish(warehouse, catalog, everyone(20 + n), NAMES, run=n, keep=2 * DAY)
    assert set(warehouse.sql(f"SELECT DISTINCT name FROM {EARLIER}")["name"].to_pylist()) == {"age"}
    assert [of(warehouse, 0, n) for n in range(4)] == [
        ({}, NAMES),
        ({"age": 21}, set()),
        ({"age": 22}, set()),
        ({}, set()),
    ]
    assert earlier(warehouse, PEOPLE[0], NAMES, None).of_now == NAMES
    forget_earlier(warehouse)
    assert of(warehouse, 0, 2) == ({}, NAMES)


def test_of_an_attribute_that_is_new_or_has_another_type_nothing_from_before_is_known(catalog: Catalog) -> None:
    warehouse = DuckDBWarehouse(threads=1)
    publish(warehouse, catalog, everyone(20), frozenset({"age"}))
    publish(warehouse, catalog, everyone(21, "FR"), NAMES, run=1)
    assert of(warehouse, 0, 0) == ({"age": 20}, {"country"})
    other = Catalog({**catalog.attributes, "age": "text"}, catalog.events)
    publish(warehouse, other, everyone(22), NAMES, run=2)
    assert of(warehouse, 0, 1) == ({"country": "FR"}, {"age"})
    publish(warehouse, Catalog({"country": "text"}), everyone(22), NAMES, run=3)
    assert set(warehouse.sql(f"SELECT DISTINCT name FROM {EARLIER}")["name"].to_pylist()) == {"country"}


def test_who_is_no_longer_in_the_profile_keeps_nothing_and_begins_anew(catalog: Catalog) -> None:
    warehouse, without = DuckDBWarehouse(threads=1), {PEOPLE[1]: everyone(22)[PEOPLE[1]]}
    publish(warehouse, catalog, everyone(20), NAMES)
    publish(warehouse, catalog, everyone(21), NAMES, run=1)
    publish(warehouse, catalog, without, NAMES, run=2)
    assert set(warehouse.sql(f"SELECT person_id FROM {EARLIER}")["person_id"].to_pylist()) == {PEOPLE[1]}
    publish(warehouse, catalog, everyone(23), NAMES, run=3)
    publish(warehouse, catalog, everyone(24), NAMES, run=4)
    assert [of(warehouse, 0, n) for n in (0, 2, 3)] == [({}, NAMES), ({}, NAMES), ({"age": 23}, set())]
    assert [of(warehouse, 1, n) for n in (0, 2, 3)] == [({"age": age}, set()) for age in (20, 22, 23)]


def test_of_whom_records_were_taken_nothing_from_before_is_kept(catalog: Catalog) -> None:
    warehouse = DuckDBWarehouse(threads=1)
    taken = f"SELECT '{PEOPLE[0]}'::UUID AS person_id, '{BEGIN + 2 * DAY - timedelta(hours=1)}'::TIMESTAMPTZ AS at"
    for n in range(5):
        publish(warehouse, catalog, everyone(20 + n), NAMES, run=n, unsettled=taken if n >= 2 else NOBODY)
    assert [of(warehouse, 0, n) for n in range(4)] == [({}, NAMES)] * 2 + [({"age": 22}, set()), ({"age": 23}, set())]
    assert of(warehouse, 1, 0) == ({"age": 20}, set())


def test_what_a_model_said_of_somebody_is_kept_as_attributes_are(catalog: Catalog) -> None:
    warehouse, names = DuckDBWarehouse(threads=1), frozenset({"model.m"})
    for n, said in enumerate(({0: 0.1, 1: 0.2}, {0: 0.3, 2: 0.1 + 0.2}, {0: 0.3})):
        publish(warehouse, catalog, {person: {} for person in PEOPLE}, names, run=n)
        warehouse.sql("CREATE TABLE segment.model__m_staged (person_id TEXT, score DOUBLE)")
        for number, score in said.items():
            row = {"who": PEOPLE[number], "score": score}
            warehouse.sql("INSERT INTO segment.model__m_staged VALUES ($who, $score)", **row)
        with warehouse.transaction():
            columns = {"model.m": "score"}
            replace_served(warehouse, "segment.model__m", "segment.model__m_staged", columns, now=BEGIN + n * DAY)
    found = [[earlier(warehouse, person, names, noted(n)).values for person in PEOPLE] for n in range(3)]
    assert found[0] == [{"model.m": 0.1}, {"model.m": 0.2}, {"model.m": None}]
    assert found[1] == [{}, {}, {"model.m": 0.1 + 0.2}]
    assert found[2] == [{}, {}, {}]
    assert not any(earlier(warehouse, person, names, noted(n)).of_now for person in PEOPLE for n in range(3))
    publish(warehouse, catalog, {person: {} for person in PEOPLE}, NAMES, run=3)
    assert warehouse.count(EARLIER) == 0
