"""Who is unsubscribed in Customer.io, complained or bounced: asked of the App API, which has a key of its own.

Contract: documentation only (docs.customer.io/api/app): POST /v1/customers with a filter, POST /v1/customers/attributes
for when it was said, GET /v1/esp/suppression/{type}; 10 requests a second. Nothing says who unsubscribed since an
instant, so that everybody is read each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from consentry.connectors.base import OptOut
from consentry.connectors.heard import Reason, opt_out
from consentry.connectors.http import HttpClient, HttpFailed
from consentry.connectors.http_destination import objects, shaped

PAGE, TIMES_MAX = 1_000, 100
_SUPPRESSIONS: tuple[tuple[str, Reason], ...] = (
    ("bounces", "bounced"),
    ("invalid_emails", "bounced"),
    ("blocks", "suppressed"),
    ("spam_reports", "complained"),
)
_UNSUBSCRIBED = {"attribute": {"field": "unsubscribed", "operator": "eq", "value": "true"}}


def opt_outs(http: HttpClient, since: datetime | None) -> Iterator[OptOut]:
    """Yield who is unsubscribed, and who was suppressed since an instant."""
    yield from _unsubscribed(http)
    for kind, reason in _SUPPRESSIONS:
        offset = 0
        while True:
            params = {"limit": str(PAGE), "offset": str(offset)}
            body = shaped(http.request("GET", f"/v1/esp/suppression/{kind}", params=params), http.vendor)
            page = objects(body.get("suppressions"))
            for one in page:
                found = opt_out(one.get("email"), reason, one.get("created"), said_in=kind)
                if found and (since is None or found.at >= since):
                    yield found
            offset += PAGE
            if len(page) < PAGE:
                break


def _unsubscribed(http: HttpClient) -> Iterator[OptOut]:
    start = ""
    while True:
        params = {"limit": str(PAGE)} | ({"start": start} if start else {})
        answer = http.request("POST", "/v1/customers", params=params, body={"filter": _UNSUBSCRIBED}, repeatable=True)
        body = shaped(answer, http.vendor)
        people = objects(body.get("identifiers"))
        for first in range(0, len(people), TIMES_MAX):
            some = people[first : first + TIMES_MAX]
            times = _times(http, [str(one["cio_id"]) for one in some if one.get("cio_id")])
            for one in some:
                at = times.get(str(one.get("cio_id")))
                if found := opt_out(one.get("email"), "unsubscribed", at, said_in=str(one.get("cio_id"))):
                    yield found
        following = str(body.get("next") or "")
        if not following:
            return
        if following == start:
            raise HttpFailed("Customer.io gave the same page again, which would never end.", code="repeated_cursor")
        start = following


def _times(http: HttpClient, ids: list[str]) -> dict[str, Any]:
    """Return when each person became unsubscribed, as far as Customer.io says so."""
    if not ids:
        return {}
    answer = http.request("POST", "/v1/customers/attributes", body={"ids": ids}, repeatable=True)
    return {
        str((one.get("identifiers") or {}).get("cio_id")): (one.get("timestamps") or {}).get("unsubscribed")
        for one in objects(shaped(answer, http.vendor).get("customers"))
    }
