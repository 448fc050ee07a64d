"""The SQL that turns a person's events into features: one query an event name, values bound, never written.

Only features are worked out in SQL. Rules are combined outside it (see `masks`): boolean rules in SQL cost about
forty times more than the same on packed bits.

All values become one of two things, so that SQL, arrays and the in-process judge compare alike: a number (times
are microseconds since 1970 in UTC, booleans 1 and 0, what is not finite is missing) or a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consentry.model.names import quoted
from consentry.segments import ast
from consentry.segments.ast import Type
from consentry.segments.catalog import Catalog
from consentry.segments.clock import MICROS, Clock, micros
from consentry.segments.people import NUMBER, ORDINALS, PERSONS, PLACE

CHOSEN = "segment.chosen"
Between = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Layout:
    """How the profile's tables lie in the warehouse.

    numbered: the events whose table carries the ordinals and is sorted by them. persons_numbered: whether the table
    of people carries them. chosen: read only the people in segment.chosen, by their place in it and not by their
    ordinal. after: read only the events that happened after it, in microseconds since 1970.
    """

    numbered: frozenset[str] = frozenset()
    persons_numbered: bool = False
    chosen: bool = False
    after: int | None = None

    def events(self, event: str) -> str:
        """Return where the events of a name come from, each with its person's ordinal."""
        source = self._numbered(event_table(event), event in self.numbered)
        # An integer of ours, never a text.
        return (
            source if self.after is None else f"(SELECT * FROM {source} WHERE epoch_us(occurred_at) > {self.after:d})"
        )

    def persons(self) -> str:
        """Return where the attributes come from, each person with the ordinal."""
        return self._numbered(PERSONS, self.persons_numbered)

    def _numbered(self, table: str, carries: bool) -> str:
        joined = f"{table} JOIN {ORDINALS} USING (person_id)"
        source = f"(SELECT * RENAME ({NUMBER} AS ordinal) FROM {table})" if carries else joined
        if not self.chosen:
            return source
        return f"(SELECT * EXCLUDE (ordinal) RENAME ({PLACE} AS ordinal) FROM {source} JOIN {CHOSEN} USING (ordinal))"


@dataclass(slots=True)
class Query:
    """A statement that grows, with the values bound to it."""

    catalog: Catalog
    clock: Clock
    layout: Layout
    params: dict[str, object] = field(default_factory=dict)

    def bind(self, value: object) -> str:
        """Bind a value and return the name that stands for it."""
        name = f"v{len(self.params)}"
        self.params[name] = value
        return f"${name}"


def column(name: str, kind: Type, *, finite: bool = True) -> str:
    """Return the SQL that reads a column as a number or a text. finite: what is not finite is missing."""
    match kind:
        case "text":
            return f"CAST({quoted(name)} AS VARCHAR)"
        case "boolean":
            return f"CAST(CAST({quoted(name)} AS BOOLEAN) AS DOUBLE)"
        case "date" | "timestamp":
            return f"CAST(epoch_us({quoted(name)}) AS DOUBLE)"
        case "number" | "integer":
            number = f"CAST({quoted(name)} AS DOUBLE)"
            return f"CASE WHEN isfinite({number}) THEN {number} END" if finite else number


def plain(constant: ast.Constant) -> float | str:
    """Bring a constant to what columns hold."""
    match constant:
        case str():
            return constant
        case bool() | int() | float():
            return float(constant)
        case _:
            return float(micros(constant))


def event_table(event: str) -> str:
    return f"profile.event__{event}"


def attributes_query(catalog: Catalog, layout: Layout, names: Sequence[str]) -> str:
    """Read attributes, one row a person with the person's ordinal."""
    columns = [f"{column(name, catalog.attributes[name])} AS f{n}" for n, name in enumerate(names)]
    return f"SELECT {', '.join(['ordinal', *columns])} FROM {layout.persons()}"


