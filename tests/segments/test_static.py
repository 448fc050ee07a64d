"""A static segment is decided once: who is in it stays in it, and nobody else enters."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consentry.errors import ConfigError
from consentry.segments.clock import Clock
from consentry.segments.memberships import memberships
from consentry.segments.person import Person
from consentry.segments.refresh import refresh
from consentry.warehouse import DuckDBWarehouse
from tests.segments.conftest import CATALOG, NOW, Decide, Populate, Write, members

STATIC = """\
segments:
  - {segment: spring, description: t, purpose: ads, rule: age >= 30, static: true}
  - {segment: both, description: t, purpose: ads, rule: in segment(spring) and age < 50}
"""
YOUNG, GROWN, OLD = Person({"age": 20}, ()), Person({"age": 40}, ()), Person({"age": 60}, ())


def test_static_or_dynamic_segments_who_meets_the_rule_later_does_not_enter_and_who_no_longer_does_stays(
    write: Write, populate: Populate, decide: Decide, warehouse: DuckDBWarehouse
) -> None:
    segments = write(STATIC)
    populate({"a": GROWN, "b": YOUNG})
    decide(segments)
    populate({"a": YOUNG, "b": GROWN, "c": GROWN})
    decide(segments, run_id="second")
    assert members(warehouse) == {"spring": {"a"}, "both": {"a"}}


def test_a_refresh_leaves_a_static_segment_as_it_is(
    write: Write, populate: Populate, decide: Decide, warehouse: DuckDBWarehouse
) -> None:
    segments = write(STATIC)
    populate({"a": GROWN, "b": YOUNG})
    decide(segments)
    populate({"a": OLD, "b": GROWN})
    later = NOW + timedelta(minutes=15)
    refresh(warehouse, segments, CATALOG, now=later, run_id="later", touched=["a", "b"])
    assert members(warehouse) == {"spring": {"a"}}


def test_who_leaves_the_profile_is_out_and_who_comes_back_is_in_again(
    write: Write, populate: Populate, decide: Decide, warehouse: DuckDBWarehouse
) -> None:
    segments = write(STATIC)
    for number, people in enumerate(({"a": GROWN, "b": OLD}, {"b": OLD}, {"a": YOUNG, "b": OLD})):
        populate(people)
        decide(segments, run_id=str(number))
        assert members(warehouse)["spring"] == set(people)


def test_another_rule_decides_the_segment_anew(
    write: Write, populate: Populate, decide: Decide, warehouse: DuckDBWarehouse
) -> None:
    populate({"a": GROWN, "b": YOUNG})
    decide(write(STATIC))
    decide(write(STATIC.replace("age >= 30", "age < 30")), run_id="second")
    assert members(warehouse)["spring"] == {"b"}


def test_in_process_a_person_is_in_the_static_segments_that_they_are_known_to_be_in(write: Write) -> None:
    segments, clock = write(STATIC), Clock(NOW, CATALOG.zone())
    assert memberships(segments, Person({"age": 20}, (), frozenset({"spring"})), clock) == {"spring", "both"}
    assert memberships(segments, GROWN, clock) == frozenset()


def test_a_static_segment_in_a_group_is_refused(write: Write) -> None:
    text = """\
groups: [{name: g}]
segments:
  - {segment: s, description: t, purpose: ads, rule: age > 1, static: true, group: {name: g, priority: 1}}
"""
    with pytest.raises(ConfigError, match="static segment cannot be in a group"):
        write(text)
