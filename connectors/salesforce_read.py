"""Read one Salesforce object: a window of SystemModstamp, in the order of (SystemModstamp, Id).

Many records share one SystemModstamp, and it moves while one reads (airbyte #17615, #17148; tap-salesforce #135).
So what was read is remembered as the last pair of stamp and id, never as a stamp alone; a record that changes
while it is read leaves the window and comes with the next one. A transaction that commits late carries an older
stamp (estuary #2678), so that windows overlap; what the last read saw in the overlap is left out.

Deleted and merged records come with `queryAll` and IsDeleted = true, as long as the recycle bin keeps them (15 days).
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions at import, where no checker sees them.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from consentry.connectors.base import Page, State
from consentry.connectors.http import Answer, HttpClient, HttpFailed
from consentry.connectors.overlap import Overlap
from consentry.connectors.paging import repeated
from consentry.connectors.salesforce_bulk import Bulk
from consentry.connectors.tombstones import with_tombstones
from consentry.connectors.versions import ApiVersion
from consentry.errors import SourceFailed

VERSION = "v67.0"
# Summer '26, released in June 2026; a version is supported for at least three years.
API = ApiVersion("Salesforce", VERSION, date(2029, 6, 1), "Salesforce, API End-of-Life Policy, November 2026")
DATA = f"/services/data/{VERSION}"
# Salesforce refuses URIs beyond 16,384 bytes; longer queries go through a bulk job, whose query is a body.
URL_QUERY = 12_000
_LOST_CURSOR = frozenset({"INVALID_QUERY_LOCATOR", "INVALID_SESSION_LOCATOR", "QUERY_LOCATOR_NOT_FOUND"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read of an object. stamp: its modified date. instants: the fields that are moments.

    deleted: whether deleted records come too. having: a further SOQL condition. bulk: whether by a bulk job.
    """

    object: str
    fields: tuple[str, ...]
    stamp: str
    instants: frozenset[str]
    deleted: bool
    bulk: bool
    having: str = ""