def aggregate_query(
    catalog: Catalog, clock: Clock, layout: Layout, event: str, wanted: Sequence[ast.Aggregate]
) -> tuple[str, Mapping[str, object]]:
    """Work out features of one event: a row for each person with any of its events, columns f0, f1, ..."""
    query = Query(catalog, clock, layout)
    columns = [
        f"CAST(max(w{n}) AS DOUBLE) AS f{n}" if _is_any(value) else f"{_feature(query, value)} AS f{n}"
        for n, value in enumerate(wanted)
    ]
    windowed = [_greatest_input(query, value, n) for n, value in enumerate(wanted) if _is_any(value)]
    source = _events(query, event, low=min(clock.bounds(value.window)[0] for value in wanted))
    if windowed:
        source = f"(SELECT *, {', '.join(windowed)} FROM {source})"
    return f"SELECT ordinal, {', '.join(columns)} FROM {source} GROUP BY ordinal", query.params


def rows_query(
    catalog: Catalog, layout: Layout, event: str, names: Sequence[str], *, low: int, between: Between
) -> tuple[str, Mapping[str, object]]:
    """Read the events of a name themselves, future ones too: ordinal, t and the named properties as p_<name>.

    Numbers come as they are stored, infinite ones too. low: the earliest instant that counts, in microseconds since
    1970. between: a range of ordinals.
    """
    properties = catalog.events[event]
    columns = [f"{column(name, properties[name], finite=False)} AS {quoted('p_' + name)}" for name in names]
    listed = ", ".join(["ordinal", "epoch_us(occurred_at) AS t", *columns])
    # Compared as it is stored, which is quicker than turning every row into a number.
    query = f"SELECT {listed} FROM {layout.events(event)} WHERE occurred_at >= make_timestamptz($low)"
    if between is None:
        return query, {"low": low}
    first, last = between
    return f"{query} AND ordinal >= $first AND ordinal < $last", {"low": low, "first": first, "last": last}


def sequence_query(
    catalog: Catalog, clock: Clock, layout: Layout, rule: ast.Sequence
) -> tuple[str, Mapping[str, object]]:
    """Find the ordinals of the people for whom a sequence holds."""
    query = Query(catalog, clock, layout)
    starts = _moments(query, rule.first, rule.first_where, rule.window)
    if rule.pick == "latest":
        starts = f"(SELECT ordinal, max(t) AS t FROM {starts} GROUP BY ordinal)"
    ends = _moments(query, rule.then, rule.then_where, None)
    length = query.bind(rule.within.seconds * MICROS)
    follows = f"EXISTS (SELECT 1 FROM {ends} AS b WHERE b.ordinal = a.ordinal AND b.t > a.t AND b.t <= a.t + {length})"
    if rule.negated:
        # Whether B follows is known only once the time for it has passed.
        follows = f"a.t + {length} <= {query.bind(clock.now_us)} AND NOT {follows}"
    return f"SELECT DISTINCT a.ordinal AS ordinal FROM {starts} AS a WHERE {follows}", query.params


def _events(query: Query, event: str, *, low: int) -> str:
    """Return the events of a name up to now as a subquery: ordinal, t and each property p_<name>."""
    properties = query.catalog.events[event]
    columns = [f"{column(name, kind)} AS {quoted('p_' + name)}" for name, kind in properties.items()]
    listed = ", ".join(["ordinal", "epoch_us(occurred_at) AS t", *columns])
    inside = f"epoch_us(occurred_at) BETWEEN {query.bind(low)} AND {query.bind(query.clock.now_us)}"
    return f"(SELECT {listed} FROM {query.layout.events(event)} WHERE {inside})"


def _moments(query: Query, event: str, where: ast.Rule | None, window: ast.Window | None) -> str:
    chosen = _chosen(query, event, where, window)
    return f"(SELECT ordinal, t FROM {_events(query, event, low=query.clock.bounds(window)[0])} WHERE {chosen})"


def _chosen(query: Query, event: str, where: ast.Rule | None, window: ast.Window | None) -> str:
    low, high = query.clock.bounds(window)
    inside = f"t BETWEEN {query.bind(low)} AND {query.bind(high)}"
    return inside if where is None else f"{inside} AND {_condition(query, where, event)}"


def _is_any(value: ast.Aggregate) -> bool:
    return isinstance(value.window, ast.AnyWindow)


