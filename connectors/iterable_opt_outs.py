"""Who unsubscribed in Iterable, complained or bounced for good: its export of events, as JSON lines.

Contract: documentation only (api.iterable.com/api/docs, GET /api/export/data.json); 4 exports a minute. Taking somebody
off a list through the API leaves an event too; it names no channel and no message type, and is nobody's word.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, cast

from consentry.connectors.base import OptOut
from consentry.connectors.heard import BEGINNING, Reason, opt_out
from consentry.connectors.http import HttpClient
from consentry.errors import DestinationFailed

_KINDS: tuple[tuple[str, Reason], ...] = (
    ("emailUnSubscribe", "unsubscribed"),
    ("emailComplaint", "complained"),
    ("emailBounce", "bounced"),
)
_FORM = "%Y-%m-%d %H:%M:%S"


def opt_outs(http: HttpClient, since: datetime | None) -> Iterator[OptOut]:
    """Yield whose events since an instant say no."""
    until = datetime.now(UTC) + timedelta(hours=1)
    window = {"startDateTime": (since or BEGINNING).strftime(_FORM), "endDateTime": until.strftime(_FORM)}
    for kind, reason in _KINDS:
        with tempfile.TemporaryFile() as file:
            into = cast("BinaryIO", file)
            params = {"dataTypeName": kind, **window}
            http.request("GET", "/api/export/data.json", params=params, into=into, operation="export")
            for event in _lines(into):
                if _counts(kind, event) and (
                    found := opt_out(event.get("email"), reason, event.get("createdAt"), said_in=kind)
                ):
                    yield found


def _lines(file: BinaryIO) -> Iterator[dict[str, Any]]:
    for line in file:
        try:
            event = json.loads(line) if line.strip() else {}
        except ValueError:
            event = None
        if not isinstance(event, dict):
            # Its text would name people.
            raise DestinationFailed("A line of Iterable's export cannot be read. Run again.", code="garbage")
        yield event


def _counts(kind: str, event: dict[str, Any]) -> bool:
    if kind == "emailBounce":
        return event.get("recipientState") == "HardBounce"
    named = (event.get("channelIds"), event.get("channelId"), event.get("messageTypeIds"), event.get("messageTypeId"))
    return kind != "emailUnSubscribe" or any(one not in (None, "", "[]", []) for one in named)
