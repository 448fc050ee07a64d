"""Read what consent platforms, event streams and marketing tools send: receipts, cookies, subscription states."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from urllib.parse import unquote

from consentry.consent.signals.rows import MAX_PURPOSES, Row, Sent, at_millis, only_text

# OneTrust's words (docs.loyjoy.com); what is not listed is a denial. ALWAYS_ACTIVE is for necessary purposes alone,
# which no consent is asked for.
_ONETRUST = {
    "CONFIRMED": "granted",
    "ACTIVE": "granted",
    "EXTEND": "granted",
    "WITHDRAWN": "withdrawn",
    "EXPIRED": "expired",
}
_IDENTIFIER_TYPES = {"email": "email", "e-mail": "email", "phone": "phone", "phone number": "phone", "sms": "phone"}


def onetrust(sent: Sent) -> Iterator[Row]:
    """Read a OneTrust consent receipt (developer.onetrust.com, consent receipts); test receipts are dropped."""
    receipt = sent.json()
    purposes = receipt.get("purposes") if isinstance(receipt, dict) else None
    if not isinstance(purposes, list) or not purposes:
        yield from sent.unreadable()
        return
    # Only a real `false` or no word at all is no test.
    if receipt.get("test") not in (None, False):
        return
    kind = _IDENTIFIER_TYPES.get(str(receipt.get("identifierType", "")).strip().lower())
    facts = {
        "identifier_type": sent.row.get("identifier_type") or kind,
        "identifier_value": sent.row.get("identifier_value") or only_text(receipt.get("identifier")),
    }
    for purpose in islice(purposes, MAX_PURPOSES):
        name = only_text(purpose.get("Id") or purpose.get("id")) if isinstance(purpose, dict) else None
        if name is None:
            yield from sent.unreadable()
            continue
        word = purpose.get("TransactionType") or purpose.get("Status")
        state = _ONETRUST.get(word, "denied") if isinstance(word, str) else "denied"
        date = receipt.get("withdrawnDate") if state == "withdrawn" else receipt.get("consentDate")
        at = only_text(date) or only_text(receipt.get("interactionDate"))
        yield sent.says(
            f"onetrust:{name}", state, effective_at=at, expires_at=only_text(purpose.get("ExpiryDate")), **facts
        )


_COOKIEBOT = re.compile(
    r"(stamp|region|method):'([^',{}]{0,512})'"
    r"|(necessary|preferences|statistics|marketing|ver|utc):(true|false|-?[0-9]{1,15})"
)


def cookiebot(sent: Sent) -> Iterator[Row]:
    """Read the cookie `CookieConsent`, which is no JSON; `necessary` and `-1` are nobody's consent.

    Format: sprtags.io, read-cookiebot-consent-state-sgtm. A method other than `explicit` counts as implied.
    """
    text = unquote(sent.payload).strip()
    parts = text[1:-1].split(",") if text.startswith("{") and text.endswith("}") else []
    found: dict[str, str] = {}
    for part in islice(parts, 50):
        match = _COOKIEBOT.fullmatch(part.strip())
        if match:
            found[match[1] or match[3]] = match[2] if match[1] else match[4]
    if "stamp" not in found or not {"preferences", "statistics", "marketing"} & set(found):
        yield from sent.unreadable()
        return
    at = at_millis(int(found["utc"])) if found.get("utc", "").isdigit() else None
    whose = {} if sent.row.get("identifier_value") else {
        "identifier_type": "cookiebot_stamp", "identifier_value": found["stamp"]
    }  # fmt: skip
    for category in ("preferences", "statistics", "marketing"):
        if found.get(category) in ("true", "false"):
            yield sent.says(
                f"cookiebot:{category}",
                "granted" if found[category] == "true" else "denied",
                method="explicit" if found.get("method") == "explicit" else "implied",
                effective_at=at,
                **whose,
            )


# Payloads of JSON have no type until they are looked at.
def _inside(found: object, *path: str) -> object:
    """Return what lies under a path, whether the payload begins there or further out; None when it is nowhere."""
    for start in range(len(path)):
        inner = found
        for step in path[start:]:
            inner = inner.get(step) if isinstance(inner, Mapping) else None
        if inner is not None:
            return inner
    return None


def segment(sent: Sent) -> Iterator[Row]:
    """Read Segment's consent object: `true` is a grant, everything else a denial; no object is no word."""
    event = sent.json()
    preferences = _inside(event, "context", "consent", "categoryPreferences")
    if not isinstance(preferences, Mapping) or not preferences:
        yield from sent.unreadable()
        return
    at = only_text(event.get("timestamp"))
    for category, value in islice(preferences.items(), MAX_PURPOSES):
        yield sent.says(f"segment:{category}", "granted" if value is True else "denied", effective_at=at)


