"""Read one stream of a declared API: page by page, from where the last read stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from consentry.connectors.base import Page, State
from consentry.connectors.http import Answer, HttpClient
from consentry.connectors.paging import Cursors, in_order, repeated
from consentry.connectors.rest_config import Offsets, RestConfig, RestCursor, RestStream
from consentry.connectors.rest_pages import Place, first_place, found_at, next_place, other_places
from consentry.errors import SourceFailed

Ask = Callable[[str, RestStream, Mapping[str, Any]], Answer | None]
Record = dict[str, Any]
# How often a read begins anew because records moved while it was paging.
RESTARTS = 5
# More records of the overlap than this are not remembered; they come twice then, which their key mends.
SEEN_MAX = 20_000


class RestRead:
    """One read; its state is plain JSON and stands in every page.

    place: where the next page is, absent when the read is done. since: the cursor that this read began with.
    top: the highest cursor so far, as the API writes it. seen, fresh: marks of records of the overlap, of the read
    before and for the read after. last: the mark of the last record, by which a shifted offset is noticed.
    """

    def __init__(
        self, http: HttpClient, ask: Ask, name: str, options: RestStream, config: RestConfig, state: State
    ) -> None:
        self._http, self._ask, self._name, self._options, self._config = http, ask, name, options, config
        self._state: dict[str, Any] = dict(state)
        if "place" not in state:
            self._state = {"place": first_place(options.paging), "since": state.get("top"), "top": state.get("top")}
            self._state["seen"] = state.get("fresh", [])
        self._fresh = dict.fromkeys(self._state.get("fresh", []))
        self._seen = frozenset(self._state.get("seen", []))

    def pages(self) -> Iterator[Page]:
        """Yield page after page; the last one's state is where the next read begins."""
        cursors, restarts = Cursors(self._config.name), 0
        before: list[Record] = []
        cursors.follow(_spelled(self._state["place"]))
        while True:
            place: Place = self._state["place"]
            answer = self._asked(place)
            records = self._records(answer)
            if self._has_shifted(place, records):
                restarts += 1
                if restarts > RESTARTS:
                    raise SourceFailed(
                        f"The records of {self._name!r} move faster than {self._config.name} can be paged. "
                        "Sort them by something that does not change, or page by cursor.",
                        code="moving_pages",
                    )
                cursors = Cursors(self._config.name)
                self._state["place"] = first_place(self._options.paging)
                self._state.pop("last", None)
                continue
            others = other_places(self._options.paging, answer, place) if answer else None
            if others is not None:
                yield from self._side_by_side(others, records)
                return
            # An API that does not know the parameter of a page gives the first one for ever.
            if records and records == before:
                raise repeated(self._config.name)
            before = records
            following = self._following(place, answer, len(records))
            cursors.follow(_spelled(following))
            yield self._page(records[1:] if place.get("offset") else records, following)
            if following is None:
                return

    def _side_by_side(self, others: Iterator[Place], records: list[Record]) -> Iterator[Page]:
        """Yield the pages that can be asked for together, in their order."""
        waiting = records
        fetched = in_order(
            lambda place: (place, self._records(self._asked(place))), others, at_once=self._config.at_once
        )
        for place, found in fetched:
            if found and found == waiting:
                raise repeated(self._config.name)
            yield self._page(waiting, place)
            waiting = found
        yield self._page(waiting, None)

    def _asked(self, place: Place) -> Answer | None:
        if "path" in place:
            return self._ask(place["path"], self._options, place["params"])
        return self._ask(
            self._options.path, self._options, {**self._options.params, **self._window(), **place["params"]}
        )

    def _window(self) -> dict[str, Any]:
        cursor = self._options.cursor
        if cursor is None:
            return {}
        since = self._state.get("since")
        value = cursor.first if since is None else _reached_back(cursor, since)
        return {} if value is None else {cursor.param: value}

    def _records(self, answer: Answer | None) -> list[Record]:
        if answer is None:
            return []
        found = found_at(answer.body, self._options.records)
        if isinstance(found, list) and all(isinstance(record, dict) for record in found):
            return found
        where = f"at {self._options.records!r}" if self._options.records else "in its answer"
        raise SourceFailed(
            f"{self._config.name} has no list of records {where} for stream {self._name!r}. Check 'records'.",
            code="no_records",
        )

    def _has_shifted(self, place: Place, records: list[Record]) -> bool:
        """Tell whether the record that was the last one is no longer where it was."""
        paging = self._options.paging
        if not isinstance(paging, Offsets) or paging.total or not place["offset"] or "last" not in self._state:
            return False
        return not records or self._key_mark(records[0]) != self._state["last"]

    def _following(self, place: Place, answer: Answer | None, count: int) -> Place | None:
        return None if answer is None else next_place(self._options.paging, place, answer, count, self._http)

    def _page(self, records: list[Record], following: Place | None) -> Page:
        if records:
            self._state["last"] = self._key_mark(records[-1])
        new = [record for record in records if self._is_new(record)]
        if following is not None:
            self._state["place"] = following
            return Page(self._batch(new), {**self._state, "fresh": list(self._fresh)})
        done = {"top": self._state.get("top")} if self._options.cursor else {}
        return Page(self._batch(new), {**done, "fresh": self._latest()} if done else {})

    def _is_new(self, record: Record) -> bool:
        """Tell whether the record, as it is, did not come with the read before; note it for the read after."""
        cursor = self._options.cursor
        value = found_at(record, cursor.field) if cursor else None
        if cursor is None or value is None:
            return True
        if self._state.get("top") is None or _order(cursor, value) > _order(cursor, self._state["top"]):
            self._state["top"] = value
        mark = f"{_order(cursor, value)}|{self._key_mark(record)}"
        self._fresh[mark] = None
        if len(self._fresh) > 2 * SEEN_MAX:
            self._fresh = dict.fromkeys(self._latest())
        return mark not in self._seen

    def _latest(self) -> list[str]:
        """Return the marks of records that the next read may bring again."""
        cursor, top = self._options.cursor, self._state.get("top")
        if cursor is None or top is None:
            return []
        low = _order(cursor, _reached_back(cursor, top)) if cursor.overlap else _order(cursor, top)
        return [mark for mark in self._fresh if mark.partition("|")[0] >= low][-SEEN_MAX:]

    def _key_mark(self, record: Record) -> str:
        values = [found_at(record, field) for field in self._options.key]
        return hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()[:20]

    def _batch(self, records: list[Record]) -> pa.RecordBatch:
        rows = [_flat(record) for record in records] if self._options.flatten else records
        names = dict.fromkeys([*self._options.key, *(name for row in rows for name in row)])
        columns = {name: pa.array([_text(row.get(name)) for row in rows], pa.string()) for name in names}
        if self._options.deleted:
            gone = [_is_set(found_at(record, self._options.deleted)) for record in records]
            columns["_deleted"] = pa.array(gone, pa.bool_())
        return pa.RecordBatch.from_pydict(columns)


