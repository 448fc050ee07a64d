"""What people read: a rule in English, and why somebody is in or out."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from consentry.segments.clock import Clock
from consentry.segments.describe import describe, explain
from consentry.segments.parse import parse
from consentry.segments.person import Event, Person
from consentry.segments.spell import spell


@pytest.mark.parametrize(
    ("rule", "english"),
    [
        (
            "age between 25 and 34 and count(product_view, last 7 days) >= 3 and device == 'mobile'",
            "Age is from 25 to 34, and the number of product_view events in the last 7 days is at least 3,"
            " and device is 'mobile'.",
        ),
        (
            "did(latest add_to_cart then no purchase within 10 minutes, last 1 days)",
            "The latest add_to_cart in the last 1 day was not followed by purchase within 10 minutes.",
        ),
        (
            "not in segment(loyal) and (country in ('DE', 'AT') or income >= percentile(75 of income over age > 18))",
            "It is not so that the person is in the segment loyal, and (country is one of 'DE', 'AT', or income is at"
            " least the 75th percentile of income over those for whom age is above 18).",
        ),
        (
            "sum(page_time.seconds where page == 'pricing', last 2 calendar days) > 300 or last(purchase) is missing",
            "The sum of seconds of page_time where page is 'pricing' today and in the 1 days before is above 300,"
            " or the last purchase is missing.",
        ),
    ],
)
def test_a_rule_reads_as_english(rule: str, english: str) -> None:
    assert describe(parse(rule)) == english


def test_an_explanation_gives_each_atom_with_its_values_and_verdict(now: datetime) -> None:
    bought = now - timedelta(days=3)
    person = Person({"age": 20}, [Event("purchase", bought, {"value": 5.0})])
    rule = parse("age > 30 and last(purchase) within last 7 days and sum(purchase.value) >= income")
    found = explain(rule, person, Clock(now, ZoneInfo("UTC")))
    assert not found.holds
    assert [(reason.atom, dict(reason.values), reason.holds) for reason in found.reasons] == [
        ("age > 30", {"age": 20.0}, False),
        ("last(purchase) within last 7 days", {"last(purchase)": bought}, True),
        ("sum(purchase.value) >= income", {"sum(purchase.value)": 5.0, "income": None}, False),
    ]


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ('( (age>3) )   and\n  (country=="DE")', "age > 3 and country == 'DE'"),
        ("age > 1 or (age < 5 and (age < 4 or age == 9))", "age > 1 or age < 5 and (age < 4 or age == 9)"),
        ("not (age > 1 and age < 5)", "not (age > 1 and age < 5)"),
        ("count(login, last 1 days) > 1.50", "count(login, last 1 day) > 1.5"),
        ('country == "it\'s"', "country == 'it''s'"),
    ],
)
def test_a_rule_has_one_spelling(written: str, spelled: str) -> None:
    assert spell(parse(written)) == spelled
    assert parse(spelled) == parse(written)
