"""How many calls a Salesforce org has left: all who call it share the calls of 24 hours.

Every answer of the data API says how many were used (Sforce-Limit-Info, REST API Developer Guide, November 2026; the
number may lag behind). The last one is followed by refusals for everybody, so that a part is left to others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from consentry.connectors.http import vendor_code
from consentry.connectors.retry import retry_after
from consentry.connectors.room import DAY_WAIT, Room, hold_off

_USED = re.compile(r"\bapi-usage=(\d+)/(\d+)")


def room(share: float) -> Room:
    """Return what reads the headers: it asks for a pause once this share of the org's calls is used."""

    def wait(headers: Mapping[str, str], now: float) -> float:
        used = _USED.search(headers.get("sforce-limit-info", ""))
        if used and int(used[1]) >= int(used[2]) * share:
            return DAY_WAIT
        return hold_off(headers, now)

    return wait


# Bodies of errors are JSON of any shape.
def is_daily_limit(status: int, headers: Mapping[str, str], body: Any) -> bool:
    """Tell the refusal for a used-up day, which is a 403, from a lack of rights."""
    return status == 403 and vendor_code(body) == "REQUEST_LIMIT_EXCEEDED"


def pause(status: int, headers: Mapping[str, str], body: Any) -> float | None:
    """Read how long to wait; the calls of 24 hours come back hour by hour, not by trying."""
    if is_daily_limit(status, headers, body):
        return DAY_WAIT
    return retry_after(headers.get("retry-after"), datetime.now(UTC))
