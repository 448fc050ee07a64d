"""Read Intercom's contacts by search, their merges, and its companies by scroll.

A search takes dates by the day, in the workspace's own time zone: `>` means from the start of the next day on
(Intercom-OpenAPI 2.16, "Searching for Timestamp Fields"). So each window asks from a day earlier, in the order of
`updated_at`, and leaves out here what lies before it. Contacts that were merged away vanish from every search;
the contact that stands for them names them in its merge history.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from consentry.connectors.base import Page, State
from consentry.connectors.http import HttpClient, HttpFailed
from consentry.connectors.overlap import Overlap
from consentry.connectors.paging import repeated
from consentry.connectors.tombstones import tombstones, with_tombstones
from consentry.errors import RetryLater, SourceFailed

PAGE = 150
# A day, and the hour by which one day of the year is longer.
_DAY = 25 * 3600
# The records' own fields (schemas contact and company); attributes of one's own come behind them.
COLUMNS: dict[str, tuple[str, ...]] = {
    "contacts": (
        "id", "external_id", "workspace_id", "role", "email", "phone", "name", "owner_id", "has_hard_bounced",
        "marked_email_as_spam", "unsubscribed_from_emails", "created_at", "updated_at", "signed_up_at", "last_seen_at",
        "last_replied_at", "last_contacted_at", "last_email_opened_at", "last_email_clicked_at", "language_override",
        "browser", "browser_language", "os", "location", "tags", "companies", "social_profiles",
    ),
    "companies": (
        "id", "company_id", "name", "plan", "size", "website", "industry", "monthly_spend", "session_count",
        "user_count", "created_at", "updated_at", "remote_created_at", "last_request_at", "tags", "segments",
    ),
}  # fmt: skip
MERGE_SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "merged_id", "merged_at", "updated_at")])
_OWN = "custom_attributes."


class ContactRead:
    """One read of the contacts, in the order of updated_at; its state is plain JSON and stands in every page.

    since, until: the window in Unix seconds. cursor: where the search goes on. at: the last updated_at that was read,
    from which it goes on when the cursor ran out. seen, fresh: what the reads before and after know of the overlap.
    """

    def __init__(self, http: HttpClient, columns: Sequence[str], state: State, *, now: int, overlap: int) -> None:
        self._http, self._columns = http, columns
        self._state: dict[str, Any] = {"phase": "read", "since": 0, "until": now, **state}
        if self._state["phase"] == "done":
            since = self._state["until"] - overlap
            self._state = {"phase": "read", "since": since, "until": now, "seen": self._state.get("seen", {})}
        seen, fresh = self._state.get("seen", {}), dict(self._state.get("fresh", {}))
        self._overlap = Overlap(self._state["until"] - overlap, seen, fresh)

    def pages(self) -> Iterator[Page]:
        """Yield the contacts, laid out in the columns; before them tombstones of those that were merged into them."""
        before = dict(self._state)
        for records, state in self.records():
            gone = _merged(records)
            if gone:
                yield Page(tombstones("id", gone), before)
            yield Page(with_tombstones(batch(records, self._columns), [False] * len(records)), state)
            before = dict(state)

    def records(self) -> Iterator[tuple[list[dict[str, Any]], State]]:
        """Yield the contacts page by page, each with the state behind it."""
        passed: set[str] = set()
        while True:
            body = self._found(passed)
            kept = [record for record in _data(body) if self._is_wanted(record)]
            following = ((body.get("pages") or {}).get("next") or {}).get("starting_after")
            if following is None:
                seen = dict(self._overlap.fresh)
                yield kept, {"phase": "done", "until": self._state["until"], "seen": seen}
                return
            if following in passed:
                raise repeated("Intercom")
            passed.add(following)
            self._state["cursor"] = following
            yield kept, {**self._state, "fresh": dict(self._overlap.fresh)}

    def _found(self, passed: set[str]) -> Mapping[str, Any]:
        """Search behind the cursor; when that ran out, from the last updated_at on, whose contacts may come twice."""
        cursor = self._state.get("cursor")
        if cursor is not None:
            passed.add(cursor)
        try:
            return self._search()
        except HttpFailed as failed:
            if failed.status != 400 or cursor is None:
                raise
        self._state.pop("cursor")
        self._state["since"] = max(self._state["since"], self._state.get("at", 0))
        passed.clear()
        return self._search()

    def _search(self) -> Mapping[str, Any]:
        from_day = max(0, self._state["since"] - _DAY)
        pagination = {"per_page": PAGE}
        cursor = self._state.get("cursor")
        body = {
            "query": {"field": "updated_at", "operator": ">", "value": from_day},
            "pagination": {**pagination, "starting_after": cursor} if cursor else pagination,
            "sort": {"field": "updated_at", "order": "ascending"},
        }
        params = {"include_merge_history": "true"}
        answer = self._http.request("POST", "/contacts/search", params=params, body=body, repeatable=True)
        return _object(answer.body)

    def _is_wanted(self, record: Mapping[str, Any]) -> bool:
        """Tell whether a contact lies in the window and is not known from the read before."""
        at = record.get("updated_at")
        # What changes while it is read moves behind the window, and comes with the next one.
        if isinstance(at, int) and not self._state["since"] <= at <= self._state["until"]:
            return False
        self._state["at"] = at
        return self._overlap.is_new(str(record["id"]), at)


def merges(http: HttpClient, state: State, *, now: int, overlap: int) -> Iterator[Page]:
    """Yield one row for each contact that was merged into another: id (the one that stands), merged_id."""
    for records, left_off in ContactRead(http, (), state, now=now, overlap=overlap).records():
        yield Page(pa.RecordBatch.from_pylist(_merged(records), MERGE_SCHEMA), left_off)


def _merged(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "id": str(record["id"]),
            "merged_id": str(merged["source_contact_id"]),
            "merged_at": _instant(merged.get("merged_at")),
            "updated_at": _instant(record.get("updated_at")),
        }
        for record in records
        for merged in record.get("merge_history") or ()
    ]


def companies(http: HttpClient, columns: Sequence[str], state: State) -> Iterator[Page]:
    """Yield all companies by scroll, which has no cap; a scroll that ended is begun anew."""
    scroll = state.get("scroll")
    while True:
        body = _scrolled(http, scroll)
        if body is None:
            scroll = None
            continue
        found, scroll = _data(body), body.get("scroll_param")
        yield Page(batch(found, columns), {"scroll": scroll} if found and scroll else {})
        if not found or not scroll:
            return


def _scrolled(http: HttpClient, scroll: str | None) -> Mapping[str, Any] | None:
    """Return the next part of a scroll, None when it ran out."""
    failed: HttpFailed | None = None
    try:
        answer = http.request("GET", "/companies/scroll", params={"scroll_param": scroll} if scroll else None)
        return {"data": []} if answer.body is None else _object(answer.body)
    except HttpFailed as error:
        failed = error
    if failed.code == "scroll_exists":
        message = "Another scroll over Intercom's companies is open; it ends after a minute. Run again then."
        raise RetryLater(message, after=60, code="scroll_exists")
    if scroll is not None and failed.status in (400, 404):
        return None
    raise failed


def batch(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pa.RecordBatch:
    """Lay records out in text columns: times as ISO 8601, lists and objects as JSON."""
    return pa.RecordBatch.from_pydict(
        {name: pa.array([_text(name, record) for record in records], pa.string()) for name in columns}
    )


def _text(name: str, record: Mapping[str, Any]) -> str | None:
    own = name.startswith(_OWN)
    value = (record.get("custom_attributes") or {}).get(name.removeprefix(_OWN)) if own else record.get(name)
    if not own and name.endswith("_at"):
        return _instant(value)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _instant(seconds: Any) -> str | None:
    if not isinstance(seconds, int):
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise SourceFailed("Intercom answered something that is not its API. Check base_url.", code="garbage")
    return body


def _data(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = body.get("data")
    if not isinstance(found, list):
        raise SourceFailed("Intercom answered without 'data'. Check base_url.", code="garbage")
    return found
