"""Take consent out of what carries it: OneTrust receipts, Cookiebot cookies, events with a consent object.

One row comes of each purpose. `state` is the word of the source, which the policy's vocabulary for that source
(`sources.<system>.states`) turns into a state; a word that it does not list is a denial. A TCF or GPP string is not
decoded here: it stands in `signal` as it came, with `signal_kind`. Nothing is read as a grant that was not said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from consentry.connectors.export_lines import as_text, instant, line_id

COLUMNS = (
    "event_id", "identifier_type", "identifier", "purpose", "state", "method", "mechanism", "region",
    "notice_id", "notice_version", "effective_at", "expires_at", "signal_kind", "signal",
)  # fmt: skip
Row = dict[str, str | None]
# Takes one JSON object; raises ValueError when it is not of the feed.
Feed = Callable[[Mapping[str, Any]], Iterator[Row]]

_COOKIE = re.compile(r"\{\w+:(?:'[^']*'|true|false|-?\d+)(?:,\w+:(?:'[^']*'|true|false|-?\d+))*\}")
_PAIR = re.compile(r"(\w+):('[^']*'|true|false|-?\d+)")
# `necessary` is no consent and maps to no purpose.
_CATEGORIES = ("preferences", "statistics", "marketing")
_STRINGS = {
    "tcf": ("tcString", "tcfString", "tc_string", "tcf"),
    "gpp": ("gppString", "gpp_string", "gpp"),
}


def one_trust(receipt: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the purposes of a OneTrust receipt, once for each identifier; a test receipt has none.

    Fields as OneTrust's consent receipts API has them: identifier, identifierType, additionalIdentifiers, purposes
    with TransactionType when written and Status when read. What people saw is the collection point and the version of
    the purpose, or of the collection point; a receipt that names none proves no
    grant. A date is that of the withdrawal where it is one.
    """
    if receipt.get("test") in (True, "true"):
        return
    purposes, who = receipt.get("purposes"), _identifiers(receipt)
    if not isinstance(purposes, list) or not purposes or not who:
        raise ValueError("no receipt")
    named = as_text(receipt.get("receiptId") or receipt.get("guid")) or line_id(receipt)
    for number, purpose in enumerate(purposes):
        # A purpose that cannot be read keeps its row: without a word it is a denial, and the others are not lost.
        about = {key[:1].lower() + key[1:]: value for key, value in _mapping(purpose).items()}
        name = as_text(about.get("id") or about.get("purposeId"))
        state = about.get("transactionType") or about.get("status")
        for kind, value in who.items():
            yield {
                "event_id": f"{named}:{name or number}:{kind}",
                "identifier_type": kind,
                "identifier": value,
                "purpose": name,
                "state": as_text(state),
                "method": "explicit",
                "mechanism": "onetrust",
                "notice_id": as_text(about.get("collectionPointGuid") or receipt.get("collectionPointGuid")),
                "notice_version": as_text(about.get("version") or receipt.get("collectionPointVersion")),
                "effective_at": _dated(receipt, str(state).upper() == "WITHDRAWN"),
                "expires_at": as_text(about.get("expiryDate") or receipt.get("expiryDate")),
            }


