"""Keep what rules knew of people at earlier evaluations, for a stated time, and read it back.

`profile.earlier` has the values that were replaced and until when each held, `profile.earlier_name` since when the
values of a name are kept, `profile.earlier_person` since when those of a person are, where that is later. What was not
replaced is as it is now. Instants are those of the real clock: times of evaluations may be fixed or put back by a job.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from consentry.model.names import quoted
from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.people import ORDINALS, PERSONS
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON

EARLIER = "profile.earlier"
_NAME = "profile.earlier_name"
_PERSON = "profile.earlier_person"
_COLUMNS = {
    EARLIER: f"person_id {PERSON}, name TEXT, value TEXT, until TIMESTAMPTZ",
    _NAME: "source TEXT, name TEXT, type TEXT, since TIMESTAMPTZ",
    _PERSON: f"person_id {PERSON}, since TIMESTAMPTZ",
}


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is known of a person as of then. values: those that were replaced since, by name.

    of_now: names whose values of then are not kept; those of now stand for them.
    """

    # Whatever the columns hold.
    values: Mapping[str, Any]
    of_now: frozenset[str]


def names_read(nodes: Iterable[ast.Node], catalog: Catalog) -> frozenset[str]:
    """Return the attributes and served values that rules and values look at of a person, through scores too."""
    waiting, found = list(nodes), set[str]()
    while waiting:
        match waiting.pop():
            case ast.Name(name):
                found.add(name)
            case ast.Aggregate() | ast.Sequence() | ast.Percentile():
                pass  # names inside `where` are properties, and a percentile is known by itself
            case ast.Score() as wanted:
                definition, name = catalog.scored(wanted), f"{wanted.family}.{wanted.name}"
                if definition is not None:
                    waiting.extend(definition.values)
                elif catalog.served[name].table != ORDINALS:  # else it follows from the id of the person alone
                    found.add(name)
            case node:
                waiting.extend(ast.children(node))
    return frozenset(found)


def replace_people(
    warehouse: Warehouse,
    staged: str,
    names: Collection[str],
    *,
    unsettled: str,
    now: datetime,
    keep: timedelta,
    **params: object,
) -> None:
    """Put a staged profile in the place of the one before, and keep what it replaces, in one atomic step.

    names: of attributes and served values, all that is kept. unsettled: a query of `person_id` and `at`: data of
    somebody went to another person or away then, so that nothing from before is kept of whom it was taken from. params:
    those of that query. Nothing is kept either of who is no longer in the profile, of attributes that are gone or have
    another type, and of what was replaced longer ago than `keep`.
    """
    _make_tables(warehouse)
    with warehouse.transaction():
        _forget_names(warehouse, "NOT list_contains($names, name)", names=[*names, ""])
        same = _settle_names(warehouse, PERSONS, staged, {name: name for name in names}, now=now)
        if same:
            _keep_changes(warehouse, PERSONS, staged, same, now=now)
        if warehouse.has(PERSONS):
            newcomers = f"SELECT n.person_id FROM {staged} AS n ANTI JOIN {PERSONS} USING (person_id)"
            _begin_anew(warehouse, newcomers, now=now)
        _begin_anew(warehouse, _taken_from(unsettled), now=now, **params)
        _rename(warehouse, staged, PERSONS)
        _purge(warehouse, before=now - keep)


def replace_served(warehouse: Warehouse, table: str, staged: str, columns: Mapping[str, str], *, now: datetime) -> None:
    """Put staged values that are served of people in the place of those before, and keep what they replace.

    columns: by the names that rules use, of those that are kept. To be done in a transaction. Somebody who is not in
    the table has no value.
    """
    if columns:
        _make_tables(warehouse)
        same = _settle_names(warehouse, table, staged, columns, now=now)
        if same:
            _keep_changes(warehouse, table, staged, same, now=now, join="FULL JOIN")
            _forget_others(warehouse)
    _rename(warehouse, staged, table)


