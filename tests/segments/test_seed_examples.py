"""The example rules that the language was made for, each with members worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import pytest

from consentry.segments.catalog import Catalog
from consentry.segments.check import check
from consentry.segments.clock import Clock
from consentry.segments.memberships import memberships
from consentry.segments.parse import parse
from consentry.segments.person import Event, Person, Plain
from consentry.segments.refresh import refresh
from consentry.warehouse import DuckDBWarehouse
from tests.segments.conftest import CATALOG, Decide, Populate, Write, members

Who = Callable[..., set[str]]
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def person(now: datetime) -> Callable[..., Person]:
    """Make a person: attributes, and for each event how long ago it was (with properties if it has some)."""

    def make(
        attributes: Mapping[str, Plain] | None = None, **events: list[timedelta | tuple[timedelta, dict[str, Plain]]]
    ) -> Person:
        made = []
        for name, entries in events.items():
            for entry in entries:
                ago, properties = entry if isinstance(entry, tuple) else (entry, {})
                made.append(Event(name, now - ago, properties))
        return Person(attributes or {}, made)

    return make


Make = Callable[..., Person]


def test_the_example_rule_mobile_visitors_of_25_to_34_with_three_views_in_a_week(who: Who, person: Make) -> None:
    rule = "age between 25 and 34 and count(product_view, last 7 days) >= 3 and device == 'mobile'"
    three = [1 * DAY, 2 * DAY, 7 * DAY]
    people = {
        "ada": person({"age": 25, "device": "mobile"}, product_view=three),
        "ben": person({"age": 34, "device": "mobile"}, product_view=[*three, 8 * DAY]),
        "cyd": person({"age": 35, "device": "mobile"}, product_view=three),
        "dan": person({"age": 30, "device": "desktop"}, product_view=three),
        "eve": person({"age": 30, "device": "mobile"}, product_view=[1 * DAY, 2 * DAY, 8 * DAY]),
        "fay": person({"age": None, "device": "mobile"}, product_view=three),
    }
    assert who(rule, people) == {"ada", "ben"}


def test_triggers_a_cart_left_for_ten_minutes(who: Who, person: Make) -> None:
    rule = "did(latest add_to_cart then no purchase within 10 minutes, last 1 days)"
    people = {
        "left": person(add_to_cart=[11 * MINUTE]),
        "bought": person(add_to_cart=[11 * MINUTE], purchase=[5 * MINUTE]),
        "too_late": person(add_to_cart=[30 * MINUTE], purchase=[5 * MINUTE]),
        "still_there": person(add_to_cart=[9 * MINUTE]),
        "again": person(add_to_cart=[5 * HOUR, 2 * MINUTE]),
        "last_week": person(add_to_cart=[7 * DAY]),
    }
    assert who(rule, people) == {"left", "too_late"}


def test_triggers_more_than_five_minutes_on_the_pricing_page_in_a_day(who: Who, person: Make) -> None:
    rule = "sum(page_time.seconds where page == 'pricing', last 1 days) > 300"
    pricing = {"page": "pricing"}
    people = {
        "long": person(page_time=[(HOUR, pricing | {"seconds": 200.0}), (2 * HOUR, pricing | {"seconds": 100.5})]),
        "exact": person(page_time=[(HOUR, pricing | {"seconds": 300.0})]),
        "elsewhere": person(page_time=[(HOUR, {"page": "home", "seconds": 900.0})]),
        "before": person(page_time=[(25 * HOUR, pricing | {"seconds": 900.0})]),
    }
    assert who(rule, people) == {"long"}


def test_crossing_dimensions_high_income_frequent_buyers_on_mobile_in_the_evening(who: Who, person: Make) -> None:
    rule = (
        "income >= percentile(75 of income) and count(purchase, last 90 days) >= 4 and age between 35 and 44"
        " and count(page_view where device == 'mobile' and hour between 18 and 22, last 30 days) >= 1"
    )
    four = [DAY, 2 * DAY, 3 * DAY, 90 * DAY]
    evening = [(DAY, {"device": "mobile", "hour": 22})]
    people = {
        # The 75th percentile of 100, 80, 60, 40, 20 is 80.
        "in": person({"income": 100.0, "age": 35}, purchase=four, page_view=evening),
        "edge": person({"income": 80.0, "age": 44}, purchase=four, page_view=evening),
        "poorer": person({"income": 60.0, "age": 40}, purchase=four, page_view=evening),
        "rare": person({"income": 40.0, "age": 40}, purchase=four[:3], page_view=evening),
        "morning": person(
            {"income": 20.0, "age": 40}, purchase=four, page_view=[(DAY, {"device": "mobile", "hour": 9})]
        ),
    }
    assert who(rule, people) == {"in", "edge"}


def test_counts_in_a_window_more_than_three_product_views_in_a_week(who: Who, person: Make) -> None:
    people = {"four": person(product_view=[DAY] * 4), "three": person(product_view=[DAY] * 3)}
    assert who("count(product_view, last 7 days) > 3", people) == {"four"}


def test_and_or_not_in_between_and_thresholds_join_into_one_rule(who: Who, person: Make) -> None:
    rule = "(age between 18 and 30 or country in ('DE', 'AT')) and not income < 20 and device not in ('tv')"
    people = {
        "young": person({"age": 30, "country": "US", "income": 20.0, "device": "mobile"}),
        "german": person({"age": 31, "country": "DE", "income": 99.0, "device": "desktop"}),
        "neither": person({"age": 31, "country": "US", "income": 99.0, "device": "mobile"}),
        "poorer": person({"age": 18, "country": "AT", "income": 19.99, "device": "mobile"}),
        "at_the_tv": person({"age": 18, "country": "AT", "income": 99.0, "device": "tv"}),
    }
    assert who(rule, people) == {"young", "german"}
    assert who("count(login, last 7 days) >= 2 or income > 98", people | {"p": person(login=[DAY, DAY])}) == {
        "german", "neither", "at_the_tv", "p",
    }  # fmt: skip


def test_third_purchase_flips_the_stage_with_the_very_event(
    write: Write, populate: Populate, decide: Decide, warehouse: DuckDBWarehouse, person: Make, now: datetime
) -> None:
    segments = write("""\
