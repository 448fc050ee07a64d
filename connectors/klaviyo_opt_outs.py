"""Who is suppressed in Klaviyo, everywhere or on one of the lists that are kept.

Contract: profiles.json (2026-07-15), filters and sorts of get_profiles, EmailMarketingSuppression and
EmailMarketingListSuppression. Words about SMS have no filter and are not read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

from consentry.connectors.base import OptOut
from consentry.connectors.heard import BEGINNING, Reason, opt_out

Pages = Callable[[str, Mapping[str, str], str], Iterator[list[dict[str, Any]]]]
_WHERE = "subscriptions.email.marketing"
_REASONS: dict[str, Reason] = {
    "UNSUBSCRIBE": "unsubscribed",
    "SPAM_COMPLAINT": "complained",
    "SPAM_REPORT": "complained",
    "HARD_BOUNCE": "bounced",
    "INVALID_EMAIL": "bounced",
}


def opt_outs(pages: Pages, since: datetime | None, lists: Collection[str]) -> Iterator[OptOut]:
    """Yield who was suppressed since an instant: everywhere, and on each of some lists."""
    began = (since or BEGINNING).isoformat()
    asked = [("suppression", f"greater-or-equal({_WHERE}.suppression.timestamp,{began})", "")]
    for one in sorted(lists):
        named = f"equals({_WHERE}.list_suppressions.list_id,{json.dumps(one)})"
        when = f"greater-or-equal({_WHERE}.list_suppressions.timestamp,{began})"
        asked.append(("list_suppressions", f"and({named},{when})", one))
    for kind, condition, listed in asked:
        params = {
            "filter": condition,
            "additional-fields[profile]": "subscriptions",
            "fields[profile]": f"email,{_WHERE}.{kind}",
            "sort": f"{_WHERE}.{kind}.timestamp",
            "page[size]": "100",
        }
        for page in pages("/api/profiles", params, "profiles"):
            for profile in page:
                yield from _said(profile, kind, listed, since)


def _said(profile: Mapping[str, Any], kind: str, listed: str, since: datetime | None) -> Iterator[OptOut]:
    about = profile.get("attributes") or {}
    marketing = ((about.get("subscriptions") or {}).get("email") or {}).get("marketing") or {}
    for one in marketing.get(kind) or ():
        if listed and one.get("list_id") != listed:
            continue
        reason = _REASONS.get(str(one.get("reason")), "suppressed")
        named = ":".join(filter(None, (str(profile.get("id")), listed)))
        found = opt_out(about.get("email"), reason, one.get("timestamp"), said_in=named)
        # A profile has older words beside the one that it was found by.
        if found and (since is None or found.at >= since):
            yield found
