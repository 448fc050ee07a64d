"""Who unsubscribed from the lists that are kept in Mailchimp, or was cleaned from them after bounces.

Contract: GET /lists/{id}/members with `status` and `since_last_changed` (description 3.0.55). Mailchimp says when a
member last changed, not when they unsubscribed: who is unsubscribed and changes otherwise is read again, later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from urllib.parse import quote

from consentry.connectors.base import OptOut
from consentry.connectors.heard import Reason, opt_out
from consentry.connectors.http import HttpClient, HttpFailed
from consentry.connectors.http_destination import objects, shaped

PAGE = 1_000
_STATUSES: tuple[tuple[str, Reason], ...] = (("unsubscribed", "unsubscribed"), ("cleaned", "bounced"))
_ATTEMPTS = 5


def opt_outs(http: HttpClient, since: datetime | None, lists: Collection[str]) -> Iterator[OptOut]:
    """Yield who is unsubscribed from some lists, or cleaned, and changed since an instant."""
    for one in sorted(lists):
        for status, reason in _STATUSES:
            for member in _members(http, one, status, since):
                name = f"{one}:{member.get('id')}"
                if found := opt_out(member.get("email_address"), reason, member.get("last_changed"), said_in=name):
                    yield found


def _members(http: HttpClient, listed: str, status: str, since: datetime | None) -> list[dict[str, object]]:
    """Read all pages; again when the list moved meanwhile, for offsets then miss somebody."""
    query = {"status": status, "fields": "members.id,members.email_address,members.last_changed,total_items"}
    query |= {"since_last_changed": since.isoformat()} if since else {}
    for _ in range(_ATTEMPTS):
        totals, found = set[int](), dict[str, dict[str, object]]()
        offset = 0
        while True:
            params = {**query, "count": str(PAGE), "offset": str(offset)}
            path = f"/3.0/lists/{quote(listed, safe='')}/members"
            page = shaped(http.request("GET", path, params=params), http.vendor)
            members = objects(page.get("members"))
            totals.add(int(page.get("total_items") or 0))
            found |= {str(member.get("id")): member for member in members}
            offset += PAGE
            if len(members) < PAGE:
                break
        if totals == {len(found)}:
            return list(found.values())
    raise HttpFailed("Mailchimp's list changes faster than it can be read. Run again later.", code="moving")
