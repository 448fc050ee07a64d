"""Who opted out of all e-mail of a HubSpot account, or whose address bounced for good.

Contacts with `hs_email_optout` or a hard bounce are searched by the time of their last change, in the order of their
ids, so that the search never comes near its cap of 10,000 results. When it was said is asked of the communication
preferences (subscriptions.json, 2026-09), which needs their scope. Opting out of one type of subscription is not
opting out of all: read `email_preferences` as a consent feed for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from consentry.connectors.base import OptOut
from consentry.connectors.heard import BEGINNING, Reason, opt_out
from consentry.connectors.http import HttpClient
from consentry.connectors.http_destination import objects, shaped
from consentry.connectors.hubspot_read import VERSION

PAGE = 100
OPTED_OUT, BOUNCED = "hs_email_optout", "hs_email_hard_bounce_reason_enum"


def opt_outs(http: HttpClient, since: datetime | None) -> Iterator[OptOut]:
    """Yield who opted out, or bounced, among the contacts that changed since an instant."""
    last = 0
    while page := _page(http, since or BEGINNING, last):
        out = {str(one["properties"].get("email")).lower() for one in page if _true(one["properties"].get(OPTED_OUT))}
        times = _times(http, sorted(out)) if out else {}
        for contact in page:
            about, email = contact["properties"], str(contact["properties"].get("email")).lower()
            said = times.get(email) if email in out else None
            reason: Reason = "unsubscribed" if email in out else "bounced"
            at = said or about.get("lastmodifieddate")
            if found := opt_out(about.get("email"), reason, at, said_in=str(contact["id"])):
                yield found
        last = max(int(one["id"]) for one in page)


def _page(http: HttpClient, since: datetime, last: int) -> list[dict[str, Any]]:
    changed = {"propertyName": "lastmodifieddate", "operator": "GTE", "value": str(int(since.timestamp() * 1000))}
    behind = {"propertyName": "hs_object_id", "operator": "GT", "value": str(last)}
    kinds = (
        {"propertyName": OPTED_OUT, "operator": "EQ", "value": "true"},
        {"propertyName": BOUNCED, "operator": "HAS_PROPERTY"},
    )
    body = {
        "filterGroups": [{"filters": [kind, changed, behind]} for kind in kinds],
        "sorts": ["hs_object_id"],
        "properties": ["email", "lastmodifieddate", OPTED_OUT],
        "limit": PAGE,
        "after": "0",
    }
    path = f"/crm/objects/{VERSION}/contacts/search"
    answer = http.request("POST", path, body=body, repeatable=True, operation="search")
    return objects(shaped(answer, "HubSpot").get("results"))


def _times(http: HttpClient, emails: list[str]) -> dict[str, str]:
    """Return when each address opted out of everything, as far as HubSpot says so."""
    path = f"/communication-preferences/{VERSION}/statuses/batch/unsubscribe-all/read"
    answer = http.request("POST", path, params={"channel": "EMAIL"}, body={"inputs": emails}, repeatable=True)
    wide = [one for found in objects(shaped(answer, "HubSpot").get("results")) for one in _wide(found)]
    return {
        str(one.get("subscriberIdString")).lower(): str(one.get("timestamp"))
        for one in wide
        if one.get("status") == "UNSUBSCRIBED" and one.get("timestamp")
    }


def _wide(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return objects(found.get("wideStatuses"))


def _true(value: object) -> bool:
    return str(value).lower() == "true"
