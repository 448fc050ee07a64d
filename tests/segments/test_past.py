"""Who was in which segment at an earlier instant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from consentry.segments import watch
from consentry.segments.catalog import Catalog
from consentry.segments.evaluate import STATED
from consentry.segments.files import Segment
from consentry.segments.membership import make_tables, publish
from consentry.segments.parse import parse
from consentry.segments.past import Standing, evaluation_at, is_numbered, standings
from consentry.segments.people import ORDINALS
from consentry.warehouse import DuckDBWarehouse

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("a", "b")
PEOPLE = [f"00000000-0000-7000-8000-{n:012d}" for n in range(3)]


def empty() -> DuckDBWarehouse:
    warehouse = DuckDBWarehouse(threads=1)
    watch.make_tables(warehouse)
    make_tables(warehouse)
    warehouse.sql(f"INSERT INTO {ORDINALS} SELECT unnest($people), unnest(range($n))", people=PEOPLE, n=len(PEOPLE))
    return warehouse


def evaluated(warehouse: DuckDBWarehouse, members: Mapping[str, set[int]], at: datetime, run_id: str) -> None:
    """Publish members as an evaluation does, and note it in the history."""
    segments = [Segment(name, "t", "ads", parse("age > 1")) for name in members]
    sizes = watch.Sizes({name: len(people) for name, people in members.items()}, len(PEOPLE))
    with warehouse.transaction():
        publish(warehouse, {name: BitMap(people) for name, people in members.items()}, now=at, run_id=run_id)
        watch.watch(warehouse, segments, Catalog({}), sizes, STATED, stale={}, now=at, run_id=run_id)


def inside(warehouse: DuckDBWarehouse, at: datetime) -> dict[str, set[int]]:
    """Return who was in which segment at an instant, of those that anybody was in."""
    found: dict[str, set[int]] = {}
    evaluation = evaluation_at(warehouse, at)
    assert evaluation is not None
    for n, person in enumerate(PEOPLE):
        for standing in standings(warehouse, person, evaluation).values():
            if standing.member:
                found.setdefault(standing.segment, set()).add(n)
    return found


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(NAMES), st.sets(st.integers(0, 2)), min_size=1),
            st.sampled_from([-90, 0, 1, 60]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_membership_at_the_instant_of_each_evaluation_is_what_was_published_then(
    runs: list[tuple[dict[str, set[int]], int]],
) -> None:
    warehouse, at, then = empty(), BEGIN, dict[datetime, dict[str, set[int]]]()
    for n, (members, gap) in enumerate(runs):
        at += timedelta(seconds=gap)
        evaluated(warehouse, members, at, f"r{n}")
        then[at] = {name: people for name, people in members.items() if people}
    assert {instant: inside(warehouse, instant) for instant in then} == then
    # Until the next evaluation nothing changes.
    last = max(then)
    assert inside(warehouse, last + timedelta(days=1)) == then[last]


def test_who_came_left_and_came_again_stands_as_of_then_with_the_run_that_moved_them() -> None:
    warehouse = empty()
    days = [BEGIN + timedelta(days=n) for n in range(4)]
    for n, people in enumerate([{0}, {0, 1}, {1}, {0, 1}]):
        evaluated(warehouse, {"a": people}, days[n], f"r{n}")

    def stood(at: datetime) -> Standing | None:
        evaluation = evaluation_at(warehouse, at)
        assert evaluation is not None
        return standings(warehouse, PEOPLE[0], evaluation).get("a")

    noon = timedelta(hours=12)
    assert stood(days[1] + noon) == Standing("a", True, days[0], "r0")
    assert stood(days[2] + noon) == Standing("a", False, days[2], "r2")
    assert stood(days[3]) == Standing("a", True, days[3], "r3")
    assert evaluation_at(warehouse, BEGIN - timedelta(microseconds=1)) is None
    assert (is_numbered(warehouse, PEOPLE[2]), is_numbered(warehouse, "nobody")) == (True, False)


def test_an_evaluation_names_the_segments_of_then_and_a_segment_that_is_gone_is_remembered() -> None:
    warehouse = empty()
    evaluated(warehouse, {"a": {0}, "b": {1}}, BEGIN, "r0")
    evaluated(warehouse, {"b": {0, 1}}, BEGIN + timedelta(days=1), "r1")
    first, second = (evaluation_at(warehouse, BEGIN + timedelta(days=n)) for n in range(2))
    assert first and second and (first.segments, second.segments) == ({"a", "b"}, {"b"})
    assert standings(warehouse, PEOPLE[0], first)["a"].member
    assert not standings(warehouse, PEOPLE[0], second)["a"].member