groups: [{name: stage, fallback: visitor}]
segments:
  - segment: loyal
    description: Three purchases within 30 days
    purpose: ads
    rule: count(purchase, any 30 days) >= 3
    group: {name: stage, priority: 1}
  - {segment: buyer, description: t, purpose: ads, rule: count(purchase) >= 1, group: {name: stage, priority: 2}}
  - {segment: visitor, description: t, purpose: ads}
""")
    populate({"p": person(purchase=[29 * DAY, DAY])})
    decide(segments)
    assert members(warehouse) == {"buyer": {"p"}}
    populate({"p": person(purchase=[29 * DAY, DAY, timedelta(0)])})
    refresh(warehouse, segments, CATALOG, now=now, run_id="event", touched=["p"])
    assert members(warehouse) == {"loyal": {"p"}}
    moves = warehouse.sql("SELECT from_segment, to_segment FROM segment.transition WHERE run_id = 'event'").to_pylist()
    assert moves == [{"from_segment": "buyer", "to_segment": "loyal"}]


def test_dynamic_names_are_worked_out_anew_with_each_event(
    write: Write, populate: Populate, decide: Decide, warehouse: DuckDBWarehouse, person: Make, now: datetime
) -> None:
    segments = write("""\
segments:
  - {segment: browsing_active, description: t, purpose: ads, rule: "count(product_view, last 1 day) >= 2"}
  - {segment: ready_to_buy, description: t, purpose: ads, rule: "count(add_to_cart, last 1 day) > count(purchase)"}
