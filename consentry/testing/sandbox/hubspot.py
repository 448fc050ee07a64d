"""HubSpot as consentry meets it: records, search, batches, properties, lists, associations (dated 2026-09 paths).

Contracts: the vendor's 2026-09 descriptions (objects.json, lists.json) and its documentation, read November 2026.
The v3 paths are aliases, because HubSpot's own Python client 12.0.0 still uses them; a v3 batch with failed rows
is answered 207, a dated one 200 with the same `errors` (the 2026-09 description declares no 207).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from starlette.responses import Response

from consentry.testing.sandbox import hubspot_checks as checks
from consentry.testing.sandbox.faults import Fault
from consentry.testing.sandbox.hubspot_contacts import DEFAULT_PROPERTIES, Contact, Contacts
from consentry.testing.sandbox.hubspot_lists import HubSpotLists
from consentry.testing.sandbox.hubspot_related import HubSpotRelated
from consentry.testing.sandbox.limits import Limit, Window
from consentry.testing.sandbox.vendor import (
    START,
    Call,
    Handler,
    Json,
    Operation,
    Refused,
    Vendor,
    instant,
    whole_number,
)

OBJECTS = "/crm/objects/2026-09/contacts"
ANY_OBJECTS = "/crm/objects/2026-09/{type}"
# Contacts move on `lastmodifieddate`, all other kinds on `hs_lastmodifieddate` (amp-labs/connectors #45).
OTHER_KINDS = ("companies", "deals", "tickets")
DAILY = 250_000
# A private app of a Professional account (developers.hubspot.com, usage guidelines, November 2026).
_ACCOUNT = (Limit(190, 10, "TEN_SECONDLY_ROLLING"), Limit(DAILY, 86_400, "DAILY"))
_SEARCH = (Limit(5, 1, "SECONDLY"),)
# Rendered pages that are kept: a million contacts in pages of 100.
_PAGES_KEPT = 10_000


class HubSpot(Vendor):
    """One HubSpot account."""

    name: ClassVar[str] = "hubspot"
    token: ClassVar[str] = "sandbox-hubspot"
    data_file: ClassVar[str | None] = "crm_contacts.jsonl"

    def __init__(self) -> None:
        self.lists = HubSpotLists(self)
        self.related = HubSpotRelated(self)
        super().__init__()

    def reset(self) -> None:
        """Forget everything: the state of a new account."""
        self.contacts = Contacts()
        self.kinds = {"contacts": self.contacts}
        self.kinds |= {name: Contacts(modified="hs_lastmodifieddate") for name in OTHER_KINDS}
        self.lists.clear()
        self.related.clear()
        self._pages: dict[str, bytes] = {}
        self._serial = 0
        self._start = START

    def load(self, path: Path) -> int:
        """Load contacts from JSON lines and return how many; raises ValueError that names a bad line."""
        with self.lock:
            self._pages.clear()
            loaded = self.contacts.read(path)
            # What is written later must be newer than everything that was loaded, or no incremental read sees it.
            self._start = max(START, self.contacts.latest())
            return loaded

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return [
            self._at("GET", ANY_OBJECTS, self.list_records),
            self._at("POST", OBJECTS, self.create),
            self._at("POST", f"{OBJECTS}/merge", self.merge),
            self._at("POST", f"{ANY_OBJECTS}/search", self.search, _SEARCH, "search"),
            self._at("POST", f"{ANY_OBJECTS}/batch/read", self.batch_read),
            self._at("POST", f"{OBJECTS}/batch/create", self._batch(self._create_one)),
            self._at("POST", f"{OBJECTS}/batch/update", self._batch(self._update_one)),
            self._at("POST", f"{OBJECTS}/batch/upsert", self._batch(self._upsert_one)),
            self._at("POST", f"{OBJECTS}/batch/archive", self.batch_archive),
            self._at("GET", f"{OBJECTS}/{{id}}", self.read_contact),
            self._at("PATCH", f"{OBJECTS}/{{id}}", self.update),
            self._at("DELETE", f"{OBJECTS}/{{id}}", self.archive),
            self._at("GET", "/crm/properties/2026-09/{type}", self.list_properties),
            *(self._at(method, path, handler) for method, path, handler in self.lists.table()),
            *(Operation("POST", path, does, _ACCOUNT, "account", older) for path, does, older in self.related.table()),
        ]

    def members(self) -> dict[str, list[str]]:
        """Return the contact ids of every list, by the list's name."""
        with self.lock:
            return self.lists.members()

    # Reading ------------------------------------------------------------------------------------------------

    def list_records(self, call: Call) -> Response:
        """GET records: limit 10 by default and 100 at most, `paging.next.after`."""
        checks.check_url(call)
        limit = checks.limit_of(call, default=10, most=checks.LIST_MAX)
        after = whole_number(call.query("after", "0") or "0", least=0, most=10**18)
        if after is None:
            raise checks.invalid("Invalid after: it must be the value of paging.next.after", "after")
        names = checks.names_in(call, "properties") or self._of(call).default
        archived = call.query("archived") == "true"
        if call.fault:
            return self.json(self._page(call, after, limit, names, archived))
        key = str(call.request.url)
        if key not in self._pages:
            if len(self._pages) >= _PAGES_KEPT:
                self._pages.clear()
            self._pages[key] = bytes(self.json(self._page(call, after, limit, names, archived)).body)
        return Response(self._pages[key], media_type=self.media_type)

    def _page(self, call: Call, after: int, limit: int, names: tuple[str, ...], archived: bool) -> Json:
        records, following = self._of(call).page(after, limit, archived=archived)
        page: dict[str, Json] = {"results": [record.record(names) for record in records]}
        if call.repeats_cursor() and after:
            following = after
        if following is not None:
            link = call.request.url.include_query_params(after=following)
            page["paging"] = {"next": {"after": str(following), "link": str(link)}}
        return page

    def read_contact(self, call: Call) -> Response:
        """GET one contact by id, or by another property named in idProperty."""
        checks.check_url(call)
        contact = self._find(call.path("id"), call.query("idProperty"), archived=call.query("archived") == "true")
        return self.json(contact.record(checks.names_in(call, "properties") or DEFAULT_PROPERTIES))

    def search(self, call: Call) -> Response:
        """POST search: five required fields, 200 a page, 10,000 results and then 400."""
        records = self._of(call)
        body = checks.search_of(call, records)
        found = records.search(body["filterGroups"], body["sorts"], body.get("query") or "")
        begin, end = body["after"], body["after"] + body["limit"]
        names = tuple(body["properties"]) or records.default
        page: dict[str, Json] = {
            "total": len(found),
            "results": [records.rows[one].record(names) for one in found[begin:end]],
        }
        if end < len(found):
            page["paging"] = {"next": {"after": str(begin if call.repeats_cursor() and begin else end)}}
        return self.json(page)

    def batch_read(self, call: Call) -> Response:
        """POST batch/read: at most 100 ids; the missing ones stand in `errors`."""
        inputs = checks.inputs_of(call, "properties")
        body = checks.object_of(call)
        records, archived = self._of(call), call.query("archived") == "true"
        names = tuple(body["properties"]) or records.default
        results, missing = [], []
        for place, one in enumerate(inputs):
            key, by = str(one.get("id")), str(body.get("idProperty") or "")
            contact = self._look_up(key, by, archived=archived, among=records)
            if contact is None or place in call.failing_rows():
                missing.append(str(one.get("id")))
            else:
                results.append(contact.record(names))
        errors = []
        if missing:
            detail = "Could not get some CONTACT objects, they may be deleted or not exist."
            errors = [_row_error("OBJECT_NOT_FOUND", detail, {"ids": missing})]
        return self._batch_answer(call, results, errors)

    def list_properties(self, call: Call) -> Response:
        """GET the properties that a kind of record has."""
        types = self._of(call).properties
        return self.json({"results": [_property(name, types[name]) for name in sorted(types)]})

    # Writing ------------------------------------------------------------------------------------------------

    def create(self, call: Call) -> Response:
        """POST one contact: 409 when the e-mail address is taken."""
        return self.json(self._create_one(checks.object_of(call, "properties")), 201)

    def update(self, call: Call) -> Response:
        """PATCH one contact."""
        body = checks.object_of(call, "properties")
        return self.json(self._update_one({"id": call.path("id"), "idProperty": call.query("idProperty"), **body}))

    def archive(self, call: Call) -> Response:
        """DELETE one contact: it moves to the archived ones."""
        self._archive(call.path("id"))
        return Response(status_code=204)

    def batch_archive(self, call: Call) -> Response:
        """POST batch/archive: unknown ids are passed over."""
        for one in checks.inputs_of(call):
            self._archive(str(one.get("id")))
        return Response(status_code=204)

    def _archive(self, contact_id: str) -> None:
        contact = self.contacts.find(contact_id)
        if contact:
            self._put(replace(contact, archived=True, archived_at=self._now()))

    def merge(self, call: Call) -> Response:
        """POST merge: the second contact vanishes; its id is kept in a property of the first."""
        body = checks.object_of(call, "primaryObjectId", "objectIdToMerge")
        kept, gone = (self._find(str(body[name]), "") for name in ("primaryObjectId", "objectIdToMerge"))
        ids = [kept.properties.get("hs_merged_object_ids"), str(gone.id), gone.properties.get("hs_merged_object_ids")]
        now = self._now()
        joined = ";".join(id for id in ids if id)
        merged: dict[str, str | None] = {"hs_merged_object_ids": joined, "lastmodifieddate": now}
        self.contacts.drop(gone.id)
        return self.json(self._put(replace(kept, properties=kept.properties | merged, updated=now)).record(()))

    def _create_one(self, one: dict[str, Json]) -> Json:
        values = checks.check_values(one.get("properties"), self.contacts)
        taken = self.contacts.by_email(values.get("email") or "")
        if taken:
            raise Refused(409, "CONFLICT", f"Contact already exists. Existing ID: {taken.id}")
        contact_id, now = max(self.contacts.rows, default=0) + 1, self._now()
        own = {"hs_object_id": str(contact_id), "createdate": now, "lastmodifieddate": now}
        return self._put(Contact(contact_id, {**values, **own}, now, now)).record(tuple(values))

    def _update_one(self, one: dict[str, Json]) -> Json:
        contact = self._find(str(one.get("id")), str(one.get("idProperty") or ""))
        values, now = checks.check_values(one.get("properties"), self.contacts), self._now()
        merged = contact.properties | values | {"lastmodifieddate": now}
        return self._put(replace(contact, properties=merged, updated=now)).record(tuple(values))

    def _upsert_one(self, one: dict[str, Json]) -> Json:
        key, value = str(one.get("idProperty") or "email"), str(one.get("id"))
        if self._look_up(value, key):
            return self._update_one({**one, "idProperty": key}) | {"new": False}
        return self._create_one({"properties": {key: value, **(one.get("properties") or {})}}) | {"new": True}

    def _batch(self, write: Callable[[dict[str, Json]], Json]) -> Handler:
        def handler(call: Call) -> Response:
            inputs = checks.inputs_of(call)
            _refuse_duplicates(inputs)
            for one in inputs:  # a malformed input fails the whole batch before anything is written
                checks.check_values(one.get("properties"), self.contacts)
            results, errors = [], []
            for place, one in enumerate(inputs):
                trace = {"objectWriteTraceId": [str(one["objectWriteTraceId"])]} if "objectWriteTraceId" in one else {}
                try:
                    if place in call.failing_rows():
                        raise checks.invalid("The sandbox refuses this row, as a planned fault asked for")
                    results.append(write(one) | {key: ids[0] for key, ids in trace.items()})
                except Refused as refused:
                    context = trace or {"ids": [str(one.get("id"))]}
                    errors.append(_row_error(refused.code, refused.detail, context))
            return self._batch_answer(call, results, errors, 201 if call.request.url.path.endswith("/create") else 200)

        return handler

    def _batch_answer(self, call: Call, results: list[Json], errors: list[Json], status: int = 200) -> Response:
        now = self._now()
        body: dict[str, Json] = {"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now}
        if errors:
            body |= {"numErrors": len(errors), "errors": errors}
        partly = errors and "/crm/v3/" in call.request.url.path
        return self.json(body, 207 if partly else status)

    def _now(self) -> str:
        return instant(self.next_id(), self._start)

    def _put(self, contact: Contact) -> Contact:
        self._pages.clear()
        self.contacts.put(contact)
        return contact

    def _of(self, call: Call) -> Contacts:
        kind = call.request.path_params.get("type", "contacts")
        if kind not in self.kinds:
            raise checks.invalid(f"Unable to infer object type from: {kind}")
        return self.kinds[kind]

    def _look_up(
        self, value: str, id_property: str, *, archived: bool = False, among: Contacts | None = None
    ) -> Contact | None:
        records = among or self.contacts
        if id_property in ("", "hs_object_id"):
            return records.find(value, archived=archived)
        if id_property == "email":
            return records.by_email(value)
        return next((one for one in records.rows.values() if one.properties.get(id_property) == value), None)

    def _find(self, value: str, id_property: str, *, archived: bool = False) -> Contact:
        contact = self._look_up(value, id_property, archived=archived)
        if contact is None:
            raise Refused(404, "OBJECT_NOT_FOUND", "Object not found. objectId are usually numeric.")
        return contact

    # Logging in, limits, errors -----------------------------------------------------------------------------

    def authenticate(self, call: Call) -> None:
        """Ask for the bearer token."""
        if call.header("authorization") != f"Bearer {self.token}":
            detail = "Authentication credentials not found. This API supports OAuth 2.0 authentication."
            raise Refused(401, "INVALID_AUTHENTICATION", detail)

    def problem(self, refused: Refused) -> Response:
        """Write `{status, category, correlationId, message, errors[]}` (objects.json 2026-09, schema Error)."""
        body = {
            "status": "error",
            "message": refused.detail,
            "correlationId": self.correlation_id(),
            "category": refused.code,
            **refused.more,
        }
        if refused.at:
            body["errors"] = [{"message": refused.detail, "in": refused.at, "code": refused.code}]
        return self.json(body, refused.status)

    def fault_refusal(self, fault: Fault) -> Refused | None:
        """Return the refusal that a planned fault asks for."""
        match fault.kind:
            case "rate_limited":
                return _limited("TEN_SECONDLY_ROLLING", fault.retry_after_header())
            case "daily_limit":
                return _limited("DAILY", {})
            case "server_error":
                return Refused(fault.status, "SERVICE_UNAVAILABLE", "The service is temporarily unavailable")
            case "expired_token":
                detail = "The OAuth token used to make this call expired 3 second(s) ago."
                return Refused(401, "EXPIRED_AUTHENTICATION", detail)
            case "refused_batch":
                return checks.invalid("Invalid input JSON on line 1, column 1: the request was refused as a whole")
            case _:
                return None

    def limit_headers(self, windows: list[Window]) -> dict[str, str]:
        """Return the rate headers; answers of search carry none (usage guidelines)."""
        left = {window.limit.name: window for window in windows}
        if "DAILY" not in left:
            return {}
        short = left["TEN_SECONDLY_ROLLING"]
        return {
            "X-HubSpot-RateLimit-Daily": str(DAILY),
            "X-HubSpot-RateLimit-Daily-Remaining": str(max(0, left["DAILY"].remaining)),
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(short.limit.seconds * 1000),
            "X-HubSpot-RateLimit-Max": str(short.limit.requests),
            "X-HubSpot-RateLimit-Remaining": str(max(0, short.remaining)),
        }

    def limit_refusal(self, window: Window) -> Refused:
        """Refuse without Retry-After: HubSpot does not always send it (hubspot-api-python #117)."""
        return _limited(window.limit.name, {})

    def _at(
        self, method: str, path: str, handler: Handler, limits: tuple[Limit, ...] = _ACCOUNT, quota: str = "account"
    ) -> Operation:
        parts = path.split("/")  # /crm/objects/2026-09/... was /crm/v3/objects/...
        former = "/".join([*parts[:2], "v3", parts[2], *parts[4:]])
        return Operation(method, path, handler, limits, quota, aliases=(former,))


def _limited(policy: str, headers: dict[str, str]) -> Refused:
    more = {"errorType": "RATE_LIMIT", "policyName": policy}
    refused = Refused(429, "RATE_LIMITS", f"You have reached your {policy.lower()} limit.", more=more)
    refused.headers = headers
    return refused


def _refuse_duplicates(inputs: list[dict[str, Json]]) -> None:
    """Refuse a batch that names one e-mail address twice: it fails as a whole (hubspot-api-nodejs #545, #548)."""
    emails = [str((one.get("properties") or {}).get("email") or one.get("id") or "").lower() for one in inputs]
    named = [email for email in emails if email]
    if len(named) != len(set(named)):
        raise checks.invalid("Duplicate IDs found in batch input", "inputs")


def _row_error(category: str, detail: str, context: dict[str, list[str]]) -> Json:
    return {"status": "error", "category": category, "message": detail, "context": context}


def _property(name: str, kind: str) -> Json:
    field = {"datetime": "date", "date": "date", "number": "number"}.get(kind, "text")
    return {"name": name, "label": name.replace("_", " ").title(), "type": kind, "fieldType": field, "hidden": False}