def _spelled(place: Place | None) -> str:
    return json.dumps(place, sort_keys=True)


def _is_set(value: object) -> bool:
    return value not in (None, False, "", 0, "false")


def _flat(record: Mapping[str, Any], before: str = "") -> Record:
    flat: Record = {}
    for name, value in record.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return flat


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _moment(cursor: RestCursor, value: Any) -> datetime | None:
    try:
        if cursor.format == "iso":
            at = datetime.fromisoformat(str(value))
            return at if at.tzinfo else at.replace(tzinfo=UTC)
        scale = 1000 if cursor.format == "unix_ms" else 1
        return datetime.fromtimestamp(float(value) / scale, UTC)
    except (ValueError, OverflowError):
        pass
    message = f"The cursor {cursor.field!r} holds a value that is not {cursor.format}. Check 'cursor' of the stream."
    raise SourceFailed(message, code="bad_cursor")


def _order(cursor: RestCursor, value: Any) -> str:
    """Return text that sorts as the cursor does."""
    if cursor.format != "as_is":
        moment = _moment(cursor, value)
        return moment.astimezone(UTC).isoformat(timespec="microseconds") if moment else ""
    return f"{value:032.6f}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _reached_back(cursor: RestCursor, value: Any) -> Any:
    """Return the value to ask with: the overlap before the given one, in the API's own format."""
    if not cursor.overlap:
        return value
    moment = _moment(cursor, value)
    if moment is None:
        return value
    back = moment - timedelta(seconds=cursor.overlap)
    if cursor.format == "iso":
        return back.isoformat().replace("+00:00", "Z")
    return int(back.timestamp() * (1000 if cursor.format == "unix_ms" else 1))
