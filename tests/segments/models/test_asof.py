"""Features as of a cut-off: what happened later does not exist for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.segments.models.asof import Observed, observe, outcome, person_ids
from consentry.segments.models.coding import code, texts
from consentry.segments.models.definition import Definition
from consentry.segments.person import Event, Person
from consentry.warehouse import DuckDBWarehouse
from tests.segments.conftest import fill
from tests.segments.models.conftest import CHURN, NOW, SHOP, Read, customers, read_text

CUT = NOW - timedelta(days=60)
QUIET = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
LAWS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Definition:
    return read_text(CHURN, tmp_path_factory.mktemp("models"))[0]


def observed(people: dict[str, Person], model: Definition, at: datetime) -> dict[str, dict[str, object]]:
    warehouse = DuckDBWarehouse(threads=1)
    fill(warehouse, SHOP, people)
    found = observe(warehouse, SHOP, model, at=at)
    names = person_ids(warehouse, found.people)
    return {name: _values(found, n) for n, name in enumerate(names)}


def _values(found: Observed, n: int) -> dict[str, object]:
    values: dict[str, object] = {name: float(column[n]) for name, column in found.columns.items() if name != "country"}
    return {**values, "country": texts(found, "country")[n]}


def same(left: dict[str, dict[str, object]], right: dict[str, dict[str, object]]) -> bool:
    return repr(left) == repr(right)  # NaN is equal to itself here


@LAWS
@given(
    later=st.lists(st.tuples(st.integers(0, 8), st.floats(0.001, 90), st.sampled_from(["order", "view"])), max_size=9)
)
def test_leakage_nothing_that_happens_after_the_cut_off_changes_an_earlier_feature(
    model: Definition, later: list[tuple[int, float, str]]
) -> None:
    people = customers(9)
    then = {
        name: replace(person, events=[event for event in person.events if event.at <= CUT])
        for name, person in people.items()
    }
    now = dict(then)
    for n, days, event in later:
        name = f"p{n:04d}"
        happened = Event(event, CUT + timedelta(days=days), {"amount": 9.0} if event == "order" else {"page": "x"})
        now[name] = replace(now[name], events=[*now[name].events, happened])
    assert same(observed(then, model, CUT), observed(now, model, CUT))


def test_an_earlier_cut_off_gives_what_a_run_at_that_time_would_have_given(model: Definition) -> None:
    people = customers(30)
    for days in (0, 30, 90):
        at = NOW - timedelta(days=days)
        then = {
            name: replace(person, events=[event for event in person.events if event.at <= at])
            for name, person in people.items()
        }
        assert same(observed(people, model, at), observed(then, model, at))


def test_somebody_who_came_after_the_cut_off_is_not_learnt_from(model: Definition) -> None:
    people = {
        "old": Person(events=[Event("order", CUT - timedelta(days=1), {"amount": 5.0})]),
        "new": Person(events=[Event("order", CUT + timedelta(days=1), {"amount": 5.0})]),
    }
    assert set(observed(people, model, CUT)) == {"old"}


def test_an_event_at_the_cut_off_belongs_to_the_past_and_not_to_the_outcome(model: Definition) -> None:
    assert model.target is not None
    warehouse = DuckDBWarehouse(threads=1)
    before = Event("order", CUT - timedelta(days=9), {"amount": 5.0})
    times = {"at": 0, "after": 1, "last": 60 * 86_400, "too_late": 60 * 86_400 + 1}
    people = {
        name: Person(events=[before, Event("order", CUT + timedelta(seconds=seconds), {"amount": 5.0})])
        for name, seconds in times.items()
    }
    fill(warehouse, SHOP, people)
    found = observe(warehouse, SHOP, model, at=CUT)
    churned = outcome(warehouse, SHOP, model.target, found)
    assert dict(zip(person_ids(warehouse, found.people), churned.tolist(), strict=True)) == {
        "at": True,
        "after": False,
        "last": False,
        "too_late": True,
    }


def test_a_date_of_the_profile_that_lies_after_the_cut_off_is_missing(read: Read) -> None:
    (model,) = read(CHURN.replace("country: country", "seen: seen").replace("[country]", "[seen]"))
    order = [Event("order", CUT - timedelta(days=9), {"amount": 5.0})]
    people = {
        "known": Person({"seen": CUT - timedelta(days=10)}, order),
        "later": Person({"seen": CUT + timedelta(days=1)}, order),
    }
    warehouse = DuckDBWarehouse(threads=1)
    fill(warehouse, SHOP, people)
    found = observe(warehouse, SHOP, model, at=CUT)
    matrix = code(found).matrix(found)
    seen = dict(zip(person_ids(warehouse, found.people), matrix[:, code(found).names.index("seen")], strict=True))
    assert seen["known"] == 10.0
    assert np.isnan(seen["later"])


def test_words_become_a_column_each_and_unknown_ones_none(model: Definition, shop: DuckDBWarehouse) -> None:
    found = observe(shop, SHOP, model, at=NOW)
    coding = code(found)
    assert [name for name in coding.names if name.startswith("country")] == ["country=AT", "country=CH", "country=DE"]
    assert type(coding).read(coding.plain()) == coding
    places = [n for n, name in enumerate(coding.names) if name.startswith("country")]
    assert np.array_equal(coding.matrix(found)[:, places].sum(axis=1), np.ones(len(found)))
