"""Amplitude as consentry meets it: the event export.

Contract: Amplitude, "Export API" (documentation, November 2026): a zip of gzipped JSON lines by hour of upload in
UTC, both ends inclusive; 404 when there is nothing, 400 above 4 GB, an hour is there two hours after its end.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from starlette.responses import Response

from consentry.testing.sandbox.plain import PlainVendor, basic
from consentry.testing.sandbox.vendor import Call, Operation, Refused

PROJECT = 321


class Amplitude(PlainVendor):
    """One project. events: as exported, with event_time and server_upload_time. events_max: more are "too large"."""

    name: ClassVar[str] = "amplitude"
    token: ClassVar[str] = "sandbox-amplitude"
    key: ClassVar[str] = "sandbox-key"

    def reset(self) -> None:
        """Forget everything: the state of a new project."""
        self.events: list[dict[str, Any]] = []
        self.now = datetime(2026, 3, 31, 12, tzinfo=UTC)
        self.events_max = 1_000_000

    def environment(self, base_url: str) -> dict[str, str]:
        """Return the environment variables with which a job finds this simulator."""
        return {"AMPLITUDE_BASE_URL": base_url, "AMPLITUDE_KEY": self.key, "AMPLITUDE_SECRET": self.token}

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return [Operation("GET", "/api/2/export", self.export)]

    def authenticate(self, call: Call) -> None:
        """Ask for the key and the secret key."""
        self.refuse_credentials(basic(call) == f"{self.key}:{self.token}")

    def export(self, call: Call) -> Response:
        """GET the events that were uploaded from one hour to another."""
        first, last = self._hour(call, "start"), self._hour(call, "end")
        if last < first or last - first > timedelta(days=365):
            raise self.invalid("The time range must lie within 365 days.")
        known = [one for one in self.events if self._uploaded(one) <= self.now - timedelta(hours=3)]
        found = [one for one in known if first <= self._uploaded(one) <= last]
        if not found:
            raise Refused(404, "not_found", "Raw data files not found")
        if len(found) > self.events_max:
            raise self.invalid("Raw data files exceed the size limit")
        return Response(self._packed(found), media_type="application/zip")

    def _hour(self, call: Call, name: str) -> datetime:
        try:
            return datetime.strptime(call.query(name), "%Y%m%dT%H").replace(tzinfo=UTC)
        except ValueError:
            raise self.invalid(f"{name} must be YYYYMMDDTHH") from None

    def _uploaded(self, event: dict[str, Any]) -> datetime:
        at = datetime.fromisoformat(event["server_upload_time"]).replace(tzinfo=UTC)
        return at.replace(minute=0, second=0, microsecond=0)

    def _packed(self, events: list[dict[str, Any]]) -> bytes:
        packed = io.BytesIO()
        hours = sorted({self._uploaded(one) for one in events})
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for hour in hours:
                text = "".join(json.dumps(one) + "\n" for one in events if self._uploaded(one) == hour)
                name = f"{PROJECT}/{PROJECT}_{hour:%Y-%m-%d_%-H}#0.json.gz"
                archive.writestr(name, gzip.compress(text.encode(), 1))
        return packed.getvalue()