def rudderstack(sent: Sent) -> Iterator[Row]:
    """Read RudderStack's consent object: allowed and not denied is a grant; the strategy `or` is not followed."""
    event = sent.json()
    found = _inside(event, "context", "consentManagement")
    found = found if isinstance(found, Mapping) else event
    allowed, denied = (
        found.get(name, []) if isinstance(found, Mapping) else None
        for name in ("allowedConsentIds", "deniedConsentIds")
    )
    lists = [one for one in (allowed, denied) if isinstance(one, list) and all(isinstance(x, str) for x in one)]
    if len(lists) < 2 or not any(lists):
        yield from sent.unreadable()
        return
    refused = {name.strip() for name in lists[1]}
    at = only_text(event.get("originalTimestamp")) or only_text(event.get("timestamp"))
    for name in islice(sorted({name.strip() for name in lists[0]} | refused), MAX_PURPOSES):
        yield sent.says(f"rudderstack:{name}", "denied" if name in refused else "granted", effective_at=at)


def mparticle(sent: Sent) -> Iterator[Row]:
    """Read mParticle's consent_state; `data_sale_opt_out` is an objection when it is consented to."""
    found = _inside(sent.json(), "consent_state")
    found = found if isinstance(found, Mapping) else sent.json()
    gdpr, ccpa = (found.get(name) if isinstance(found, Mapping) else None for name in ("gdpr", "ccpa"))
    if not isinstance(gdpr, Mapping) and not isinstance(ccpa, Mapping):
        yield from sent.unreadable()
        return
    for name, one in islice(gdpr.items() if isinstance(gdpr, Mapping) else (), MAX_PURPOSES):
        state = "granted" if isinstance(one, Mapping) and one.get("consented") is True else "denied"
        facts = one if isinstance(one, Mapping) else {}
        yield sent.says(
            f"mparticle:{name}",
            state,
            regime="gdpr",
            effective_at=at_millis(facts.get("timestamp_unixtime_ms")),
            notice_id=only_text(facts.get("document")),
        )
    sale = ccpa.get("data_sale_opt_out") if isinstance(ccpa, Mapping) else None
    if isinstance(sale, Mapping) and sale.get("consented") is not False:
        at = at_millis(sale.get("timestamp_unixtime_ms"))
        for purpose in sent.sold_for:
            yield sent.says(purpose, "objected", regime="us", effective_at=at)


def hubspot(sent: Sent) -> Iterator[Row]:
    """Read HubSpot's subscription states; only CONSENT_WITH_NOTICE is a consent somebody gave."""
    found = sent.json()
    states = found.get("subscriptionStatuses") or found.get("results") if isinstance(found, Mapping) else None
    if not isinstance(states, list) or not states:
        yield from sent.unreadable()
        return
    recipient = only_text(found.get("recipient"))
    for one in islice(states, MAX_PURPOSES):
        name = (one.get("id") or one.get("subscriptionId")) if isinstance(one, Mapping) else None
        if not isinstance(name, str | int) or isinstance(name, bool):
            yield from sent.unreadable()
            continue
        word, basis = one.get("status"), one.get("legalBasis")
        state = "granted" if word == "SUBSCRIBED" else "withdrawn" if word in ("NOT_SUBSCRIBED", "UNSUBSCRIBED") else ""
        yield sent.says(
            f"hubspot:{name}",
            state or "denied",
            identifier_type=sent.row.get("identifier_type") or "email",
            identifier_value=sent.row.get("identifier_value") or recipient,
            method="explicit" if state != "granted" or basis == "CONSENT_WITH_NOTICE" else "implied",
            effective_at=only_text(one.get("timestamp") or one.get("updatedAt")),
        )


_KLAVIYO = {"SUBSCRIBED": "granted", "UNSUBSCRIBED": "withdrawn"}


def klaviyo(sent: Sent) -> Iterator[Row]:
    """Read the subscriptions of a Klaviyo profile; a suppression is a withdrawal, NEVER_SUBSCRIBED is no word."""
    subscriptions = _inside(sent.json(), "data", "attributes", "subscriptions")
    if not isinstance(subscriptions, Mapping):
        yield from sent.unreadable()
        return
    for channel in ("email", "sms"):
        marketing = _inside(subscriptions.get(channel), "marketing")
        if not isinstance(marketing, Mapping) or marketing.get("consent") == "NEVER_SUBSCRIBED":
            continue
        word = marketing.get("consent")
        state = _KLAVIYO.get(word, "denied") if isinstance(word, str) else "denied"
        if marketing.get("suppression") or marketing.get("suppressions"):
            state = "withdrawn"
        yield sent.says(
            f"klaviyo:{channel}",
            state,
            method="explicit" if marketing.get("double_optin") is True else "import",
            mechanism=only_text(marketing.get("method_detail")) or only_text(marketing.get("method")),
            effective_at=only_text(marketing.get("consent_timestamp") or marketing.get("last_updated")),
        )