def cookiebot(line: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the categories of a Cookiebot cookie: `accepted`, `accepted_implied` or `declined`.

    line: `cookie` holds the value of CookieConsent, URL-encoded or not; it is not JSON. `identifier` and
    `identifier_type` may say whose it is; else it is the cookie's own stamp. `-1` says that the region asks for no
    consent, which is none. Only what was chosen explicitly is `accepted`.
    """
    text = unquote(_needed(line.get("cookie"))).strip()
    if text == "-1":
        return
    if not _COOKIE.fullmatch(text):
        raise ValueError("no cookie of Cookiebot")
    found = {name: value.strip("'") for name, value in _PAIR.findall(text)}
    stamp, at = _needed(found.get("stamp")), instant(int(_needed(found.get("utc"))) / 1000)
    method = found.get("method", "")
    for category in _CATEGORIES:
        if category not in found:
            continue
        accepted = "accepted" if method == "explicit" else "accepted_implied"
        yield {
            "event_id": f"{stamp}:{found['utc']}:{category}",
            "identifier_type": as_text(line.get("identifier_type")) if line.get("identifier") else "cookiebot_stamp",
            "identifier": as_text(line.get("identifier")) or stamp,
            "purpose": category,
            "state": accepted if found[category] == "true" else "declined",
            "method": method if method in ("explicit", "implied") else None,
            "mechanism": "cookiebot",
            "notice_id": "cookiebot",
            "notice_version": found.get("ver"),
            "region": found.get("region"),
            "effective_at": at,
        }


def event_consent(event: Mapping[str, Any]) -> Iterator[Row]:
    """Yield what an event says of consent, once for each identifier; an event that says nothing gives nothing.

    Segment: context.consent.categoryPreferences, `true` or `false`. RudderStack: context.consentManagement, `allowed`
    or `denied`; a purpose that stands in both is denied. mParticle: consent_state.gdpr. A TCF or GPP string beside
    them is a row without purpose and state.
    """
    context = _mapping(event.get("context"))
    consent, managed = _mapping(context.get("consent")), _mapping(context.get("consentManagement"))
    said: list[Row] = [
        *_segment(consent),
        *_rudderstack(managed),
        *_mparticle(_mapping(_mapping(event.get("consent_state")).get("gdpr"))),
        *_strings({**_mapping(event.get("properties")), **context, **consent}),
    ]
    if not said:
        return
    kinds = {"user_id": event.get("userId"), "anonymous_id": event.get("anonymousId"), "mpid": event.get("mpid")}
    who = {kind: text for kind, value in kinds.items() if (text := as_text(value))}
    named = as_text(event.get("messageId")) or line_id(event)
    if not who:
        raise ValueError("nobody's consent")
    for row in said:
        for kind, value in who.items():
            about = row.get("purpose") or row.get("signal_kind")
            at = row.get("effective_at") or as_text(event.get("timestamp"))
            told: Row = {"event_id": f"{named}:{about}:{kind}", "identifier_type": kind, "identifier": value}
            yield {**row, **told, "effective_at": at}


FEEDS: Mapping[str, Feed] = {"onetrust": one_trust, "cookiebot": cookiebot, "event_consent": event_consent}


def _segment(consent: Mapping[str, Any]) -> Iterator[Row]:
    for purpose, allowed in _mapping(consent.get("categoryPreferences")).items():
        yield {"purpose": purpose, "state": as_text(allowed), "mechanism": "segment"}


def _rudderstack(managed: Mapping[str, Any]) -> Iterator[Row]:
    denied, allowed = (_names(managed.get(key)) for key in ("deniedConsentIds", "allowedConsentIds"))
    for purpose in dict.fromkeys([*denied, *allowed]):
        state = "denied" if purpose in denied else "allowed"
        yield {"purpose": purpose, "state": state, "mechanism": as_text(managed.get("provider")) or "rudderstack"}


def _mparticle(gdpr: Mapping[str, Any]) -> Iterator[Row]:
    for purpose, about in gdpr.items():
        told = _mapping(about)
        at = told.get("timestamp_unixtime_ms")
        dated = instant(at / 1000) if isinstance(at, int) else None
        yield {
            "purpose": purpose,
            "state": as_text(told.get("consented")),
            "mechanism": "mparticle",
            "effective_at": dated,
        }


def _strings(places: Mapping[str, Any]) -> Iterator[Row]:
    for kind, names in _STRINGS.items():
        for name in names:
            if isinstance(places.get(name), str) and places[name]:
                yield {"signal_kind": kind, "signal": places[name], "mechanism": kind}
                break


def _identifiers(receipt: Mapping[str, Any]) -> dict[str, str]:
    """Return who a receipt is about: the identifier of its type, and the additional ones."""
    found: dict[str, str] = {}
    kind, value = as_text(receipt.get("identifierType")), as_text(receipt.get("identifier"))
    if value:
        found[(kind or "identifier").lower()] = value
    for name, more in _mapping(receipt.get("additionalIdentifiers")).items():
        if text := as_text(more):
            found.setdefault(name.lower(), text)
    return found


def _dated(receipt: Mapping[str, Any], withdrawn: bool) -> str | None:
    names = ("withdrawnDate", "interactionDate") if withdrawn else ("consentDate", "interactionDate")
    return next((text for name in names if (text := as_text(receipt.get(name)))), None)


def _needed(value: object) -> str:
    text = as_text(value)
    if not text:
        raise ValueError("something is missing")
    return text


def _names(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