def _greatest_input(query: Query, value: ast.Aggregate, number: int) -> str:
    """Return a column with the count or sum of the window that ends at each event."""
    assert isinstance(value.window, ast.AnyWindow)
    counted = _input(query, value)
    # An offset of a window frame must be a plain number: it is an integer of ours, never a text.
    length = int(value.window.duration.seconds * MICROS)
    frame = f"PARTITION BY ordinal ORDER BY t RANGE BETWEEN {length} PRECEDING AND CURRENT ROW"
    function = "count" if value.function == "count" else "fsum"
    made = f"{function}({counted}) OVER ({frame})"
    return f"CASE WHEN {counted} IS NOT NULL THEN {made} END AS w{number}"


def _input(query: Query, value: ast.Aggregate) -> str:
    """Return what an aggregate takes of each event: NULL for the events that it leaves out."""
    chosen = _chosen(query, value.event, value.where, value.window)
    if value.property is not None:
        return f"CASE WHEN {chosen} THEN {quoted('p_' + value.property)} END"
    return f"CASE WHEN {chosen} THEN t END"


def _feature(query: Query, value: ast.Aggregate) -> str:
    if value.function == "days_active":
        return f"CAST(count(DISTINCT {_day(query, _input(query, value))}) AS DOUBLE)"
    taken = _input(query, value)
    match value.function:
        case "count" | "min" | "max":
            return f"CAST({value.function}({taken}) AS DOUBLE)"
        case "sum":
            return f"fsum({taken})"
        case "avg":
            return f"favg({taken})"
        case "distinct":
            return f"CAST(count(DISTINCT {taken}) AS DOUBLE)"
    if value.property is None:
        return f"CAST({'min' if value.function == 'first' else 'max'}({taken}) AS DOUBLE)"
    # Two events of the same instant: the smaller value is first, the greater is last, whatever the row order.
    function = "arg_min" if value.function == "first" else "arg_max"
    return f"{function}({taken}, CASE WHEN {taken} IS NOT NULL THEN row(t, {taken}) END)"


def _day(query: Query, instant: str) -> str:
    if query.catalog.time_zone == "UTC":
        return f"({instant}) // {86_400 * MICROS}"
    return f"CAST(timezone({query.bind(query.catalog.time_zone)}, make_timestamptz({instant})) AS DATE)"


# --- conditions on one event, two-valued: a comparison with a missing value is false ------------------------


def _condition(query: Query, rule: ast.Rule, event: str) -> str:
    match rule:
        case ast.And(parts):
            return "(" + " AND ".join(_condition(query, part, event) for part in parts) + ")"
        case ast.Or(parts):
            return "(" + " OR ".join(_condition(query, part, event) for part in parts) + ")"
        case ast.Not(part):
            return f"(NOT {_condition(query, part, event)})"
        case ast.Is(value, missing):
            return f"({_operand(query, value)} IS {'' if missing else 'NOT '}NULL)"
        case _:
            return f"coalesce({_comparison(query, rule)}, FALSE)"


def _comparison(query: Query, rule: ast.Rule) -> str:
    match rule:
        case ast.Compare(left, op, right):
            sign = {"==": "=", "!=": "<>"}.get(op, op)
            return f"{_operand(query, left)} {sign} {_operand(query, right)}"
        case ast.Between(value, low, high):
            return f"{_operand(query, value)} BETWEEN {_operand(query, low)} AND {_operand(query, high)}"
        case ast.In(value, options, negated):
            listed = ", ".join(_operand(query, option) for option in options)
            return f"{_operand(query, value)} {'NOT ' if negated else ''}IN ({listed})"
        case ast.Recent(value, duration):
            begin, end = query.bind(float(query.clock.ago(duration.seconds))), query.bind(float(query.clock.now_us))
            return f"{_operand(query, value)} BETWEEN {begin} AND {end}"
        case ast.Truth(value):
            return f"{_operand(query, value)} = 1"
        case _:
            raise AssertionError("The checker lets no other rule stand inside 'where'.")


def _operand(query: Query, value: ast.Value) -> str:
    match value:
        case ast.Name(name):
            return quoted("p_" + name)
        case ast.Literal(constant):
            return query.bind(plain(constant))
        case ast.Ago(duration):
            return query.bind(float(query.clock.ago(duration.seconds)))
        case _:
            raise AssertionError("The checker lets no other value stand inside 'where'.")
