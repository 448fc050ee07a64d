"""Read one table or query in the order of its cursor, each row once, and notice which rows are gone.

One statement is streamed from a server-side cursor, sorted by cursor and key; a read that breaks off goes on
behind the last row it gave (keyset), so that equal cursors lose and repeat nothing. Rows without a cursor value
come with every read, because nothing would tell that they changed. A transaction that commits late leaves rows
with an older cursor behind; each read reaches back a little and leaves out what it gave before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import exc

from consentry.connectors.base import Page, State
from consentry.connectors.sql_keys import KnownKeys
from consentry.connectors.sql_values import batch, from_json, to_json

PAGE_ROWS = 10_000
# More rows of the overlap than this are not remembered; they come twice then, which their key mends.
SEEN_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read: the rows, what sorts them, and whether deleted ones are looked for.

    overlap: how far below the last cursor a read begins, in seconds or units; a minute for times by default.
    """

    name: str
    rows: sa.FromClause
    schema: pa.Schema
    key: tuple[str, ...]
    cursor: str | None
    overlap: int | None
    known: KnownKeys | None


class SqlRead:
    """One read; its state is plain JSON and stands in every page.

    phase: rows, empty (rows without a cursor value), keys or done. after: cursor and key of the last row.
    top: the highest cursor seen; seen, fresh: rows of the overlap, of the read before and for the read after.
    generation: of the known keys.
    """

    def __init__(self, wanted: Wanted, state: State) -> None:
        self._wanted = wanted
        self._place = {name: place for place, name in enumerate(wanted.schema.names)}
        self._state: dict[str, Any] = {"phase": "rows", "top": None, "generation": 0, **state}
        if self._state["phase"] == "done":
            kept = {name: self._state[name] for name in ("top", "generation")}
            self._state = {**kept, "phase": "rows", "from": kept["top"], "seen": self._state.get("fresh", [])}
        self._fresh = dict.fromkeys(self._state.get("fresh", []))
        self._seen = frozenset(self._state.get("seen", []))

    def pages(self, connection: sa.Connection) -> Iterator[Page]:
        """Go through the phases that are left."""
        if self._state["phase"] == "rows":
            yield from self._rows(connection)
            self._enter("empty")
        if self._state["phase"] == "empty":
            if self._wanted.cursor and getattr(self._wanted.rows.c[self._wanted.cursor], "nullable", True):
                yield from self._without_cursor(connection)
            self._enter("keys")
        if self._state["phase"] == "keys" and self._wanted.known:
            yield from self._gone(connection, self._wanted.known)
        self._enter("done")
        self._state.pop("seen", None)
        self._state.pop("from", None)
        yield Page(batch([], self._wanted.schema, self._wanted.name), self._written())

    def _rows(self, connection: sa.Connection) -> Iterator[Page]:
        wanted = self._wanted
        order = [wanted.rows.c[name] for name in ((wanted.cursor,) if wanted.cursor else ()) + wanted.key]
        query = sa.select(wanted.rows).order_by(*order)
        if wanted.cursor:
            query = query.where(order[0].is_not(None))
        if "after" in self._state:
            query = query.where(_behind(order, [from_json(value) for value in self._state["after"]]))
        elif wanted.cursor and self._state.get("from") is not None:
            query = query.where(order[0] >= self._low(from_json(self._state["from"])))
        edge = self._edge(connection)
        with closing(self._streamed(connection, query)) as parts:
            for rows in parts:
                new = [row for row in rows if self._is_new(row, edge)]
                self._state["after"] = [to_json(rows[-1][self._place[column.name]]) for column in order]
                if wanted.cursor:
                    self._state["top"] = self._state["after"][0]
                yield Page(batch(new, wanted.schema, wanted.name), self._written())

    def _without_cursor(self, connection: sa.Connection) -> Iterator[Page]:
        wanted = self._wanted
        order = [wanted.rows.c[name] for name in wanted.key]
        query = sa.select(wanted.rows).where(wanted.rows.c[wanted.cursor or ""].is_(None)).order_by(*order)
        if "after" in self._state:
            query = query.where(_behind(order, [from_json(value) for value in self._state["after"]]))
        with closing(self._streamed(connection, query)) as parts:
            for rows in parts:
                self._state["after"] = [to_json(rows[-1][self._place[column.name]]) for column in order]
                yield Page(batch(rows, wanted.schema, wanted.name), self._written())

    def _gone(self, connection: sa.Connection, known: KnownKeys) -> Iterator[Page]:
        """Compare the keys of now with those of the last read; each that is gone comes as a tombstone."""
        wanted, before = self._wanted, self._state["generation"]
        known.forget([before])
        query = sa.select(*(wanted.rows.c[name] for name in wanted.key))
        schema = pa.schema([wanted.schema.field(name) for name in wanted.key])
        known.write(before + 1, (batch(rows, schema, wanted.name) for rows in self._streamed(connection, query)))
        for keys in known.gone(before, before + 1):
            deleted = pa.repeat(pa.scalar(True), keys.num_rows)
            yield Page(keys.append_column(pa.field("_deleted", pa.bool_()), deleted), self._written())
        self._state["generation"] = before + 1

    def _streamed(
        self, connection: sa.Connection, query: sa.Select[Any]
    ) -> Generator[Sequence[sa.Row[Any]], None, None]:
        found = connection.execution_options(stream_results=True, max_row_buffer=PAGE_ROWS).execute(query)
        try:
            while rows := found.fetchmany(PAGE_ROWS):
                yield rows
        finally:
            # A reader that was given up may find the connection closed before its cursor.
            with suppress(exc.SQLAlchemyError):
                found.close()

    def _enter(self, phase: str) -> None:
        self._state["phase"] = phase
        self._state.pop("after", None)

    def _written(self) -> dict[str, Any]:
        return {**self._state, "fresh": list(self._fresh)}

    def _low(self, top: Any) -> Any:
        back = _overlap(self._wanted.overlap, top)
        return top if back is None else top - back

    def _edge(self, connection: sa.Connection) -> Any:
        """Return the cursor from which on the next read looks again."""
        if not self._wanted.cursor:
            return None
        top = connection.execute(sa.select(sa.func.max(self._wanted.rows.c[self._wanted.cursor]))).scalar()
        return None if top is None else self._low(top)

    def _is_new(self, row: sa.Row[Any], edge: Any) -> bool:
        """Tell whether the row, as it is, did not come with the read before; note it for the read after."""
        if self._wanted.cursor is None:
            return True
        cursor = row[self._place[self._wanted.cursor]]
        in_overlap = edge is not None and cursor >= edge
        if not in_overlap and not self._seen:
            return True
        mark = _mark([cursor, *(row[self._place[name]] for name in self._wanted.key)])
        if in_overlap and len(self._fresh) < SEEN_MAX:
            self._fresh[mark] = None
        return mark not in self._seen


def _behind(order: Sequence[sa.ColumnElement[Any]], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Return (a, b, c) > (x, y, z), spelled out: not every database compares rows."""
    column, value = order[0], values[0]
    if len(order) == 1:
        return sa.and_(column > value)
    return sa.or_(column > value, sa.and_(column == value, _behind(order[1:], values[1:])))


def _mark(values: Sequence[Any]) -> str:
    text = json.dumps([to_json(value) for value in values])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _overlap(asked: int | None, top: object) -> timedelta | int | None:
    if isinstance(top, datetime):
        return timedelta(seconds=60 if asked is None else asked)
    return asked if isinstance(top, int) and asked else None
