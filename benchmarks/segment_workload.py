"""The people, events and rules that bench_segments.py measures, and the SQL that the same rules would be by hand."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from consentry.segments.ast import Type
from consentry.segments.catalog import Catalog
from consentry.segments.parse import parse
from consentry.segments.people import number_profile
from consentry.segments.segment import Segment
from consentry.warehouse import DuckDBWarehouse

NOW = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
# Each event's share of all events; they are skewed towards few people and recent days.
SHARES = {
    "page_view": 30, "product_view": 20, "search": 10, "category_view": 9, "email_open": 8, "login": 7,
    "add_to_cart": 5, "purchase": 4, "email_click": 3, "wishlist": 2, "review": 1, "support": 1,
}  # fmt: skip
WINDOWS = (1, 2, 7, 14, 30, 31, 60, 90, 120)
ATTRIBUTES: dict[str, Type] = {"age": "integer", "income": "number", "country": "text", "device": "text"}
CATALOG = Catalog(ATTRIBUTES, {event: {"value": "number"} for event in SHARES})


@dataclass(frozen=True, slots=True)
class Predicate:
    """One condition: as a rule, and as SQL over the person p and, for an event, the feature `{f}`."""

    rule: str
    sql: str
    event: str | None = None
    feature: str = ""


@dataclass(frozen=True, slots=True)
class Sentence:
    """Predicates joined by one word."""

    predicates: tuple[Predicate, ...]
    word: str

    @property
    def rule(self) -> str:
        return f" {self.word} ".join(predicate.rule for predicate in self.predicates)


def sentences(count: int, seed: int = 8) -> list[Sentence]:
    """Make rules of two to four predicates over 108 features and some attributes."""
    chance = random.Random(seed)
    features = [(event, window) for event in SHARES for window in WINDOWS]
    return [_sentence(chance, features) for _ in range(count)]


def _sentence(chance: random.Random, features: Sequence[tuple[str, int]]) -> Sentence:
    size = chance.choice((2, 2, 3, 4))
    events = chance.sample(features, chance.choice((1, 1, 2)))
    found = [_about_events(chance, event, window) for event, window in events]
    found += [_about_person(chance) for _ in range(size - len(found))]
    return Sentence(tuple(found), "and" if chance.random() < 0.9 else "or")


def _about_events(chance: random.Random, event: str, window: int) -> Predicate:
    inside = f"occurred_at BETWEEN $now - INTERVAL {window} DAY AND $now"
    if window % 3 == 1:
        least = chance.choice((50, 100, 200))
        sql, text = f"coalesce(sum(value) FILTER (WHERE {inside}), 0)", f"sum({event}.value, last {window} days)"
        return Predicate(f"{text} >= {least}", f"coalesce({{f}}, 0) >= {least}", event, sql)
    least = chance.choice((1, 2, 3, 5))
    sql, text = f"count(*) FILTER (WHERE {inside})", f"count({event}, last {window} days)"
    return Predicate(f"{text} >= {least}", f"coalesce({{f}}, 0) >= {least}", event, sql)


def _about_person(chance: random.Random) -> Predicate:
    match chance.randrange(4):
        case 0:
            low = chance.choice((18, 25, 35, 45))
            return Predicate(f"age between {low} and {low + 9}", f"p.age BETWEEN {low} AND {low + 9}")
        case 1:
            least = chance.choice((20_000, 40_000, 60_000))
            return Predicate(f"income >= {least}", f"p.income >= {least}")
        case 2:
            country = chance.choice(("DE", "US", "FR", "GB"))
            return Predicate(f"country == '{country}'", f"p.country = '{country}'")
        case _:
            device = chance.choice(("mobile", "desktop"))
            return Predicate(f"device == '{device}'", f"p.device = '{device}'")


def segments(made: Sequence[Sentence]) -> list[Segment]:
    """Return the rules as segments, as a segment file would give them."""
    return [Segment(f"s{n:03d}", "benchmark", "ads", parse(each.rule)) for n, each in enumerate(made)]


def statement(made: Sequence[Sentence]) -> str:
    """Return one statement that counts the members of each rule, as somebody would write it by hand."""
    features = _features(made)
    joins = []
    for event, listed in features.items():
        columns = ", ".join(f"{sql} AS f{n}" for n, sql in enumerate(listed))
        group = f"SELECT person_id, {columns} FROM profile.event__{event} WHERE occurred_at <= $now GROUP BY person_id"
        joins.append(f" LEFT JOIN ({group}) AS {event} ON {event}.person_id = p.person_id")
    counts = ", ".join(f"count(*) FILTER (WHERE {_condition(each, features)}) AS n{n}" for n, each in enumerate(made))
    return f"SELECT {counts} FROM profile.person AS p{''.join(joins)}"


def _features(made: Sequence[Sentence]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for predicate in (predicate for each in made for predicate in each.predicates):
        if predicate.event and predicate.feature not in found.setdefault(predicate.event, []):
            found[predicate.event].append(predicate.feature)
    return found


def _condition(each: Sentence, features: dict[str, list[str]]) -> str:
    parts = [
        predicate.sql.format(f=f"{predicate.event}.f{features[predicate.event].index(predicate.feature)}")
        if predicate.event
        else predicate.sql
        for predicate in each.predicates
    ]
    return f" {each.word} ".join(parts)


def build(warehouse: DuckDBWarehouse, people: int, events: int) -> None:
    """Write the people and the events, as the profile stage writes them: numbered, and sorted by person and time.

    And the events as they came, by time alone.
    """
    warehouse.sql(
        "CREATE OR REPLACE TABLE profile.person AS SELECT CAST(md5(CAST(i AS VARCHAR)) AS UUID) AS person_id,"
        f" CASE WHEN {_chance('i', 1)} < 0.9 THEN CAST(16 + 60 * {_chance('i', 2)} AS BIGINT) END AS age,"
        f" CASE WHEN {_chance('i', 3)} < 0.7 THEN round(9e4 * {_chance('i', 4)} * {_chance('i', 5)}) END AS income,"
        f" ['DE', 'US', 'FR', 'GB', 'IT', 'ES'][1 + CAST(floor(6 * {_chance('i', 6)}) AS INTEGER)] AS country,"
        f" ['mobile', 'desktop', 'tablet'][1 + CAST(floor(3 * {_chance('i', 7)}) AS INTEGER)] AS device"
        f" FROM range({people}) AS t(i)"
    )
    number_profile(warehouse)
    for event, count in _counts(events):
        write_events(warehouse, event, people, count)
        warehouse.sql(
            f"CREATE OR REPLACE TABLE clean.event__{event} AS SELECT person_id, occurred_at, value"
            f" FROM profile.event__{event} ORDER BY occurred_at"
        )


def written(event: str, *, for_segments: bool) -> str:
    """Return the statement of the profile stage for events as they came: numbered and sorted, or without segments."""
    number, order = ("p._ordinal, ", " ORDER BY p._ordinal, e.occurred_at") if for_segments else ("", "")
    return (
        f"CREATE OR REPLACE TABLE profile.tried AS SELECT p.person_id, {number}e.occurred_at, e.value"
        f" FROM clean.event__{event} AS e JOIN profile.person AS p ON p.person_id = e.person_id{order}"
    )


def write_events(warehouse: DuckDBWarehouse, event: str, people: int, count: int) -> None:
    """Write the events of one name; about 44 of 100 people have any, and half of the events are recent."""
    seed = list(SHARES).index(event) * 10 + 10
    number = f"CAST(floor({people} * 0.44 * pow({_chance('i', seed)}, 2)) AS UINTEGER)"
    ago = f"CAST(365 * 86400e6 * pow({_chance('i', seed + 1)}, 2.5) AS BIGINT)"
    warehouse.sql(
        f"CREATE OR REPLACE TABLE profile.event__{event} AS SELECT o.ordinal AS _ordinal, o.person_id,"
        f" CAST($now AS TIMESTAMPTZ) - to_microseconds(e.ago) AS occurred_at, e.value"
        f" FROM (SELECT {number} AS ordinal, {ago} AS ago, round(100 * {_chance('i', seed + 2)}, 2) AS value"
        f" FROM range({count}) AS t(i)) AS e JOIN segment.person_ordinal AS o USING (ordinal)"
        " ORDER BY o.ordinal, occurred_at",
        now=NOW,
    )


def _counts(events: int) -> Iterator[tuple[str, int]]:
    whole = sum(SHARES.values())
    yield from ((event, events * share // whole) for event, share in SHARES.items())


def _chance(number: str, salt: int) -> str:
    """Return SQL for an evenly spread number from 0 to 1, the same in every run."""
    return f"(CAST(hash({number}, {salt}) AS DOUBLE) / 18446744073709551616.0)"
