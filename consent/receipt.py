"""Render an event of the ledger as a consent receipt: ISO/IEC TS 27560:2023 in the terms of W3C DPV, as JSON-LD.

Terms: w3c.github.io/dpv/guides/consent-27560. The person appears under the ledger's keyed hash alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CONTEXT = {
    "dpv": "https://w3id.org/dpv#",
    "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
    "dct": "http://purl.org/dc/terms/",
}
_STATUS = {
    "granted": "dpv:ConsentGiven",
    "denied": "dpv:ConsentRefused",
    "withdrawn": "dpv:ConsentWithdrawn",
    "expired": "dpv:ConsentExpired",
    "objected": "dpv:ConsentRefused",
}


# JSON-LD is plain JSON.
def receipt(event: Mapping[str, object], *, policy_id: str, policy_sha256: str) -> dict[str, Any]:
    """Return the receipt of one event of the ledger."""
    given = event["state"] == "granted" and event["method"] in ("explicit", "guardian")
    found: dict[str, Any] = {
        "@context": _CONTEXT,
        "@id": f"urn:uuid:{event['event_id']}",
        "@type": "dpv:ConsentRecord",
        "dct:conformsTo": "https://w3id.org/dpv/schema/dpv-27560",
        "dpv:hasIdentifier": event["event_id"],
        "dpv:hasDataSubject": {"@type": "dpv:DataSubject", "dpv:hasIdentifier": event["identifier_hmac"]},
        "dpv:hasPurpose": {"@type": "dpv:Purpose", "dct:title": event["purpose"]},
        "dpv:hasConsentStatus": {
            "@type": _STATUS[str(event["state"])],
            "dpv:isIndicatedAtTime": event["effective_at"],
            "dpv:isIndicatedBy": event["method"],
        },
        "dpv:hasLegalBasis": "eu-gdpr:A6-1-a" if given else None,
        "dpv:hasNotice": _notice(event),
        "dpv:hasJurisdiction": event["jurisdiction"] or event["regime"],
        "dpv:hasDuration": {"dct:valid": event["expires_at"]} if event["expires_at"] else None,
        "dct:source": {"system": event["source_system"], "event": event["source_event_id"]},
        "dpv:hasMethod": event["mechanism"],
        "dct:created": event["recorded_at"],
        "dpv:hasPolicy": {"dct:title": policy_id, "sha256": policy_sha256},
        "proof": {"seq": event["seq"], "hash": event["hash"], "previous": event["prev_hash"]},
    }
    return {name: value for name, value in found.items() if value is not None}


def _notice(event: Mapping[str, object]) -> dict[str, Any] | None:
    if event["notice_id"] is None and event["notice_version"] is None:
        return None
    return {"@type": "dpv:ConsentNotice", "dct:title": event["notice_id"], "dct:hasVersion": event["notice_version"]}
