"""Who unsubscribed from the lists that are kept in ActiveCampaign, or bounced there.

Contract: documentation only (developers.activecampaign.com, list all contacts: `listid`, `status`,
`filters[updated_after]`, `include=contactLists`). A sync that takes somebody off a list can only unsubscribe them, so
that an unsubscription counts as the person's word when a campaign or a reason stands beside it. Who is unsubscribed
without either stays off the list all the same: nobody is subscribed again (`resubscribe`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

from consentry.connectors.base import OptOut
from consentry.connectors.heard import Reason, opt_out

PAGE = 100
UNSUBSCRIBED, BOUNCED = "2", "3"
# One page of contacts with what else was asked for, by its offset.
Page = Callable[[Mapping[str, str]], Mapping[str, Any]]


def opt_outs(page_of: Page, since: datetime | None, lists: Collection[str]) -> Iterator[OptOut]:
    """Yield who unsubscribed from some lists, or bounced, and changed since an instant."""
    changed = {"filters[updated_after]": since.isoformat()} if since else {}
    for one in sorted(lists):
        for status in (UNSUBSCRIBED, BOUNCED):
            offset = 0
            while True:
                asked = {"listid": one, "status": status, "include": "contactLists", **changed}
                # In the order of ids, which do not move while pages are read.
                order = {"orders[id]": "ASC", "limit": str(PAGE), "offset": str(offset)}
                body = page_of({**asked, **order})
                contacts = body["contacts"]
                yield from _said(body, one, status)
                offset += PAGE
                if len(contacts) < PAGE:
                    break


def _said(body: Mapping[str, Any], listed: str, status: str) -> Iterator[OptOut]:
    about = {
        str(one.get("contact")): one
        for one in body.get("contactLists") or ()
        if str(one.get("list")) == listed and str(one.get("status")) == status
    }
    for contact in body["contacts"]:
        line = about.get(str(contact.get("id")))
        if line is None or (status == UNSUBSCRIBED and not _own_word(line)):
            continue
        reason: Reason = "bounced" if status == BOUNCED else "unsubscribed"
        name = f"{listed}:{contact.get('id')}"
        if found := opt_out(contact.get("email"), reason, line.get("udate"), said_in=name):
            yield found


def _own_word(line: Mapping[str, Any]) -> bool:
    return str(line.get("campaign") or "0") != "0" or bool(line.get("unsubreason"))
