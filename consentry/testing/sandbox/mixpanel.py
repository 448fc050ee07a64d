"""Mixpanel as consentry meets it: the raw export and the profiles' query.

Contract: mixpanel/docs @ba229069, openapi/export.openapi.yaml and query.openapi.yaml (MIT). Both dates of an
export are inclusive and lie in UTC for projects created since January 2023, in the project's zone before.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, ClassVar
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

from starlette.responses import Response

from consentry.testing.sandbox.limits import Limit
from consentry.testing.sandbox.plain import PlainVendor, basic
from consentry.testing.sandbox.vendor import Call, Operation

PROJECT = 2_023_001
_EXPORT = (Limit(60, 3600, "hour"), Limit(3, 1, "second"))
_QUERY = (Limit(60, 3600, "hour"),)


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it was sent: its name, its instant, its other properties."""

    name: str
    at: datetime
    properties: dict[str, Any]


class Mixpanel(PlainVendor):
    """One Mixpanel project.

    time_zone: of the project. old: created before January 2023, so that days and times are in that zone.
    today: the last day an export may name.
    """

    name: ClassVar[str] = "mixpanel"
    token: ClassVar[str] = "sandbox-mixpanel"
    user: ClassVar[str] = "consentry.sandbox"

    def reset(self) -> None:
        """Forget everything: the state of a new project."""
        self.events: list[Event] = []
        self.profiles: dict[str, dict[str, Any]] = {}
        self.time_zone, self.old, self.today = "UTC", False, date(2026, 3, 31)
        self.page_size = 1000
        self._sessions: set[str] = set()

    def environment(self, base_url: str) -> dict[str, str]:
        """Return the environment variables with which a job finds this simulator."""
        found = super().environment(base_url)
        return {**found, "MIXPANEL_USERNAME": self.user, "MIXPANEL_PROJECT_ID": str(PROJECT)}

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return [
            Operation("GET", "/api/2.0/export", self.export, _EXPORT),
            Operation("POST", "/api/query/engage", self.engage, _QUERY),
        ]

    def authenticate(self, call: Call) -> None:
        """Ask for the service account and the project it reads."""
        self.refuse_credentials(basic(call) == f"{self.user}:{self.token}")
        if call.query("project_id") != str(PROJECT):
            raise self.invalid("project_id is required and must be a project of this service account")

    def export(self, call: Call) -> Response:
        """GET the events of some days as JSON lines, in gzip when asked for and worth it."""
        first, last = self._day(call, "from_date"), self._day(call, "to_date")
        if last > self.today:
            raise self.invalid("to_date cannot be later than today")
        names = json.loads(call.query("event") or "null")
        limit = int(call.query("limit") or "0")
        if limit > 100_000:
            raise self.invalid("limit cannot be over 100000")
        precision = 1000 if call.query("time_in_ms") == "true" else 1
        found = [
            self._line(event, precision)
            for event in self.events
            if first <= event.at.astimezone(self._zone()).date() <= last and (not names or event.name in names)
        ]
        body = "".join(found[: limit or None]).encode()
        if call.header("accept-encoding") == "gzip" and len(body) > 1400:
            return Response(gzip.compress(body, 1), media_type="text/plain", headers={"Content-Encoding": "gzip"})
        return Response(body, media_type="text/plain")

    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone if self.old else "UTC")

    def _line(self, event: Event, precision: int) -> str:
        local = event.at.astimezone(self._zone()).replace(tzinfo=UTC)
        moment = math.floor(local.timestamp() * precision)
        return json.dumps({"event": event.name, "properties": {"time": moment, **event.properties}}) + "\n"

    def _day(self, call: Call, name: str) -> date:
        try:
            return datetime.strptime(call.query(name), "%Y-%m-%d").date()
        except ValueError:
            raise self.invalid(f"{name} is required, as yyyy-mm-dd") from None

    def engage(self, call: Call) -> Response:
        """POST for a page of profiles: behind the first, with the session that the first page named."""
        form = {name: values[0] for name, values in parse_qs(call.body.decode()).items()}
        page, session = int(form.get("page", "0")), form.get("session_id", "")
        if page and session not in self._sessions:
            raise self.invalid("request for page in uncached query for params")
        if not session:
            session = f"1234567890-{self.next_id():06d}"
            self._sessions.add(session)
        found = sorted(self.profiles)
        if "filter_by_cohort" in form:
            cohort = json.loads(form["filter_by_cohort"])["id"]
            found = [one for one in found if cohort in self.profiles[one].get("cohorts", ())]
        begin = page * self.page_size
        results = [
            {"$distinct_id": one, "$properties": {k: v for k, v in self.profiles[one].items() if k != "cohorts"}}
            for one in found[begin : begin + self.page_size]
        ]
        named = 0 if call.repeats_cursor() else page
        body = {"page": named, "page_size": self.page_size, "session_id": session, "status": "ok"}
        return self.json({**body, "total": len(found), "results": results})