def _make_tables(warehouse: Warehouse) -> None:
    for table, columns in _COLUMNS.items():
        warehouse.sql(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")


def _rename(warehouse: Warehouse, staged: str, table: str) -> None:
    warehouse.drop(table)
    warehouse.sql(f"ALTER TABLE {staged} RENAME TO {table.split('.')[1]}")


def forget_earlier(warehouse: Warehouse) -> None:
    """Let go of all earlier values."""
    for table in _COLUMNS:
        warehouse.drop(table)


def earlier(warehouse: Warehouse, person: str, names: Collection[str], at: datetime | None) -> Earlier:
    """Return what rules knew of a person under these names at an instant of the real clock; None is not known when."""
    kinds = _kept_at(warehouse, person, at) if at is not None and warehouse.has(EARLIER) else {}
    query = (
        f"SELECT name, value FROM {EARLIER} WHERE person_id = TRY_CAST($person AS {PERSON}) AND until > $at"
        " QUALIFY row_number() OVER (PARTITION BY name ORDER BY until) = 1"
    )
    rows = warehouse.sql(query, person=person, at=at).to_pylist() if kinds else []
    values = {
        row["name"]: warehouse.sql(f"SELECT CAST($value AS {kinds[row['name']]}) AS v", value=row["value"])["v"][
            0
        ].as_py()
        for row in rows
        if row["name"] in kinds and row["name"] in names
    }
    return Earlier(values, frozenset(names) - kinds.keys())


def _kept_at(warehouse: Warehouse, person: str, at: datetime) -> dict[str, str]:
    """Return the names whose values as of then are known of a person, with their SQL types."""
    query = (
        f"SELECT name, type FROM {_NAME} WHERE since <= $at AND NOT EXISTS"
        f" (SELECT 1 FROM {_PERSON} WHERE person_id = TRY_CAST($person AS {PERSON}) AND since > $at)"
    )
    return {row["name"]: row["type"] for row in warehouse.sql(query, person=person, at=at).to_pylist()}


def _settle_names(
    warehouse: Warehouse, source: str, staged: str, columns: Mapping[str, str], *, now: datetime
) -> dict[str, str]:
    """Note which columns of a table are kept from now on, and return those that were kept before, in the same type."""
    kinds = warehouse.columns(staged)
    types = {name: kinds[column] for name, column in columns.items() if column in kinds}
    rows = warehouse.sql(f"SELECT name, type FROM {_NAME} WHERE source = $source", source=source).to_pylist()
    known = {row["name"]: row["type"] for row in rows}
    same = {name: columns[name] for name, kind in types.items() if known.get(name) == kind}
    _forget_names(warehouse, "list_contains($names, name)", names=[*(known.keys() - same.keys()), ""])
    for name in types.keys() - same.keys():
        row = {"source": source, "name": name, "kind": types[name], "now": now}
        warehouse.sql(f"INSERT INTO {_NAME} VALUES ($source, $name, $kind, $now)", **row)
    return same


def _forget_names(warehouse: Warehouse, which: str, *, names: list[str]) -> None:
    for table in (EARLIER, _NAME):
        warehouse.sql(f"DELETE FROM {table} WHERE {which}", names=names)


def _keep_changes(
    warehouse: Warehouse, before: str, after: str, columns: Mapping[str, str], *, now: datetime, join: str = "JOIN"
) -> None:
    """Keep what is another value in the later table. columns: by the names they are kept under."""
    moved = [f"o.{quoted(column)} IS DISTINCT FROM n.{quoted(column)}" for column in columns.values()]
    cells = ", ".join(
        f"{{'name': $name{n}, 'value': CAST(o.{quoted(column)} AS TEXT), 'moved': {moved[n]}}}"
        for n, column in enumerate(columns.values())
    )
    warehouse.sql(
        f"INSERT INTO {EARLIER} SELECT CAST(person_id AS {PERSON}), cell.name, cell.value, $now FROM"
        f" (SELECT person_id, unnest([{cells}]) AS cell FROM {before} AS o {join} {after} AS n USING (person_id)"
        f" WHERE {' OR '.join(moved)}) WHERE cell.moved",
        now=now,
        **{f"name{n}": name for n, name in enumerate(columns)},
    )


def _taken_from(unsettled: str) -> str:
    return (
        f"SELECT DISTINCT u.person_id FROM ({unsettled}) AS u LEFT JOIN {_PERSON} AS p USING (person_id)"
        f" WHERE u.at > coalesce(p.since, (SELECT min(since) FROM {_NAME}))"
    )


def _begin_anew(warehouse: Warehouse, people: str, *, now: datetime, **params: object) -> None:
    """Let nothing be known of some people from before now."""
    warehouse.sql(f"INSERT INTO {_PERSON} SELECT person_id, $now FROM ({people})", now=now, **params)
    among = f"person_id IN (SELECT person_id FROM {_PERSON} WHERE since = $now)"
    warehouse.sql(f"DELETE FROM {EARLIER} WHERE {among}", now=now)
    warehouse.sql(f"DELETE FROM {_PERSON} WHERE since < $now AND {among}", now=now)


def _purge(warehouse: Warehouse, *, before: datetime) -> None:
    warehouse.sql(f"DELETE FROM {EARLIER} WHERE until < $before", before=before)
    warehouse.sql(f"DELETE FROM {_PERSON} WHERE since < $before", before=before)
    warehouse.sql(f"UPDATE {_NAME} SET since = $before WHERE since < $before", before=before)
    _forget_others(warehouse)


def _forget_others(warehouse: Warehouse) -> None:
    """Let go of what is kept of people who are not in the profile."""
    for table in (EARLIER, _PERSON):
        present = f"SELECT 1 FROM {PERSONS} AS p WHERE p.person_id = kept.person_id"
        warehouse.sql(f"DELETE FROM {table} AS kept WHERE NOT EXISTS ({present})")
