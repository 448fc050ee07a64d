"""Wrong, hostile and huge rules: a sentence with a place, in bounded time, and never more than that."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.config import Faults
from consentry.errors import ConfigError
from consentry.segments.catalog import Catalog
from consentry.segments.check import check
from consentry.segments.files import read_segments
from consentry.segments.parse import MAX_LENGTH, RuleError, parse, parse_value
from consentry.segments.person import Event, Person
from consentry.warehouse import DuckDBWarehouse
from tests.segments.conftest import Decide, Populate


def sentences(rule: str, catalog: Catalog) -> list[str]:
    """Return what is wrong with a rule, without the drawing of the place."""
    try:
        return [fault.sentence for fault in check(parse(rule), catalog, segments=["loyal"])]
    except RuleError as error:
        return [fault.sentence for fault in error.mistakes]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("aeg > 3", "unknown attribute 'aeg'; did you mean 'age'?"),
        ("count(purchace) > 3", "unknown event 'purchace'; did you mean 'purchase'?"),
        ("sum(purchase.valeu) > 3", "unknown property 'valeu' of the event 'purchase'; did you mean 'value'?"),
        ("count(purchase where colour == 'red') > 0", "unknown property 'colour' of the event 'purchase'."),
        ("cuont(purchase) > 3", "'cuont' is not a function; did you mean 'count'?"),
        ("age = 3", "'=' is not a comparison; write '=='."),
        ("age > 'x'", "'age' (integer) cannot be compared with the text 'x'."),
        ("country > 'DE'", "'country' (text) has no order; use ==, != or in."),
        ("subscribed == 1", "'subscribed' (boolean) cannot be compared with a value of type integer."),
        ("age", "'age' (integer) is not true or false by itself; compare it with something."),
        ("age within last 3 days", "'within last' needs a date or a timestamp, not 'age' (integer)."),
        ("sum(purchase) > 3", "sum needs a property: sum(purchase.property)."),
        ("sum(purchase.category) > 3", "sum cannot be taken of purchase.category, which is text."),
        ("avg(purchase.value, any 3 days) > 3", "'any' goes with count and sum, not with avg."),
        ("purchase > 3", "unknown attribute 'purchase'; it is an event: write count(purchase) or last(purchase)."),
        ("in segment(loyl)", "unknown segment 'loyl'; did you mean 'loyal'?"),
        (
            "did(login then purchase within 1 day)",
            "say which event starts the sequence: 'did(any ...' or 'did(latest ...'.",
        ),
        ("age > percentile(101 of age)", "a percentile lies between 0 and 100."),
        ("1 == 1", "two constants are compared; name an attribute or an event."),
        ("count(login, last 60000 days) > 1", "this is longer than a hundred years."),
        ("count(login, last 0 days) > 1", "a length of time is a whole number from 1 to 999,999."),
        ("born == 2026-02-30", "2026-02-30 is not a day of the calendar."),
        ("country == 'DE", "a text begins here with ' and does not end."),
        (
            "count(purchase where count(login) > 1) > 0",
            "only properties of the event, constants and 'ago' can stand here.",
        ),
    ],
)
def test_a_mistake_is_told_in_a_sentence(catalog: Catalog, rule: str, sentence: str) -> None:
    assert sentence in sentences(rule, catalog)


def test_all_mistakes_are_told_at_once_with_their_columns(catalog: Catalog) -> None:
    faults = check(parse("aeg > 3 and country > 'x' and count(purchace) > 1"), catalog)
    assert [fault.at for fault in faults] == [0, 12, 30]


def test_a_caret_stands_under_the_column() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("age > 3 ; drop table x")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("The rule, column 9:")
    assert lines[1].index(";") == lines[2].index("^")


@pytest.mark.parametrize(
    "rule",
    [
        "age > 3; drop table profile.person",
        "age > 3 -- comment",
        "age > 3 /* comment */",
        "read_csv('/etc/passwd') == 1",
        "age > (select max(age) from profile.person)",
        "__import__('os') == 1",
        'country == "x" || "y"',
        "profile.person == 1",
        '"age" > 3',
        "age::text == '3'",
        "$v0 == 1",
        'count(purchase"; drop table x) > 1',
        "in segment(loyal'; drop table x)",
    ],
)
def test_injection_is_refused(catalog: Catalog, rule: str) -> None:
    assert sentences(rule, catalog)


@pytest.mark.parametrize("text", ["'; drop table profile.person; --", "o'clock", '"', "$v0", "%s", "\\", "{x}", "ä€😀"])
def test_a_hostile_text_is_only_a_text(
    who: Callable[..., set[str]], warehouse: DuckDBWarehouse, now: object, text: str
) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    quoted = quoted.replace("\\", "\\\\").replace('"', '\\"')  # inside a quoted YAML value
    event = Event("purchase", now, {"category": text})  # type: ignore[arg-type]
    people = {"same": Person({"country": text}, [event]), "other": Person({"country": "x"})}
    assert who(f"country == {quoted} and count(purchase where category == {quoted}) == 1", people) == {"same"}
    assert warehouse.count("profile.person") == 2


def test_names_with_quotes_cannot_enter_the_catalogue() -> None:
    with pytest.raises(ConfigError, match="not a plain lower-case name"):
        Catalog({'a" from x': "number"}, {'e"; drop table x': {}})


@pytest.mark.parametrize("opening", ["(", "not ", "not (", "age in (", "count(purchase where "])
def test_deep_nesting_is_refused_in_bounded_time(opening: str) -> None:
    begun = time.process_time()
    text = opening * (MAX_LENGTH // len(opening) // 2)
    with pytest.raises(RuleError):
        parse(text + "age > 1" + ")" * text.count("("))
    assert time.process_time() - begun < 5


def test_a_rule_of_10_megabytes_is_refused_at_once() -> None:
    begun = time.process_time()
    with pytest.raises(RuleError, match="at most 20,000 characters"):
        parse("age > 1 or " * 1_000_000)
    assert time.process_time() - begun < 1


def test_the_longest_rule_is_read_in_bounded_time(catalog: Catalog) -> None:
    begun = time.process_time()
    rule = " or ".join(["age > 1"] * (MAX_LENGTH // 11))
    assert check(parse(rule), catalog) == []
    assert time.process_time() - begun < 5


def test_1000_rules_are_read_and_checked_in_bounded_time(catalog: Catalog) -> None:
    begun = time.process_time()
    for n in range(1000):
        rule = f"age between {n} and {n + 9} and count(purchase where category == 'c{n}', last {n % 90 + 1} days) >= 3"
        assert check(parse(rule), catalog) == []
    assert time.process_time() - begun < 10


@pytest.mark.slow
def test_10000_rules_are_read_and_evaluated_in_bounded_time(
    tmp_path: Path, populate: Populate, decide: Decide, catalog: Catalog
) -> None:
    begun = time.process_time()
    for file in range(4):
        entries = "".join(
            f"- {{segment: s{n}, description: t, purpose: ads, rule: 'age == {n % 80} and count(login, last"
            f" {n % 90 + 1} days) >= {n % 7}'}}\n"
            for n in range(file, 10_000, 4)
        )
        (tmp_path / f"{file}.yaml").write_text(f"segments:\n{entries}", encoding="utf-8")
    faults = Faults()
    segments = read_segments(tmp_path, catalog, faults)
    faults.check()
    populate({f"p{age}": Person({"age": age}, []) for age in range(80)})
    found = decide(segments)
    assert sum(found.members.values()) == sum(n % 7 == 0 for n in range(10_000))
    assert time.process_time() - begun < 120


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_an_error_with_a_place(text: str) -> None:
    try:
        parse(text)
    except RuleError as error:
        assert all(0 <= fault.at <= len(text) for fault in error.mistakes)
        assert str(error)


WORDS = (
    "and or not in is between within last missing known ( ) , . == < 3 7 'x' days ago age purchase count sum did any"
)


@given(st.lists(st.sampled_from([*WORDS.split(), "then", "no", "where", "segment", "of", "percentile"]), max_size=15))
def test_any_row_of_words_is_a_rule_or_an_error_with_a_place(words: list[str]) -> None:
    text = " ".join(words)
    catalog = Catalog({"age": "integer"}, {"purchase": {"value": "number"}})
    try:
        found = check(parse(text), catalog, segments=[])
    except RuleError as error:
        found = list(error.mistakes)
    assert all(0 <= fault.at <= len(text) for fault in found)


def test_a_value_that_goes_on_as_a_rule_is_told_with_its_place() -> None:
    with pytest.raises(RuleError, match="column 17: '>=' cannot stand here; expected the end"):
        parse_value("count(purchase) >= 1")
