"""Pipedrive as a source: persons, organizations and deals through API v2."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field, SecretStr

from consentry.connectors.base import ConnectorConfig, Page, State, Stream
from consentry.connectors.http import BaseUrl, HttpClient, HttpFailed, failing_as
from consentry.connectors.overlap import Overlap
from consentry.connectors.paging import ahead, repeated
from consentry.connectors.quota import Limit
from consentry.connectors.retry import RetryPolicy, retry_after
from consentry.connectors.token_source import TokenConfig, TokenSource
from consentry.connectors.tombstones import FIELDS, with_tombstones
from consentry.errors import SourceFailed

PAGE = 500
# The burst of the smallest plan is 20 requests in 2 s (Pipedrive, "Rate limiting", September 2026); half of it is ours.
LIMITS = (Limit(10, 2.0),)
# Asking on against 429 ends in 403, so it is asked seldom and slowly.
POLICY = RetryPolicy(attempts=4, base=2.0)
_COMMON = ("id", "name", "owner_id", "add_time", "update_time", "is_deleted", "visible_to", "label_ids")
# What the records hold, apart from fields of one's own (Pipedrive's API reference, v2, November 2026).
COLUMNS: dict[str, tuple[str, ...]] = {
    "persons": (*_COMMON, "first_name", "last_name", "org_id", "emails", "phones", "primary_email", "primary_phone"),
    "organizations": (*_COMMON, "address"),
    "deals": (
        "id", "title", "owner_id", "person_id", "org_id", "pipeline_id", "stage_id", "value", "currency", "add_time",
        "update_time", "status", "is_deleted", "won_time", "lost_time", "close_time", "lost_reason", "probability",
        "expected_close_date", "visible_to", "label_ids",
    ),
}  # fmt: skip
_FIELDS = {"persons": "personFields", "organizations": "organizationFields", "deals": "dealFields"}


class PipedriveConfig(TokenConfig):
    """The company, and how to log in."""

    base_url: BaseUrl = Field(default="https://api.pipedrive.com", description="Where the API is.")
    token: SecretStr = Field(description="A user's API token, as ${VARIABLE}; it sees what the user sees.")
    overlap_minutes: int = Field(
        default=5, ge=0, le=1440, description="How far each window reaches back into the last."
    )


class Pipedrive(TokenSource[PipedriveConfig]):
    """The records of one Pipedrive company.

    Streams: persons, organizations, deals. Fields of one's own are columns by their key (40 letters and digits).
    Deleted deals come with is_deleted = true for 30 days. The API says nothing of deleted or merged persons and
    organizations: land these as snapshots, so that what is gone goes. Proof level D: the documentation.
    """

    Config: ClassVar[type[ConnectorConfig]] = PipedriveConfig

    vendor, shown, limits, policy = "Pipedrive", tuple(COLUMNS), LIMITS, POLICY
    probe = ("/api/v2/persons", {"limit": "1"}, "; persons can be read")

    def turned_away(self, status: int, headers: Mapping[str, str], body: Any) -> bool:
        """Tell a user who may not read (403 in JSON) from a client that asked on against 429 (403 in HTML)."""
        return status == 403 and body is None

    def pause(self, status: int, headers: Mapping[str, str], body: Any) -> float | None:
        """Read how long to wait: the burst's own header, a day's budget, or the hour that a block lasts."""
        if self.turned_away(status, headers, body):
            return 3600.0
        asked = retry_after(headers.get("retry-after"), datetime.now(UTC))
        return asked if asked is not None else retry_after(headers.get("x-ratelimit-reset"), datetime.now(UTC))

    def headers(self, token: str) -> Mapping[str, str]:
        """Return the token in the vendor's own header."""
        return {"x-api-token": token}

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield what changed since `state`, as text; lists and objects as JSON, is_deleted as boolean."""
        with failing_as(SourceFailed):
            columns = (*COLUMNS[stream.name], *self._own_fields(stream.name))
            read = _Read(self.http, stream.name, columns, state, self._now(), self._overlap)
            yield from ahead(read.pages())

    def described(self, name: str) -> Stream | None:
        """Describe a stream; None when the name means nothing here."""
        if name not in COLUMNS:
            return None
        columns = (*COLUMNS[name], *self._own_fields(name))
        schema = pa.schema([(each, pa.bool_() if each == "is_deleted" else pa.string()) for each in columns])
        return Stream(name, ("id",), pa.schema([*schema, *FIELDS]), cursor="update_time")

    def _own_fields(self, name: str) -> tuple[str, ...]:
        if name not in self._own:
            found: list[str] = []
            cursor: str | None = None
            while True:
                params = {"limit": str(PAGE)} | ({"cursor": cursor} if cursor else {})
                answer = self.http.request("GET", f"/api/v2/{_FIELDS[name]}", params=params)
                found += [str(field["field_code"]) for field in _data(answer.body) if field.get("is_custom_field")]
                following = _next(answer.body)
                if following is None:
                    break
                if following == cursor:
                    raise repeated("Pipedrive")
                cursor = following
            self._own[name] = tuple(found)
        return self._own[name]


class _Read:
    """One read of one kind of record, in the order of update_time; its state stands in every page.

    cursor: where the list goes on. at, tied: the last update_time and the ids that share it, from which the list
    goes on when the cursor has run out.
    """

    def __init__(
        self,
        http: HttpClient,
        name: str,
        columns: tuple[str, ...],
        state: State,
        now: datetime,
        overlap: timedelta,
    ) -> None:
        self._http, self._name, self._columns = http, name, columns
        self._state: dict[str, Any] = {"phase": "read", "since": None, "until": _written(now), **state}
        if self._state["phase"] == "done":
            since = _written(datetime.fromisoformat(self._state["until"]) - overlap)
            self._state = {"phase": "read", "since": since, "until": _written(now), "seen": self._state.get("seen", {})}
        begin = _written(datetime.fromisoformat(self._state["until"]) - overlap)
        self._overlap = Overlap(begin, self._state.get("seen", {}), dict(self._state.get("fresh", {})))
        self._tied: set[str] = set(self._state.get("tied", ()))
        self._passed: set[str] = set()
        self._began_anew = False

    def pages(self) -> Iterator[Page]:
        """Go through the list to its end."""
        while True:
            body = self._page_of(self._state.pop("cursor", None))
            records = [record for record in _data(body) if self._is_new(record)]
            following = _next(body)
            if following is None:
                seen = dict(self._overlap.fresh)
                yield Page(self._batch(records), {"phase": "done", "until": self._state["until"], "seen": seen})
                return
            if following in self._passed:
                raise repeated("Pipedrive")
            self._passed.add(following)
            self._state["cursor"] = following
            state = {**self._state, "fresh": dict(self._overlap.fresh), "tied": sorted(self._tied)}
            yield Page(self._batch(records), state)

    def _page_of(self, cursor: str | None) -> Any:
        params = {"limit": str(PAGE), "sort_by": "update_time", "sort_direction": "asc"}
        params["updated_until"] = self._state["until"]
        if self._name == "deals":
            params["status"] = "open,won,lost,deleted"
        since = self._state.get("since")
        if cursor:
            self._passed.add(cursor)
            try:
                return self._asked(params | ({"updated_since": since} if since else {}) | {"cursor": cursor})
            except HttpFailed as failed:
                if failed.status != 400 or self._began_anew:
                    raise
            # The cursor ran out: the list goes on, once, at the last update_time that was read.
            self._began_anew = True
            self._passed.clear()
            since = self._state.get("at") or since
        return self._asked(params | ({"updated_since": since} if since else {}))

    def _asked(self, params: Mapping[str, str]) -> Any:
        return self._http.request("GET", f"/api/v2/{self._name}", params=params).body

    def _is_new(self, record: Mapping[str, Any]) -> bool:
        id, stamp = str(record["id"]), record.get("update_time")
        if stamp == self._state.get("at") and id in self._tied:
            return False
        if stamp is not None and stamp != self._state.get("at"):
            self._state["at"], self._tied = stamp, set()
        self._tied.add(id)
        return self._overlap.is_new(id, stamp)

    def _batch(self, records: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
        rows = [_row(record) for record in records]
        columns = {name: pa.array([_text(row.get(name)) for row in rows], pa.string()) for name in self._columns}
        gone = [bool(row.get("is_deleted")) for row in rows]
        columns["is_deleted"] = pa.array(gone, pa.bool_())
        return with_tombstones(pa.RecordBatch.from_pydict(columns), gone)


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    """Lay out a record: its own fields beside the others, the primary address and number by themselves."""
    own = record.get("custom_fields")
    row = {**(own if isinstance(own, Mapping) else {}), **record}
    return row | {"primary_email": _primary(record.get("emails")), "primary_phone": _primary(record.get("phones"))}


def _primary(values: Any) -> str | None:
    held = [one for one in values if isinstance(one, Mapping)] if isinstance(values, list) else []
    chosen = next((one for one in held if one.get("primary")), held[0] if held else {})
    return chosen.get("value") or None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _data(body: Any) -> list[dict[str, Any]]:
    found = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(found, list):
        raise SourceFailed("Pipedrive answered without 'data'. Check base_url.", code="garbage")
    return found


def _next(body: Mapping[str, Any]) -> str | None:
    return (body.get("additional_data") or {}).get("next_cursor")


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
