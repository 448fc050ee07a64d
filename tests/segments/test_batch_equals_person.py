"""The batch evaluation and the in-process judge share the tree and nothing else: they have to agree."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import cast

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.segments import ast
from consentry.segments.ast import Type
from consentry.segments.catalog import Catalog
from consentry.segments.check import check
from consentry.segments.clock import Clock
from consentry.segments.evaluate import evaluate
from consentry.segments.parse import parse
from consentry.segments.person import Event, Judge, Person, Plain
from consentry.segments.segment import Segment
from consentry.segments.spell import spell
from consentry.warehouse import DuckDBWarehouse

CATALOG = Catalog(
    attributes={
        "age": "integer",
        "income": "number",
        "country": "text",
        "home": "text",
        "subscribed": "boolean",
        "born": "date",
        "seen": "timestamp",
    },
    events={
        "buy": {"value": "number", "items": "integer", "kind": "text", "gift": "boolean", "due": "date"},
        "view": {"kind": "text"},
        "login": {},
    },
    time_zone="Europe/Berlin",
)
ARROW = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
}
# Around the change to summer time in Berlin (29 March 2026), where a day has 23 hours.
NOWS = [datetime(2026, 3, 31, 12, tzinfo=UTC), datetime(2026, 3, 29, 22, 30, tzinfo=UTC)]
DAY = 86_400
OFFSETS = [0, 1, 599, 600, 601, 3600, DAY - 1, DAY, DAY + 1, 2 * DAY, 3 * DAY, 7 * DAY - 1, 7 * DAY, 7 * DAY + 1]
OFFSETS += [-1, -DAY, 30 * DAY, 30 * DAY + 1, 400 * DAY]
WORDS = ["DE", "US", "", "o'clock", "ä"]

# --- people

VALUES: dict[Type, st.SearchStrategy[Plain]] = {
    "number": st.sampled_from([0.0, 0.1, 0.2, 0.3, -1.5, 25.0, float("nan"), float("inf"), 1e9]),
    "integer": st.sampled_from([-1, 0, 1, 2, 25, 34]),
    "text": st.sampled_from(WORDS),
    "boolean": st.booleans(),
    "date": st.sampled_from([date(2026, 3, 30), date(2026, 3, 31), date(1999, 12, 31), date(2031, 1, 1)]),
    "timestamp": st.sampled_from([NOWS[0], NOWS[0] - timedelta(days=7), NOWS[0] + timedelta(seconds=1)]),
}


def filled(types: dict[str, Type]) -> st.SearchStrategy[dict[str, Plain]]:
    return st.fixed_dictionaries({name: st.none() | VALUES[kind] for name, kind in types.items()})


@st.composite
def events(draw: st.DrawFn) -> Event:
    name = draw(st.sampled_from(sorted(CATALOG.events)))
    at = draw(st.sampled_from(NOWS)) - timedelta(seconds=draw(st.sampled_from(OFFSETS)))
    return Event(name, at, draw(filled(dict(CATALOG.events[name]))))


people = st.lists(
    st.builds(Person, filled(dict(CATALOG.attributes)), st.lists(events(), max_size=7)), min_size=0, max_size=7
)

# --- rules

durations = st.builds(
    ast.Duration, st.sampled_from([1, 2, 7, 30]), st.sampled_from(["minutes", "hours", "days", "weeks"])
) | st.just(ast.Duration(10, "minutes"))
windows = st.one_of(
    st.none(),
    st.builds(ast.Last, durations),
    st.builds(ast.CalendarDays, st.sampled_from([1, 2, 3, 7])),
    st.builds(ast.BetweenAgo, st.just(1), st.sampled_from([2, 7]), st.sampled_from(["days", "hours"])),
    st.builds(ast.Since, st.sampled_from([date(2026, 3, 28), date(2026, 3, 29), date(2026, 3, 30)])),
)
COMPARISONS = {
    "number": ["==", "!=", "<", "<=", ">", ">="],
    "time": ["==", "!=", "<", "<=", ">", ">="],
    "text": ["==", "!="],
    "boolean": ["==", "!="],
}
Kind = str


def kinds(types: dict[str, Type], kind: Kind) -> list[str]:
    of = {"number": ("number", "integer"), "time": ("date", "timestamp"), "text": ("text",), "boolean": ("boolean",)}
    return [name for name, found in types.items() if found in of[kind]]


def constants(kind: Kind) -> st.SearchStrategy[ast.Value]:
    match kind:
        case "number":
            whole = st.sampled_from([0, 1, 2, 3, 25, -1]).map(lambda n: ast.Literal(n, "integer"))
            return whole | st.sampled_from([0.3, 0.1, 1.5]).map(lambda x: ast.Literal(x, "number"))
        case "text":
            return st.sampled_from(WORDS).map(lambda word: ast.Literal(word, "text"))
        case "boolean":
            return st.booleans().map(lambda truth: ast.Literal(truth, "boolean"))
        case _:
            day = st.just(ast.Literal(date(2026, 3, 30), "date"))
            return day | st.just(ast.Literal(NOWS[0], "timestamp")) | st.builds(ast.Ago, durations)


@st.composite
def aggregates(draw: st.DrawFn, kind: Kind) -> ast.Value:
    event = draw(st.sampled_from(sorted(CATALOG.events)))
    types = dict(CATALOG.events[event])
    where = draw(st.none() | rules(types, atoms_only=draw(st.booleans()), depth=1)) if types else None
    window = draw(windows)
    named = kinds(types, kind)
    choices = [("first", name) for name in named] + [("last", name) for name in named]
    if kind == "time":
        choices += [("first", None), ("last", None)] + [("min", name) for name in named]
    if kind == "number":
        choices += [("count", None), ("days_active", None), *(("distinct", name) for name in types)]
        choices += [(function, name) for name in named for function in ("sum", "avg", "min", "max", "count")]
        anywhere = [("count", None)] + [("sum", name) for name in named]
        if draw(st.booleans()):
            window, choices = ast.AnyWindow(draw(durations)), anywhere
    if not choices:
        return draw(constants(kind))
    function, prop = draw(st.sampled_from(choices))
    return ast.Aggregate(cast("ast.Function", function), event, prop, where, window)


def values(types: dict[str, Type] | None, kind: Kind) -> st.SearchStrategy[ast.Value]:
    """Values of one kind: of the person when `types` is None, else of an event with these properties."""
    named = kinds(dict(CATALOG.attributes) if types is None else types, kind)
    own = st.sampled_from(named).map(ast.Name) if named else constants(kind)
    return own | aggregates(kind) if types is None else own


@st.composite
def atoms(draw: st.DrawFn, types: dict[str, Type] | None) -> ast.Rule:
    kind = draw(st.sampled_from(["number", "number", "time", "text", "boolean"]))
    value = draw(values(types, kind))
    if isinstance(value, ast.Literal | ast.Ago):
        named = sorted(CATALOG.attributes if types is None else types)
        return ast.Is(ast.Name(draw(st.sampled_from(named))), draw(st.booleans()))
    shapes = ["compare", "is", "in", *{"number": ["between"], "time": ["recent"]}.get(kind, [])]
    shapes += ["truth"] if kind == "boolean" else []
    match draw(st.sampled_from(shapes)):
        case "compare":
            other = draw(constants(kind) | values(types, kind))
            return ast.Compare(value, draw(st.sampled_from(COMPARISONS[kind])), other)  # type: ignore[arg-type]
        case "is":
            return ast.Is(value, draw(st.booleans()))
        case "in":
            literals = constants(kind).filter(lambda found: isinstance(found, ast.Literal))
            options = draw(st.lists(literals, min_size=1, max_size=3))
            return ast.In(value, tuple(options), draw(st.booleans()))  # type: ignore[arg-type]
        case "between":
            return ast.Between(value, draw(constants(kind)), draw(constants(kind)))
        case "recent":
            return ast.Recent(value, draw(durations))
        case _:
            return ast.Truth(value)


@st.composite
def sequences(draw: st.DrawFn) -> ast.Rule:
    first, then = draw(st.sampled_from(sorted(CATALOG.events))), draw(st.sampled_from(sorted(CATALOG.events)))
    return ast.Sequence(
        draw(st.sampled_from(["any", "latest"])),
        first,
        draw(st.none() | atoms(dict(CATALOG.events[first]))) if CATALOG.events[first] else None,
        draw(st.booleans()),
        then,
        draw(st.none() | atoms(dict(CATALOG.events[then]))) if CATALOG.events[then] else None,
        draw(durations),
        draw(windows),
    )


def rules(types: dict[str, Type] | None, *, atoms_only: bool = False, depth: int = 2) -> st.SearchStrategy[ast.Rule]:
    leaf = atoms(types) if types is not None else atoms(None) | sequences()
    if atoms_only or depth == 0:
        return leaf
    inner = rules(types, depth=depth - 1)
    both = st.lists(inner, min_size=2, max_size=3).map(tuple)
    flat_and = both.map(lambda parts: tuple(p for p in parts if not isinstance(p, ast.And))).filter(
        lambda p: len(p) > 1
    )
    flat_or = both.map(lambda parts: tuple(p for p in parts if not isinstance(p, ast.Or))).filter(lambda p: len(p) > 1)
    return leaf | flat_and.map(ast.And) | flat_or.map(ast.Or) | inner.map(ast.Not)


def store(warehouse: DuckDBWarehouse, persons: list[Person]) -> None:
    schema = pa.schema([("person_id", pa.string()), *((n, ARROW[kind]) for n, kind in CATALOG.attributes.items())])
    rows = [{"person_id": f"p{n}", **person.attributes} for n, person in enumerate(persons)]
    warehouse.write("profile.person", [pa.RecordBatch.from_pylist(rows, schema=schema)], schema=schema)
    for event, types in CATALOG.events.items():
        columns = [("person_id", pa.string()), ("occurred_at", ARROW["timestamp"])]
        schema = pa.schema([*columns, *((name, ARROW[kind]) for name, kind in types.items())])
        rows = [
            {"person_id": f"p{n}", "occurred_at": found.at, **found.properties}
            for n, person in enumerate(persons)
            for found in person.events
            if found.name == event
        ]
        warehouse.write(f"profile.event__{event}", [pa.RecordBatch.from_pylist(rows, schema=schema)], schema=schema)


WAREHOUSE = DuckDBWarehouse(threads=1)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.lists(rules(None), min_size=1, max_size=6), people, st.sampled_from(NOWS))
def test_batch_and_person_agree_on_every_rule_person_and_clock(
    made: list[ast.Rule], persons: list[Person], now: datetime
) -> None:
    store(WAREHOUSE, persons)
    segments = [Segment(f"s{n}", "test", "ads", rule) for n, rule in enumerate(made)]
    evaluate(WAREHOUSE, segments, CATALOG, now=now, run_id="run")
    published = {
        (row["segment"], row["person_id"])
        for row in WAREHOUSE.sql("SELECT segment, person_id FROM segment.membership").to_pylist()
    }
    clock = Clock(now, CATALOG.zone())
    judged = {
        (f"s{n}", f"p{number}")
        for number, person in enumerate(persons)
        for n, rule in enumerate(made)
        if Judge(person, clock).holds(rule)
    }
    wrong = {(spell(made[int(segment[1:])]), person) for segment, person in published ^ judged}
    assert not wrong


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(rules(None))
def test_a_rule_is_read_back_from_its_own_spelling(rule: ast.Rule) -> None:
    assert parse(spell(rule)) == rule
    assert [fault for fault in check(rule, CATALOG) if "two constants" not in fault.sentence] == []


def test_strategies_reach_every_kind_of_node() -> None:
    seen: set[type] = set()

    @settings(
        max_examples=600,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(rules(None))
    def collect(rule: ast.Rule) -> None:
        seen.update(type(node) for node, _ in ast.walk(rule))

    collect()
    left_out = (ast.Percentile, ast.InSegment, ast.Score, ast.Node)
    expected = [kind for kind in vars(ast).values() if isinstance(kind, type) and issubclass(kind, ast.Node)]
    assert [kind for kind in expected if kind not in seen and kind not in left_out] == []
