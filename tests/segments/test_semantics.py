"""The rules of meaning, each a test: time, missing values, sequences, references, percentiles (facts, 3.6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta

import pytest

from consentry.errors import ConfigError
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock
from consentry.segments.parse import parse
from consentry.segments.person import Event, Judge, Person
from consentry.warehouse import DuckDBWarehouse

Who = Callable[..., set[str]]
SECOND = timedelta(seconds=1)


def did(name: str, at: datetime, **properties: object) -> Event:
    return Event(name, at, properties)  # type: ignore[arg-type]


def ago(now: datetime, name: str, *seconds: float, **properties: object) -> Person:
    return Person({}, [did(name, now - timedelta(seconds=each), **properties) for each in seconds])


def test_an_event_604800_seconds_old_is_in_the_last_7_days_and_one_of_604801_is_not(who: Who, now: datetime) -> None:
    people = {"edge": ago(now, "login", 604_800), "out": ago(now, "login", 604_801), "now": ago(now, "login", 0)}
    assert who("count(login, last 7 days) == 1", people) == {"edge", "now"}


def test_an_event_a_microsecond_too_old_is_out(who: Who, now: datetime) -> None:
    assert who("count(login, last 7 days) == 1", {"out": ago(now, "login", 604_800.000_001)}) == set()


def test_events_dated_after_now_never_count(who: Who, now: datetime) -> None:
    people = {"later": ago(now, "login", -1), "never": Person()}
    assert who("count(login) > 0 or last(login) is known", people) == set()
    assert who("count(login, since 2020-01-01) == 0", people) == {"later", "never"}


def test_calendar_days_are_days_of_the_catalogues_zone_and_sliding_days_are_not(who: Who) -> None:
    now = datetime(2026, 3, 29, 10, tzinfo=UTC)  # noon of the day on which Berlin goes to summer time
    before_midnight = did("login", datetime(2026, 3, 28, 22, 59, 59, tzinfo=UTC))  # 23:59:59 in Berlin
    at_midnight = did("login", datetime(2026, 3, 28, 23, tzinfo=UTC))
    people = {"before": Person({}, [before_midnight]), "at": Person({}, [at_midnight])}
    berlin = Catalog({}, {"login": {}}, time_zone="Europe/Berlin")
    assert who("count(login, last 1 calendar days) == 1", people, now, berlin) == {"at"}
    assert who("count(login, last 1 days) == 1", people, now, berlin) == {"before", "at"}


def test_days_active_counts_days_of_the_zone(who: Who) -> None:
    now = datetime(2026, 1, 3, tzinfo=UTC)
    evening = [
        did("login", datetime(2026, 1, 1, 22, tzinfo=UTC)),
        did("login", datetime(2026, 1, 1, 23, 30, tzinfo=UTC)),
    ]
    people = {"p": Person({}, evening)}
    assert who("days_active(login) == 1", people, now, Catalog({}, {"login": {}})) == {"p"}
    assert who("days_active(login) == 2", people, now, Catalog({}, {"login": {}}, time_zone="Europe/Berlin")) == {"p"}


def test_between_ago_includes_both_ends(who: Who, now: datetime) -> None:
    day = 86_400
    people = {str(seconds): ago(now, "login", seconds) for seconds in (7 * day - 1, 7 * day, 14 * day, 14 * day + 1)}
    assert who("count(login, between 7 and 14 days ago) == 1", people) == {str(7 * day), str(14 * day)}


def test_since_begins_with_the_first_instant_of_the_day(who: Who, now: datetime) -> None:
    first = datetime(2026, 3, 1, tzinfo=UTC)
    people = {"in": Person({}, [did("login", first)]), "out": Person({}, [did("login", first - SECOND)])}
    assert who("count(login, since 2026-03-01) == 1", people) == {"in"}


def test_any_window_finds_the_busiest_stretch(who: Who, now: datetime) -> None:
    day = 86_400
    people = {
        "long_ago": ago(now, "purchase", 400 * day, 390 * day, 370 * day),
        "too_far_apart": ago(now, "purchase", 400 * day, 390 * day, 370 * day - 1),
        "never": Person(),
    }
    assert who("count(purchase, any 30 days) >= 3", people) == {"long_ago"}
    assert who("count(purchase, any 30 days) == 0", people) == {"never"}


@pytest.mark.parametrize("comparison", ["== 30", "!= 30", "< 30", "<= 30", "> 30", ">= 30", "between 0 and 99"])
def test_any_comparison_with_a_missing_value_is_false(who: Who, comparison: str) -> None:
    people = {"missing": Person({"age": None}), "known": Person({"age": 30})}
    assert "missing" not in who(f"age {comparison}", people)
    assert "missing" in who(f"not age {comparison}", people)


def test_a_missing_value_is_in_no_list_and_not_in_no_list(who: Who) -> None:
    people = {"missing": Person(), "de": Person({"country": "DE"})}
    assert who("country in ('DE')", people) == {"de"}
    assert who("country not in ('US')", people) == {"de"}
    assert who("not country in ('US')", people) == {"de", "missing"}


def test_missing_and_known_are_asked_for_in_words(who: Who) -> None:
    people = {"missing": Person(), "known": Person({"income": 0.0}), "nan": Person({"income": float("nan")})}
    assert who("income is missing", people) == {"missing", "nan"}
    assert who("income is known", people) == {"known"}


def test_a_boolean_that_is_missing_is_not_true(who: Who) -> None:
    people = {"missing": Person(), "yes": Person({"subscribed": True}), "no": Person({"subscribed": False})}
    assert who("subscribed", people) == {"yes"}
    assert who("not subscribed", people) == {"no", "missing"}


@pytest.mark.parametrize("value", ["count(purchase)", "sum(purchase.value)", "distinct(purchase.category)"])
def test_count_sum_and_distinct_of_nothing_are_0(who: Who, value: str) -> None:
    assert who(f"{value} == 0", {"nobody": Person()}) == {"nobody"}


@pytest.mark.parametrize("value", ["avg", "min", "max", "first", "last"])
def test_avg_min_max_first_and_last_of_nothing_are_missing(who: Who, now: datetime, value: str) -> None:
    people = {"nothing": Person(), "unpriced": ago(now, "purchase", 5), "priced": ago(now, "purchase", 5, value=1.0)}
    assert who(f"{value}(purchase.value) is missing", people) == {"nothing", "unpriced"}


def test_a_property_that_is_missing_fails_the_where(who: Who, now: datetime) -> None:
    people = {"missing": ago(now, "purchase", 5), "shoes": ago(now, "purchase", 5, category="shoes")}
    assert who("count(purchase where category == 'shoes') == 1", people) == {"shoes"}
    assert who("count(purchase where not category == 'hats') == 1", people) == {"missing", "shoes"}


def test_absence_is_true_only_once_the_time_for_it_has_elapsed(who: Who, now: datetime) -> None:
    people = {"599": ago(now, "add_to_cart", 599), "600": ago(now, "add_to_cart", 600)}
    assert who("did(latest add_to_cart then no purchase within 10 minutes)", people) == {"600"}


def test_what_follows_counts_up_to_the_last_second_and_not_at_the_same_instant(who: Who, now: datetime) -> None:
    start = now - timedelta(hours=2)
    people = {
        str(gap): Person({}, [did("add_to_cart", start), did("purchase", start + timedelta(seconds=gap))])
        for gap in (0, 1, 600, 601)
    }
    assert who("did(any add_to_cart then purchase within 10 minutes)", people) == {"1", "600"}
    assert who("did(any add_to_cart then no purchase within 10 minutes)", people) == {"0", "601"}


def test_any_and_latest_differ_when_the_later_cart_was_bought(who: Who, now: datetime) -> None:
    hour = timedelta(hours=1)
    bought = [did("add_to_cart", now - 20 * hour), did("add_to_cart", now - 10 * hour), did("purchase", now - 9 * hour)]
    people = {"p": Person({}, bought)}
    assert who("did(any add_to_cart then no purchase within 5 hours)", people) == {"p"}
    assert who("did(latest add_to_cart then no purchase within 5 hours)", people) == set()


def test_the_window_of_a_sequence_limits_what_comes_first(who: Who, now: datetime) -> None:
    events = [did("add_to_cart", now - timedelta(days=1, seconds=1)), did("purchase", now - timedelta(hours=23))]
    assert who("did(any add_to_cart then purchase within 2 hours, last 1 day)", {"p": Person({}, events)}) == set()
    assert who("did(any add_to_cart then purchase within 2 hours, last 2 days)", {"p": Person({}, events)}) == {"p"}


def test_percentile_thresholds_are_one_value_over_the_stated_population(who: Who) -> None:
    incomes = {"a": 10.0, "b": 20.0, "c": 30.0, "d": 40.0}
    people = {name: Person({"income": income, "age": 20}) for name, income in incomes.items()}
    people |= {"old": Person({"income": 1000.0, "age": 70}), "unknown": Person({"age": 20})}
    assert who("income >= percentile(75 of income)", people) == {"d", "old"}  # 40 of 10, 20, 30, 40, 1000
    assert who("income >= percentile(75 of income over age < 30)", people) == {"d", "old"}  # 32.5
    assert who("income > percentile(100 of income over age > 99)", people) == set()  # of nobody: missing


def test_within_last_includes_its_first_instant_and_leaves_out_the_future(who: Who, now: datetime) -> None:
    people = {
        "edge": Person({"seen": now - timedelta(days=30)}),
        "before": Person({"seen": now - timedelta(days=30, seconds=1)}),
        "future": Person({"seen": now + SECOND}),
    }
    assert who("seen within last 30 days", people) == {"edge"}
    assert who("seen <= 30 days ago", people) == {"edge", "before"}


def test_a_date_is_its_midnight_in_utc(who: Who) -> None:
    people = {"p": Person({"born": date(2000, 2, 29)})}
    assert who("born == 2000-02-29 and born == 2000-02-29T00:00:00Z and born < 2000-02-29T00:00:01Z", people) == {"p"}


def test_sums_do_not_depend_on_how_floats_add_up(who: Who, now: datetime) -> None:
    tenths = Person({}, [did("purchase", now, value=0.1), did("purchase", now, value=0.2)])
    assert who("sum(purchase.value) == 0.3", {"p": tenths}) == {"p"}


def test_of_two_events_at_one_instant_the_greater_value_is_last(who: Who, now: datetime) -> None:
    people = {"p": Person({}, [did("purchase", now, value=2.0), did("purchase", now, value=1.0)])}
    assert who("last(purchase.value) == 2 and first(purchase.value) == 1", people) == {"p"}


def test_numbers_and_texts_compare_with_each_others_columns(who: Who) -> None:
    people = {
        "same": Person({"country": "DE", "home": "DE"}),
        "other": Person({"country": "DE", "home": "US"}),
        "unknown": Person({"country": "DE"}),
        "nothing": Person(),
    }
    assert who("country == home", people) == {"same"}
    assert who("country != home", people) == {"other"}


def test_inactivity_triggers_people_leave_by_time_alone(who: Who, warehouse: DuckDBWarehouse, now: datetime) -> None:
    people: Mapping[str, Person] = {"p": ago(now, "login", 604_800)}
    assert who("count(login, last 7 days) >= 1", people, now) == {"p"}
    assert who("count(login, last 7 days) >= 1", people, now + SECOND) == set()
    changes = warehouse.sql('SELECT change FROM segment.change ORDER BY "at"')["change"].to_pylist()
    assert changes == ["enter", "exit"]


def test_consent_is_no_part_of_a_rule(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match="'consent' is not a function"):
        parse("age > 18 or not consent(ads)")


def test_the_judge_knows_no_future(now: datetime) -> None:
    judge = Judge(ago(now, "login", -1), Clock(now, Catalog({}).zone()))
    assert not judge.holds(parse("count(login) > 0"))


@pytest.mark.parametrize(
    "where", ["category != 'hats'", "category not in ('hats')", "value <= 5", "gift", "gift == false"]
)
def test_inside_where_a_comparison_with_a_missing_value_is_false(who: Who, now: datetime, where: str) -> None:
    assert who(f"count(purchase where {where}) > 0", {"missing": ago(now, "purchase", 5)}) == set()
    assert who(f"count(purchase where not {where}) > 0", {"missing": ago(now, "purchase", 5)}) == {"missing"}


def test_events_of_one_instant_all_count_in_any_window(who: Who, now: datetime) -> None:
    people = {"p": ago(now, "purchase", 60, 60, 120)}
    assert who("count(purchase, any 1 minute) == 3", people) == {"p"}
    assert who("count(purchase, any 1 minute) == 2", {"q": ago(now, "purchase", 60, 60, 121)}) == {"q"}