class Read:
    """One read of one object; its state is plain JSON and stands in every page.

    since, until: the window, as text that sorts. at: stamp and id of the last record that was read in order.
    job, locator: the bulk job under way and where its results go on. seen: {id: stamp} of the overlap of the read
    before; fresh: the same, gathered for the read after.
    """

    def __init__(
        self,
        http: HttpClient,
        wanted: Wanted,
        state: State,
        *,
        now: datetime,
        overlap: timedelta,
        sleep: Callable[[float], None],
    ) -> None:
        self._http, self._wanted, self._bulk = http, wanted, Bulk(http, DATA, sleep)
        self._state: dict[str, Any] = {"phase": "read", "since": None, "until": _written(now), **state}
        if self._state["phase"] == "done":
            since = _written(_moment(self._state["until"]) - overlap)
            self._state = {"phase": "read", "since": since, "until": _written(now), "seen": self._state.get("seen", {})}
        begin = _written(_moment(self._state["until"]) - overlap)
        self._overlap = Overlap(begin, self._state.get("seen", {}), dict(self._state.get("fresh", {})))

    def pages(self) -> Iterator[Page]:
        """Yield the window's records; the last page's state closes it."""
        by_job = "job" in self._state or (self._wanted.bulk and "at" not in self._state)
        yield from self._by_job() if by_job else self._by_query()

    def _by_query(self) -> Iterator[Page]:
        answer = self._first()
        passed: set[str] = set()
        while True:
            found = _records(answer)
            if found:
                last = found[-1]
                self._state["at"] = [_instant(last[self._wanted.stamp]), last["Id"]]
            following = _following(answer)
            if following is None:
                yield self._ended(self._columns(found))
                return
            if following in passed:
                raise repeated("Salesforce")
            passed.add(following)
            yield self._page(self._columns(found))
            answer = self._next(following)

    def _first(self) -> Answer:
        path = f"{DATA}/queryAll" if self._wanted.deleted else f"{DATA}/query"
        return self._http.request("GET", path, params={"q": self._soql(ordered=True)})

    def _next(self, link: str) -> Answer:
        path, params = self._http.next_path(link)
        try:
            return self._http.request("GET", path, params=params)
        except HttpFailed as failed:
            if failed.code not in _LOST_CURSOR:
                raise
        # The cursor ran out; the keyset goes on behind the last record all the same.
        return self._first()

    def _by_job(self) -> Iterator[Page]:
        if "job" in self._state and not self._bulk.is_known(self._state["job"]):
            # Taken up too late: from the beginning of the window once more.
            self._state.pop("job")
            self._state.pop("locator", None)
        if "job" not in self._state:
            operation = "queryAll" if self._wanted.deleted else "query"
            self._state["job"] = self._bulk.start(operation, self._soql(ordered=False))
            # The job is remembered before it is waited for: a crash must not start it anew.
            yield self._page(self._empty())
        self._bulk.wait(self._state["job"])
        for table, locator in self._bulk.results(self._state["job"], self._wanted.fields, self._state.get("locator")):
            columns = {name: table[name] for name in self._wanted.fields}
            if locator is None:
                yield self._ended(columns)
                return
            self._state["locator"] = locator
            yield self._page(columns)

    def _soql(self, *, ordered: bool) -> str:
        stamp, since, at = self._wanted.stamp, self._state.get("since"), self._state.get("at")
        where = [f"{stamp} <= {self._state['until']}"]
        where += [f"{stamp} >= {since}"] if since else []
        where += [f"({stamp} > {at[0]} OR ({stamp} = {at[0]} AND Id > '{_plain_id(at[1])}'))"] if at else []
        where += [self._wanted.having] if self._wanted.having else []
        query = f"SELECT {', '.join(self._wanted.fields)} FROM {self._wanted.object} WHERE {' AND '.join(where)}"
        return f"{query} ORDER BY {stamp} ASC, Id ASC" if ordered else query

    def _columns(self, found: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
        return {
            name: pa.array([_text(record.get(name), name in self._wanted.instants) for record in found], pa.string())
            for name in self._wanted.fields
        }

    def _empty(self) -> dict[str, pa.Array]:
        return {name: pa.array([], pa.string()) for name in self._wanted.fields}

    def _page(self, columns: Mapping[str, Any]) -> Page:
        batch = pa.RecordBatch.from_pydict({name: _one_array(column) for name, column in columns.items()})
        known = zip(batch["Id"].to_pylist(), batch[self._wanted.stamp].to_pylist(), strict=True)
        kept = batch.filter(pa.array([self._overlap.is_new(id, stamp) for id, stamp in known], pa.bool_()))
        return Page(_with_flag(kept), {**self._state, "fresh": dict(self._overlap.fresh)})

    def _ended(self, columns: Mapping[str, Any]) -> Page:
        page = self._page(columns)
        return Page(page.records, {"phase": "done", "until": self._state["until"], "seen": page.state["fresh"]})


def _with_flag(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Make IsDeleted the boolean that it is, and tombstones of deleted records; everything else stays text."""
    place = batch.schema.get_field_index("IsDeleted")
    if place < 0:
        return with_tombstones(batch, [False] * batch.num_rows)
    gone = pc.equal(batch.column(place), "true")
    masters = batch["MasterRecordId"].to_pylist() if "MasterRecordId" in batch.schema.names else None
    return with_tombstones(batch.set_column(place, "IsDeleted", gone), gone.to_pylist(), masters)


def _one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _records(answer: Answer) -> list[dict[str, Any]]:
    found = answer.body.get("records") if isinstance(answer.body, Mapping) else None
    if not isinstance(found, list):
        raise SourceFailed("Salesforce answered without 'records'. Check base_url.", code="garbage")
    return found


def _following(answer: Answer) -> str | None:
    link = answer.body.get("nextRecordsUrl")
    return str(link) if link and not answer.body.get("done") else None


def _text(value: Any, instant: bool) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return _instant(str(value)) if instant else str(value)


def _instant(stamp: str) -> str:
    """Write a moment as bulk results do: REST writes +0000 for Z."""
    return stamp.removesuffix("+0000") + "Z" if stamp.endswith("+0000") else stamp


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(written: str) -> datetime:
    return datetime.fromisoformat(written)


def _plain_id(id: str) -> str:
    if not id.isascii() or not id.isalnum():
        raise SourceFailed("Salesforce gave an id that is none, so the query cannot go on behind it.", code="garbage")
    return id
