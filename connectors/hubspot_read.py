"""Read one kind of HubSpot record: all of it, then what changed.

The first read lists every record. Later reads search what changed in a window of time, in the order of
`hs_object_id`, and ask each time for what lies behind the last id: so the search never comes near its cap of
10,000 results, and any number of records may share one timestamp (airbyte #10700, #43317, #44899). A record
may become searchable minutes after it changed, so that windows overlap; what the last read saw in the overlap
is left out (airbyte #69203). Archived records are no part of the search; they are listed, and flagged.

A record that was merged into another appears nowhere any more (airbyte #35017, tap-hubspot #64). The other one names
it in `hs_merged_object_ids` and is changed by the merge, so that its tombstone comes in the page of the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from consentry.connectors.base import Page, State
from consentry.connectors.http import Answer, HttpClient
from consentry.connectors.paging import repeated
from consentry.connectors.tombstones import with_tombstones
from consentry.connectors.versions import ApiVersion
from consentry.errors import SourceFailed

VERSION = "2026-09"
# Released on 2026-09-08; a version is supported for 18 months.
API = ApiVersion("HubSpot", VERSION, date(2028, 3, 8), "HubSpot, Developer platform and API versioning, November 2026")
LIST_MAX = 100
SEARCH_MAX = 200
# Longer URLs are refused with 414 (airbyte #13691, dlt verified-sources #305).
URL_PROPERTIES = 4_000
READ_PROPERTIES = 500
# More than this is not carried along; rows of the overlap then come twice, which their key mends.
SEEN_MAX = 20_000
FIXED = ("id", "createdAt", "updatedAt", "archived")
MERGED_IDS = "hs_merged_object_ids"
# The kinds that HubSpot can merge.
MERGEABLE = frozenset({"contacts", "companies", "deals", "tickets"})


@dataclass(frozen=True, slots=True)
class ObjectType:
    """One kind of record: its name in paths, and the property that moves when it changes (amp-labs #45)."""

    name: str
    modified: str


OBJECTS = {
    found.name: found
    for found in (
        ObjectType("contacts", "lastmodifieddate"),
        *(
            ObjectType(name, "hs_lastmodifieddate")
            for name in (
                "companies", "deals", "tickets", "leads", "products", "line_items", "quotes",
                "calls", "communications", "emails", "meetings", "notes", "tasks",
            )
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read: a kind of record, its properties, whether archived ones come too.

    having: only records that have this property are read.
    """

    found: ObjectType
    properties: tuple[str, ...]
    archived: bool
    having: str | None = None

    def asked(self) -> tuple[str, ...]:
        """Return the properties to ask for: those that are read, and the one that tells of merges."""
        merges = (MERGED_IDS,) if self.found.name in MERGEABLE else ()
        return tuple(dict.fromkeys((*self.properties, *merges)))


class Read:
    """One read of one kind of record; its state is plain JSON and stands in every page.

    phase: list, archived, search or done. after: the list's cursor. since, until: the window in milliseconds.
    last_id: the highest id of the search so far. seen: {id: modified} of the overlap of the read before.
    fresh: the same, gathered for the read after.
    """

    def __init__(self, http: HttpClient, wanted: Wanted, state: State, *, now_ms: int, overlap_ms: int) -> None:
        self._http, self._wanted, self._overlap_ms = http, wanted, overlap_ms
        self._modified = wanted.found.modified
        self._path = f"/crm/objects/{VERSION}/{wanted.found.name}"
        # Only the search can leave records out, so what is filtered is searched from the beginning of time.
        begin = {"phase": "search", "since": 0} if wanted.having else {"phase": "list", "since": None}
        self._state: dict[str, Any] = {**begin, "until": now_ms, **state}
        if self._state["phase"] == "done":
            since = self._state["until"] - overlap_ms
            self._state = {"phase": "search", "since": since, "until": now_ms, "seen": self._state.get("seen", {})}
        self._state["fresh"] = dict(self._state.get("fresh", {}))

    def pages(self) -> Iterator[Page]:
        """Yield the records in columns, before them tombstones of those that were merged into them."""
        for records, state in self.records():
            yield Page(_batch(records, self._wanted.properties), state)

    def records(self) -> Iterator[tuple[list[dict[str, Any]], State]]:
        """Go through the phases that are left, page by page; the state behind each says where it stands."""
        if self._state["phase"] == "list":
            yield from self._listed(archived=False)
        if self._state["phase"] == "search":
            yield from self._searched()
        if self._state["phase"] == "archived":
            yield from self._listed(archived=True)

    def _listed(self, *, archived: bool) -> Iterator[tuple[list[dict[str, Any]], State]]:
        passed: set[str] = set()
        while True:
            after = self._state.get("after")
            answer = self._list_page(after, archived)
            following = (body_of(answer).get("paging") or {}).get("next", {}).get("after")
            if following is not None and (following in passed or following == after):
                raise repeated("HubSpot")
            passed.add(str(following))
            records = [record for record in self._whole(results(answer), archived) if self._is_new(record, archived)]
            if following is None:
                self._next_phase()
                yield records, self._kept()
                return
            self._state["after"] = following
            yield records, self._kept()

    def _list_page(self, after: str | None, archived: bool) -> Answer:
        params = {
            "limit": str(LIST_MAX),
            "archived": "true" if archived else "false",
            "properties": ",".join(self._chunks()[0]),
        }
        return self._http.request("GET", self._path, params=params | ({"after": after} if after else {}))

    def _searched(self) -> Iterator[tuple[list[dict[str, Any]], State]]:
        while True:
            answer = self._search_page()
            found = results(answer)
            last = _number(self._state.get("last_id") or 0)
            if any(_number(record["id"]) <= last for record in found):
                raise repeated("HubSpot")
            ended = len(found) < SEARCH_MAX
            records = [record for record in found if self._is_new(record, False)]
            if found:
                self._state["last_id"] = str(max(_number(record["id"]) for record in found))
            if ended:
                self._next_phase()
            yield records, self._kept()
            if ended:
                return

    def _search_page(self) -> Answer:
        window = {
            "propertyName": self._modified,
            "operator": "BETWEEN",
            "value": str(self._state["since"]),
            "highValue": str(self._state["until"]),
        }
        behind = {"propertyName": "hs_object_id", "operator": "GT", "value": str(self._state.get("last_id") or 0)}
        having = [{"propertyName": self._wanted.having, "operator": "HAS_PROPERTY"}] if self._wanted.having else []
        body = {
            "filterGroups": [{"filters": [window, behind, *having]}],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "properties": list(self._wanted.asked()),
            "limit": SEARCH_MAX,
            "after": "0",
        }
        path = f"{self._path}/search"
        return self._http.request("POST", path, body=body, repeatable=True, operation="search")

    def _whole(self, records: list[dict[str, Any]], archived: bool) -> list[dict[str, Any]]:
        """Fetch the properties that found no room in the URL, and put them to their records."""
        by_id = {record["id"]: {**record, "properties": dict(record["properties"])} for record in records}
        for chunk in self._chunks()[1:] if records else ():
            body = {"inputs": [{"id": id} for id in by_id], "properties": chunk, "propertiesWithHistory": []}
            answer = self._http.request(
                "POST",
                f"{self._path}/batch/read",
                params={"archived": "true" if archived else "false"},
                body=body,
                repeatable=True,
            )
            for record in results(answer):
                if record["id"] in by_id:
                    by_id[record["id"]]["properties"].update(record["properties"])
        return list(by_id.values())

    def _chunks(self) -> list[list[str]]:
        """Split the properties: those of the list's URL, the modified date first, then those read by id."""
        asked = self._wanted.asked()
        if len(",".join(asked)) <= URL_PROPERTIES:
            return [list(asked)]
        rest = [name for name in asked if name != self._modified]
        split = [rest[n : n + READ_PROPERTIES] for n in range(0, len(rest), READ_PROPERTIES)]
        return [[self._modified], *split]

    def _is_new(self, record: Mapping[str, Any], archived: bool) -> bool:
        """Tell whether the record is not known from the read before, and note it for the read after."""
        modified = record.get("archivedAt") if archived else record["properties"].get(self._modified)
        modified = modified or record.get("updatedAt")
        at = _milliseconds(modified)
        since = self._state.get("since")
        if archived and since is not None and at is not None and at < since:
            return False
        key, fresh = f"{record['id']}{'a' if archived else ''}", self._state["fresh"]
        if (at is None or at >= self._state["until"] - self._overlap_ms) and len(fresh) < SEEN_MAX:
            fresh[key] = modified
        return self._state.get("seen", {}).get(key) != modified or modified is None

    def _next_phase(self) -> None:
        self._state.pop("after", None)
        self._state.pop("last_id", None)
        if self._state["phase"] != "archived" and self._wanted.archived:
            self._state["phase"] = "archived"
        else:
            self._state = {"phase": "done", "until": self._state["until"], "seen": self._state["fresh"]}

    def _kept(self) -> State:
        """Return the state as it is now, whatever becomes of it."""
        fresh = {"fresh": dict(self._state["fresh"])} if "fresh" in self._state else {}
        return {**self._state, **fresh}


def merged_into(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row for each record that was merged into this one: id (the one that stands), merged_id."""
    ids = [id.strip() for id in (record["properties"].get(MERGED_IDS) or "").split(";")]
    told = {"id": record["id"], "updatedAt": record.get("updatedAt")}
    return [{**told, "merged_id": id} for id in ids if id and id != record["id"]]


def _batch(records: Sequence[Mapping[str, Any]], properties: Sequence[str]) -> pa.RecordBatch:
    merged = [row for record in records for row in merged_into(record)]
    rows = [*({"id": row["merged_id"], "properties": {}} for row in merged), *records]
    columns: dict[str, pa.Array] = {
        name: pa.array([_text(row.get(name)) for row in rows], pa.string()) for name in FIXED[:-1]
    }
    archived = [bool(row.get("archived")) for row in rows]
    columns["archived"] = pa.array(archived, pa.bool_())
    for name in properties:
        if name not in FIXED:
            columns[name] = pa.array([_text(row["properties"].get(name)) for row in rows], pa.string())
    gone = [True for _ in merged] + archived[len(merged) :]
    into = [*(row["id"] for row in merged), *(None for _ in records)]
    return with_tombstones(pa.RecordBatch.from_pydict(columns), gone, into)


def body_of(answer: Answer) -> Mapping[str, Any]:
    """Return the object in an answer; raises SourceFailed when there is none."""
    if not isinstance(answer.body, Mapping):
        raise SourceFailed("HubSpot answered something that is not its API. Check base_url.", code="garbage")
    return answer.body


def results(answer: Answer) -> list[dict[str, Any]]:
    """Return the records of an answer; raises SourceFailed when it has none to show."""
    found = body_of(answer).get("results")
    if not isinstance(found, list):
        raise SourceFailed("HubSpot answered without 'results'. Check base_url.", code="garbage")
    return found


def _number(id: object) -> int:
    try:
        return int(str(id))
    except ValueError:
        pass
    raise SourceFailed("HubSpot gave an id that is not a number, so the search cannot go on behind it.", code="garbage")


def _milliseconds(stamp: object) -> int | None:
    """Read a time as HubSpot writes it: ISO 8601, or milliseconds as text."""
    text = str(stamp)
    if text.isdecimal():
        return int(text)
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return None


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)
