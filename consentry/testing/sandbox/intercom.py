"""Intercom's API 2.16 as consentry meets it: contact search by the day, merge histories, one scroll at a time.

Contracts: the vendor's published description (Intercom-OpenAPI @8889625a, 2.16) and its "Rate limiting" page.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar
from zoneinfo import ZoneInfo

from starlette.responses import Response

from consentry.testing.sandbox.faults import Fault
from consentry.testing.sandbox.limits import Limit, Window, whole_seconds
from consentry.testing.sandbox.plain import PlainVendor
from consentry.testing.sandbox.vendor import Call, Json, Operation, Refused

VERSIONS = ("2.14", "2.15", "2.16")
PAGE_MAX = 150
SCROLL_PAGE = 100
# A scroll that is not used for a minute ends.
SCROLL_SECONDS = 60.0
_APP = (Limit(1_666, 10, "app"),)
_DATES = ("created_at", "updated_at", "signed_up_at", "last_seen_at")


class Intercom(PlainVendor):
    """One workspace."""

    name: ClassVar[str] = "intercom"
    token: ClassVar[str] = "sandbox-intercom"
    codes: ClassVar[dict[str, str]] = {
        "unauthorized": "unauthorized",
        "limited": "rate_limit_exceeded",
        "unavailable": "service_unavailable",
        "invalid": "parameter_invalid",
    }

    def reset(self) -> None:
        """Forget everything: the state of a new workspace."""
        self.contacts: dict[str, Json] = {}
        self.companies: dict[str, Json] = {}
        self.histories: dict[str, list[Json]] = {}
        # Custom attributes: model -> {name: type}.
        self.attributes: dict[str, dict[str, str]] = {"contact": {}, "company": {}}
        # Days in a search begin at midnight here.
        self.time_zone = "UTC"
        self.scrolls: dict[str, tuple[int, float]] = {}
        self._serial = 0

    def put(self, contacts: Iterable[Mapping[str, Json]]) -> None:
        """Add contacts, or replace them by their id."""
        with self.lock:
            for contact in contacts:
                self.contacts[str(contact["id"])] = _contact(contact)

    def put_companies(self, companies: Iterable[Mapping[str, Json]]) -> None:
        """Add companies, or replace them by their id."""
        with self.lock:
            for company in companies:
                own = {"type": "company", "custom_attributes": {}, "created_at": 1_700_000_000, "user_count": 1}
                self.companies[str(company["id"])] = {**own, **company}

    def merge(self, gone: str, kept: str, at: int) -> None:
        """Merge a contact into another, as POST /contacts/merge does: it vanishes, the other one remembers it."""
        with self.lock:
            role = self.contacts.pop(gone)["role"]
            item = {"type": "merge_history", "source_contact_id": gone, "source_contact_role": role, "merged_at": at}
            # What the one that vanishes had swallowed before goes along.
            self.histories.setdefault(kept, []).extend([item, *self.histories.pop(gone, [])])
            self.contacts[kept]["updated_at"] = at

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        table = [
            ("GET", "/me", self.me),
            ("GET", "/data_attributes", self.list_attributes),
            ("POST", "/contacts/search", self.search),
            ("GET", "/companies/scroll", self.scroll),
        ]
        return [Operation(method, path, handler, _APP, "app") for method, path, handler in table]

    def authenticate(self, call: Call) -> None:
        """Ask for the bearer token and a version that exists."""
        self.refuse_credentials(call.header("authorization") == f"Bearer {self.token}")
        if call.header("intercom-version") not in VERSIONS:
            raise Refused(400, "intercom_version_invalid", "The requested version could not be found")

    def me(self, call: Call) -> Response:
        """GET who one is."""
        app = {"type": "app", "id_code": "sandbox", "name": "Sandbox", "region": "US", "timezone": self.time_zone}
        return self.json({"type": "admin", "id": "1", "email": "admin@example.com", "email_verified": True, "app": app})

    def list_attributes(self, call: Call) -> Response:
        """GET the attributes of contacts or companies."""
        model = call.query("model")
        if model not in self.attributes:
            raise Refused(422, "parameter_invalid", "model is not supported")
        rows = [{"type": "data_attribute", "model": model, "name": "name", "full_name": "name", "custom": False}]
        for name, kind in self.attributes[model].items():
            own = {"name": name, "full_name": f"custom_attributes.{name}", "data_type": kind, "custom": True}
            rows.append({"type": "data_attribute", "model": model, **own})
        return self.json({"type": "list", "data": rows})

    def search(self, call: Call) -> Response:
        """POST search: one filter on a date, by the day; sorted; 50 a page by default, 150 at most."""
        body = json.loads(call.body)
        query, sort = body.get("query"), body.get("sort") or {}
        if not isinstance(query, dict) or query.get("field") not in _DATES:
            raise self.invalid("The simulator searches by one date only")
        found = [one for one in self.contacts.values() if self._matches(one, query)]
        field = sort.get("field", "created_at")
        order = sort.get("order", "descending")
        if order not in ("ascending", "descending"):
            raise Refused(400, "invalid_sort_order", "order is not valid")
        found.sort(key=lambda one: (one.get(field) or 0, one["id"]), reverse=order == "descending")
        return self._page(call, found, field, body.get("pagination") or {}, order == "descending")

    def _matches(self, contact: Json, query: Json) -> bool:
        """Compare by whole days of the workspace's zone, as the description says."""
        held, operator = contact.get(query["field"]), query.get("operator")
        if operator not in ("=", ">", "<"):
            raise Refused(400, "invalid_operator", f"{operator} is not supported for dates")
        zone = ZoneInfo(self.time_zone)
        day = datetime.fromtimestamp(int(query["value"]), zone).replace(hour=0, minute=0, second=0, microsecond=0)
        next_day = (day + timedelta(days=1)).timestamp()
        if held is None:
            return False
        if operator == ">":
            return bool(held >= next_day)
        return bool(held < day.timestamp()) if operator == "<" else bool(day.timestamp() <= held < next_day)

    def _page(self, call: Call, found: list[Json], field: str, pagination: Json, descending: bool) -> Response:
        per_page = pagination.get("per_page", 50)
        if not isinstance(per_page, int) or not 0 < per_page <= PAGE_MAX:
            raise self.invalid(f"per_page must be from 1 to {PAGE_MAX}")
        cursor = pagination.get("starting_after")
        rest = found
        if cursor:
            behind = self._behind(cursor)
            rest = [one for one in found if ([one[field], one["id"]] < behind) == descending and one["id"] != behind[1]]
        shown = rest[:per_page]
        histories = call.query("include_merge_history") == "true"
        pages: dict[str, Json] = {"type": "pages", "page": 1, "per_page": per_page, "total_pages": 1}
        if len(rest) > per_page:
            following = base64.b64encode(json.dumps([shown[-1][field], shown[-1]["id"]]).encode()).decode()
            pages["next"] = {"per_page": per_page, "starting_after": following}
            if call.repeats_cursor() and cursor:
                pages["next"]["starting_after"] = cursor
        data = [self._with_history(one) if histories else one for one in shown]
        return self.json({"type": "list", "data": data, "total_count": len(found), "pages": pages})

    def _behind(self, cursor: str) -> list[Json]:
        try:
            return list(json.loads(base64.b64decode(cursor, validate=True)))
        except ValueError:
            raise self.invalid("starting_after is not valid") from None

    def _with_history(self, contact: Json) -> Json:
        return contact | ({"merge_history": self.histories.get(contact["id"], [])} if contact["role"] == "user" else {})

    def scroll(self, call: Call) -> Response:
        """GET scroll: 100 companies a part, one scroll at a time, which ends after a minute without use."""
        now = time.monotonic()
        self.scrolls = {key: held for key, held in self.scrolls.items() if now - held[1] < SCROLL_SECONDS}
        asked = call.query("scroll_param")
        if not asked and self.scrolls:
            raise Refused(400, "scroll_exists", "scroll already exists for this workspace")
        if asked and asked not in self.scrolls:
            raise Refused(404, "not_found", "scroll parameter not found")
        begin = self.scrolls.pop(asked)[0] if asked else 0
        key = asked or f"scroll-{self.next_id()}"
        rows = list(self.companies.values())[begin : begin + SCROLL_PAGE]
        if rows:
            self.scrolls[key] = (begin + len(rows), now)
        return self.json({"type": "list", "data": rows, "total_count": len(self.companies), "scroll_param": key})

    def problem(self, refused: Refused) -> Response:
        """Write `{type: error.list, request_id, errors[]}` (schema error)."""
        error = {"code": refused.code, "message": refused.detail}
        body = {"type": "error.list", "request_id": self.correlation_id(), "errors": [error]}
        return self.json(body, refused.status)

    def fault_refusal(self, fault: Fault) -> Refused | None:
        """Return the refusal that a planned fault asks for; there is no day's budget."""
        refused = super().fault_refusal(fault)
        if refused and fault.kind == "rate_limited" and fault.retry_after is None:
            refused.headers = {"X-RateLimit-Reset": str(int(time.time()) + 1), "X-RateLimit-Remaining": "0"}
        return refused

    def limit_headers(self, windows: list[Window]) -> dict[str, str]:
        """Return the window's headers; it opens at a Unix second."""
        window = windows[0]
        return {
            "X-RateLimit-Limit": str(window.limit.requests),
            "X-RateLimit-Remaining": str(max(0, window.remaining)),
            "X-RateLimit-Reset": str(int(time.time()) + whole_seconds(window)),
        }

    def limit_refusal(self, window: Window) -> Refused:
        """Refuse with the second at which the window opens."""
        refused = Refused(429, "rate_limit_exceeded", "Exceeded rate limit")
        refused.headers = {"X-RateLimit-Reset": str(int(time.time()) + whole_seconds(window))}
        return refused


def _contact(given: Mapping[str, Json]) -> Json:
    id = str(given["id"])
    listed = {
        name: {"type": "list", "data": [], "url": f"/contacts/{id}/{name}", "total_count": 0, "has_more": False}
        for name in ("tags", "notes", "companies")
    }
    plain = {
        "type": "contact",
        "role": "user",
        "workspace_id": "sandbox",
        "created_at": 1_700_000_000,
        "has_hard_bounced": False,
        "marked_email_as_spam": False,
        "unsubscribed_from_emails": False,
        "custom_attributes": {},
        "location": {"type": "location", "country": None, "region": None, "city": None},
        "social_profiles": {"type": "list", "data": []},
    }
    return {**plain, **listed, **given, "id": id}
