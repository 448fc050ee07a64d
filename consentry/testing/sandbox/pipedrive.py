"""Pipedrive's API v2 as consentry meets it: lists with cursors, fields, budgets that end in a block.

Contracts: the vendor's API reference and "Rate limiting" (read November 2026); there is no usable description.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from starlette.responses import Response

from consentry.testing.sandbox.faults import Fault
from consentry.testing.sandbox.limits import Limit, Window, whole_seconds
from consentry.testing.sandbox.plain import PlainVendor
from consentry.testing.sandbox.vendor import Call, Json, Operation, Refused, whole_number

API = "/api/v2"
KINDS = ("persons", "organizations", "deals")
FIELD_LISTS = {"personFields": "persons", "organizationFields": "organizations", "dealFields": "deals"}
PAGE_MAX = 500
_BURST = (Limit(20, 2, "burst"),)
# So many calls against 429 are let pass before a client is blocked; the vendor gives no figure.
PATIENCE = 10
_SORTS = ("id", "update_time", "add_time")
_STATES = ("open", "won", "lost", "deleted")
_BLOCKED = "<html><head><title>403 Forbidden</title></head><body>Access denied</body></html>"


class Pipedrive(PlainVendor):
    """One company."""

    name: ClassVar[str] = "pipedrive"
    token: ClassVar[str] = "sandbox-pipedrive"
    codes: ClassVar[dict[str, str]] = {
        "unauthorized": "ERR_UNAUTHORIZED",
        "limited": "ERR_RATE_LIMIT",
        "unavailable": "ERR_UNAVAILABLE",
        "invalid": "ERR_BAD_REQUEST",
    }

    def reset(self) -> None:
        """Forget everything: the state of a new company."""
        self.records: dict[str, dict[int, Json]] = {kind: {} for kind in KINDS}
        self.own_fields: dict[str, list[str]] = {kind: [] for kind in KINDS}
        self.turned_away = 0
        # Whether the next cursor that comes is one that ran out.
        self.cursor_runs_out = False
        self._serial = 0

    def put(self, kind: str, records: Iterable[Mapping[str, Json]]) -> None:
        """Add records, or replace them by their id."""
        with self.lock:
            for record in records:
                self.records[kind][int(record["id"])] = {"is_deleted": False, "custom_fields": {}, **record}

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        lists = [Operation("GET", f"{API}/{kind}", self.list_records, _BURST, "burst") for kind in KINDS]
        fields = [Operation("GET", f"{API}/{name}", self.list_fields, _BURST, "burst") for name in FIELD_LISTS]
        return [*lists, *fields]

    def authenticate(self, call: Call) -> None:
        """Ask for the user's token, unless the client is blocked."""
        if self.turned_away > PATIENCE:
            raise Refused(403, "blocked", "blocked")
        self.refuse_credentials(call.header("x-api-token") == self.token)

    def list_records(self, call: Call) -> Response:
        """GET records: 100 a page by default, 500 at most, from `updated_since` on and before `updated_until`."""
        kind = call.request.url.path.rsplit("/", 1)[-1]
        by = call.query("sort_by", "id")
        if by not in _SORTS or call.query("sort_direction", "asc") != "asc":
            raise self.invalid("sort_by and sort_direction are not valid")
        since, until = self._instant(call, "updated_since"), self._instant(call, "updated_until")
        states = self._states(call) if kind == "deals" else ()
        rows = [
            row
            for row in self.records[kind].values()
            if (not since or row["update_time"] >= since)
            and (not until or row["update_time"] < until)
            and (not row["is_deleted"] or "deleted" in states)
        ]
        return self._page(call, sorted(rows, key=lambda row: (row[by], row["id"])), by)

    def list_fields(self, call: Call) -> Response:
        """GET the fields of a kind, the company's own among them."""
        kind = FIELD_LISTS[call.request.url.path.rsplit("/", 1)[-1]]
        rows = [{"id": 1, "field_code": "name", "field_name": "Name", "is_custom_field": False}]
        for number, code in enumerate(self.own_fields[kind], 2):
            rows.append({"id": number, "field_code": code, "field_name": "Own", "is_custom_field": True})
        return self._page(call, rows, "id")

    def _page(self, call: Call, rows: list[Json], by: str) -> Response:
        limit = whole_number(call.query("limit", "100"), least=1, most=PAGE_MAX)
        if limit is None:
            raise self.invalid(f"limit must be a number from 1 to {PAGE_MAX}")
        cursor = call.query("cursor")
        behind = self._behind(cursor) if cursor else None
        rest = [row for row in rows if behind is None or [row[by], row["id"]] > behind]
        shown = rest[:limit]
        following = None
        if len(rest) > limit:
            following = base64.b64encode(json.dumps([shown[-1][by], shown[-1]["id"]]).encode()).decode()
            if call.repeats_cursor() and cursor:
                following = cursor
        return self.json({"success": True, "data": shown, "additional_data": {"next_cursor": following}})

    def _behind(self, cursor: str) -> list[Json]:
        try:
            behind = json.loads(base64.b64decode(cursor, validate=True))
        except ValueError:
            behind = None
        if behind is None or self.cursor_runs_out:
            self.cursor_runs_out = False
            raise self.invalid("cursor is not valid")
        return list(behind)

    def _instant(self, call: Call, name: str) -> str:
        text = call.query(name)
        try:
            good = not text or (text.endswith("Z") and bool(datetime.fromisoformat(text)))
        except ValueError:
            good = False
        if not good:
            raise self.invalid(f"{name} must be in RFC 3339 format")
        return text

    def _states(self, call: Call) -> tuple[str, ...]:
        states = tuple(call.query("status").split(",")) if call.query("status") else ()
        if any(state not in _STATES for state in states):
            raise self.invalid("status is not valid")
        return states

    def problem(self, refused: Refused) -> Response:
        """Write `{success, error, code}`; a block is a page of HTML."""
        if refused.code == "blocked":
            return Response(_BLOCKED, 403, media_type="text/html")
        return self.json({"success": False, "error": refused.detail, "code": refused.code}, refused.status)

    def fault_refusal(self, fault: Fault) -> Refused | None:
        """Return the refusal that a planned fault asks for; 429s are counted against the client."""
        if fault.kind in ("rate_limited", "daily_limit"):
            self.turned_away += 1
        return super().fault_refusal(fault)

    def limit_headers(self, windows: list[Window]) -> dict[str, str]:
        """Return the burst's headers."""
        burst = windows[0]
        return {
            "x-ratelimit-limit": str(burst.limit.requests),
            "x-ratelimit-remaining": str(max(0, burst.remaining)),
            "x-ratelimit-reset": str(whole_seconds(burst)),
        }

    def limit_refusal(self, window: Window) -> Refused:
        """Refuse, and remember it: who asks on is blocked."""
        self.turned_away += 1
        refused = Refused(429, "ERR_RATE_LIMIT", "request over limit")
        refused.headers = {"x-ratelimit-reset": str(whole_seconds(window)), "x-ratelimit-remaining": "0"}
        return refused
