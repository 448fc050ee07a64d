"""Who unsubscribed in Braze, or bounced for good.

Contract: documentation only (braze-docs, get_query_unsubscribed_email_addresses.md and get_list_hard_bounces.md):
days of the calendar, at most 500 addresses a page. The key needs email.unsubscribe and email.hard_bounces.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from consentry.connectors.base import OptOut
from consentry.connectors.heard import BEGINNING, Reason, opt_out
from consentry.connectors.http import HttpClient
from consentry.connectors.http_destination import objects, shaped

PAGE = 500
_KINDS: tuple[tuple[str, Reason, str], ...] = (
    ("unsubscribes", "unsubscribed", "unsubscribed_at"),
    ("hard_bounces", "bounced", "hard_bounced_at"),
)


def opt_outs(http: HttpClient, since: datetime | None) -> Iterator[OptOut]:
    """Yield who unsubscribed or bounced on a day from that of an instant on."""
    until = datetime.now(UTC) + timedelta(days=1)
    days = {"start_date": (since or BEGINNING).date().isoformat(), "end_date": until.date().isoformat()}
    for kind, reason, when in _KINDS:
        offset = 0
        while True:
            params = {**days, "limit": str(PAGE), "offset": str(offset)}
            page = objects(shaped(http.request("GET", f"/email/{kind}", params=params), http.vendor).get("emails"))
            for one in page:
                if found := opt_out(one.get("email"), reason, one.get(when), said_in=kind):
                    yield found
            offset += PAGE
            if len(page) < PAGE:
                break