""")
    view, cart, bought = {"product_view": [HOUR]}, {"add_to_cart": [HOUR]}, {"purchase": [MINUTE]}
    steps: list[tuple[dict[str, list[timedelta]], set[str]]] = [
        (view, set()),
        ({"product_view": [HOUR, MINUTE]}, {"browsing_active"}),
        ({"product_view": [HOUR, MINUTE], **cart}, {"browsing_active", "ready_to_buy"}),
        ({"product_view": [HOUR, MINUTE], **cart, **bought}, {"browsing_active"}),
    ]
    populate({"p": person()})
    decide(segments)
    for number, (events, names) in enumerate(steps):
        someone = person(**events)
        populate({"p": someone})
        refresh(warehouse, segments, CATALOG, now=now, run_id=f"event {number}", touched=["p"])
        assert set(members(warehouse)) == names
        assert memberships(segments, someone, Clock(now, CATALOG.zone())) == names


def test_third_purchase_within_30_days_makes_loyal_and_stays(who: Who, person: Make) -> None:
    people = {
        "loyal": person(purchase=[300 * DAY, 290 * DAY, 270 * DAY]),
        "slow": person(purchase=[300 * DAY, 280 * DAY, 269 * DAY]),
    }
    assert who("count(purchase, any 30 days) >= 3", people) == {"loyal"}


def test_browse_without_buying_shoes(who: Who, person: Make) -> None:
    rule = (
        "count(category_view where category == 'shoes', last 7 days) > 3"
        " and count(purchase where category == 'shoes', last 7 days) == 0"
    )
    shoes: dict[str, Plain] = {"category": "shoes"}
    looked = [(DAY, shoes)] * 4
    people = {
        "looks": person(category_view=looked),
        "hats": person(category_view=looked, purchase=[(DAY, {"category": "hats"})]),
        "bought": person(category_view=looked, purchase=[(DAY, shoes)]),
        "long_ago": person(category_view=looked, purchase=[(8 * DAY, shoes)]),
        "three": person(category_view=looked[:3]),
    }
    assert who(rule, people) == {"looks", "hats", "long_ago"}


def test_if_else_if_recent_and_lapsed_buyers_meet_at_exactly_30_days(who: Who, person: Make) -> None:
    recent = "last(purchase) within last 30 days and sum(purchase.value) >= 500"
    lapsed = "last(purchase) <= 30 days ago and sum(purchase.value) < 500"
    people = {
        "high_recent": person(purchase=[(29 * DAY, {"value": 250.0}), (99 * DAY, {"value": 250.0})]),
        "high_edge": person(purchase=[(30 * DAY, {"value": 500.0})]),
        "high_lapsed": person(purchase=[(31 * DAY, {"value": 500.0})]),
        "low_recent": person(purchase=[(29 * DAY, {"value": 499.99})]),
        "low_edge": person(purchase=[(30 * DAY, {"value": 1.0})]),
        "low_lapsed": person(purchase=[(31 * DAY, {"value": 1.0})]),
        "never": person(),
    }
    assert who(recent, people) == {"high_recent", "high_edge"}
    assert who(lapsed, people) == {"low_edge", "low_lapsed"}


def test_location_and_recency_american_buyers_of_the_last_30_days(who: Who, person: Make) -> None:
    people = {
        "us": person({"country": "US"}, purchase=[30 * DAY]),
        "late": person({"country": "US"}, purchase=[30 * DAY + timedelta(seconds=1)]),
        "uk": person({"country": "GB"}, purchase=[DAY]),
    }
    assert who("country == 'US' and last(purchase) within last 30 days", people) == {"us"}


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (
            "did(latest add_to_cart then no purchase within 48 hours, last 7 days) and score.engagement >= 0.6",
            "unknown score 'score.engagement'; declare it under 'scores:' of a segment file.",
        ),
        (
            "not in segment(loyal) and days_active(login, last 30 days) >= 10 and model.churn > 0.8",
            "unknown model output 'model.churn'; declare it under 'models:' of a segment file.",
        ),
    ],
)
def test_scores_and_models_that_are_not_known_are_refused_with_a_sentence(
    catalog: Catalog, rule: str, sentence: str
) -> None:
    assert [fault.sentence for fault in check(parse(rule), catalog, segments=["loyal"])] == [sentence]
