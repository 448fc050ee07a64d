"""Take consent out of the lines that carry it: OneTrust receipts, Cookiebot cookies, events, IAB strings in events.

Here it is only found: each row says whose it is, when, and holds in `payload` what the platform sent, as it came. What
that means is decided by the stream's `signal` (docs/consent.md); nothing is taken for a grant on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from consentry.connectors.export_lines import as_text, line_id

COLUMNS = ("event_id", "identifier_type", "identifier", "effective_at", "payload")
Row = dict[str, str | None]
# Takes one JSON object; raises ValueError when it is not of the feed.
Feed = Callable[[Mapping[str, Any]], Iterator[Row]]

# Where IAB strings stand in an event: in its properties, its context or its context.consent, under these names.
_STRINGS = {
    "tcf": ("tcString", "tcfString", "tc_string", "tcf"),
    "gpp": ("gppString", "gpp_string", "gpp"),
}
_MADE_FROM = {
    "segment": ("context", "consent"),
    "rudderstack": ("context", "consentManagement"),
    "mparticle": ("consent_state",),
}


def one_trust(receipt: Mapping[str, Any]) -> Iterator[Row]:
    """Yield a OneTrust receipt once for each identifier it names, the additional ones too."""
    who = _receipt_identifiers(receipt)
    if not isinstance(receipt.get("purposes"), list) or not who:
        raise ValueError("no receipt")
    named = as_text(receipt.get("receiptId") or receipt.get("guid")) or line_id(receipt)
    for kind, value in who.items():
        row: Row = {"event_id": f"{named}:{kind}", "identifier_type": kind, "identifier": value}
        yield {**row, "effective_at": as_text(receipt.get("interactionDate")), "payload": as_text(dict(receipt))}


def cookiebot(line: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the cookie of a line; `identifier`, `identifier_type` and `event_id` stand beside it where they are known.

    Without an identifier it is the cookie's own stamp that says whose it is.
    """
    cookie = line.get("cookie")
    if not isinstance(cookie, str) or not cookie:
        raise ValueError("no cookie")
    beside = {name: as_text(line.get(name)) for name in COLUMNS[:-1]}
    yield {**beside, "event_id": beside["event_id"] or line_id(line), "payload": cookie}


def platform_consent(platform: str, event: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the consent object of an event, once for each identifier; nothing when it has none."""
    inner: Any = event
    path = _MADE_FROM[platform]
    for step in path:
        inner = inner.get(step) if isinstance(inner, Mapping) else None
    if inner is None:
        return
    # Only what is needed goes on: the rest of the event says more of the person than their consent.
    payload: Any = inner
    for step in reversed(path):
        payload = {step: payload}
    dated = {name: event[name] for name in ("timestamp", "originalTimestamp") if name in event}
    yield from _of_event(event, platform, as_text({**payload, **dated}))


def iab_string(kind: str, event: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the TCF or GPP string of an event, once for each identifier; nothing when it has none."""
    context = _mapping(event.get("context"))
    for place in (_mapping(context.get("consent")), context, _mapping(event.get("properties"))):
        found = next((place[name] for name in _STRINGS[kind] if isinstance(place.get(name), str) and place[name]), None)
        if found:
            yield from _of_event(event, kind, found)
            return


FEEDS: Mapping[str, Feed] = {
    "onetrust": one_trust,
    "cookiebot": cookiebot,
    "segment_consent": partial(platform_consent, "segment"),
    "rudderstack_consent": partial(platform_consent, "rudderstack"),
    "mparticle_consent": partial(platform_consent, "mparticle"),
    "tcf": partial(iab_string, "tcf"),
    "gpp": partial(iab_string, "gpp"),
}


def _of_event(event: Mapping[str, Any], kind: str, payload: str | None) -> Iterator[Row]:
    given = {"user_id": event.get("userId"), "anonymous_id": event.get("anonymousId"), "mpid": event.get("mpid")}
    who = {name: text for name, value in given.items() if (text := as_text(value))}
    if not who:
        raise ValueError("nobody's consent")
    named = as_text(event.get("messageId")) or line_id(event)
    at = as_text(event.get("originalTimestamp") or event.get("timestamp"))
    for name, value in who.items():
        row: Row = {"event_id": f"{named}:{kind}:{name}", "identifier_type": name, "identifier": value}
        yield {**row, "effective_at": at, "payload": payload}


def _receipt_identifiers(receipt: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    kind, value = as_text(receipt.get("identifierType")), as_text(receipt.get("identifier"))
    if value:
        found[(kind or "identifier").strip().lower()] = value
    for name, more in _mapping(receipt.get("additionalIdentifiers")).items():
        if text := as_text(more):
            found.setdefault(name.strip().lower(), text)
    return found


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
