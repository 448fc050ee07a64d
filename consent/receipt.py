"""Render an event of the ledger as a consent receipt: ISO/IEC TS 27560:2023 in the terms of W3C DPV, as JSON-LD.

Terms: w3c.github.io/dpv/guides/consent-27560. The person appears under the ledger's keyed hash alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consentry.consent.policy import Policy

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
def receipt(event: Mapping[str, object], policy: Policy) -> dict[str, Any]:
    """Return the receipt of one event of the ledger, under the policy that is in force.

    Besides what was said, when and how, it names the parties and the processing that the purpose stands for: who is
    responsible, and who receives what, in which role and by which transfer.
    """
    given = event["state"] == "granted" and event["method"] in ("explicit", "guardian")
    found: dict[str, Any] = {
        "@context": _CONTEXT,
        "@id": f"urn:uuid:{event['event_id']}",
        "@type": "dpv:ConsentRecord",
        "dct:conformsTo": "https://w3id.org/dpv/schema/dpv-27560",
        "dpv:hasIdentifier": event["event_id"],
        "dpv:hasDataSubject": {"@type": "dpv:DataSubject", "dpv:hasIdentifier": event["identifier_hmac"]},
        "dpv:hasPurpose": _purpose(str(event["purpose"]), policy),
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
        "dpv:hasDataController": _controller(policy),
        "dpv:hasRecipient": _recipients(str(event["purpose"]), policy) or None,
        "dpv:hasPolicy": {"dct:title": policy.policy_id, "sha256": policy.sha256},
        "proof": {"seq": event["seq"], "hash": event["hash"], "previous": event["prev_hash"]},
    }
    return {name: value for name, value in found.items() if value is not None}


def _purpose(name: str, policy: Policy) -> dict[str, Any]:
    declared = policy.purposes.get(name)
    found: dict[str, Any] = {"@type": "dpv:Purpose", "dct:title": name}
    if declared and declared.description:
        found["dct:description"] = declared.description
    return found


def _controller(policy: Policy) -> dict[str, str] | None:
    named = policy.file.controller
    if named is None:
        return None
    return {"@type": "dpv:DataController", "dpv:hasName": named.name, "dpv:hasContact": named.contact}


def _recipients(purpose: str, policy: Policy) -> list[dict[str, Any]]:
    return [
        {
            "@type": "dpv:DataProcessor" if one.role == "processor" else "dpv:ThirdParty",
            "dpv:hasName": name,
            "dpv:hasPersonalData": [*one.identifiers, *one.fields],
            "dpv:hasDataTransferLegalBasis": one.transfer.mechanism,
        }
        for name, one in policy.destinations.items()
        if purpose in one.purposes_all_of
    ]


def _notice(event: Mapping[str, object]) -> dict[str, Any] | None:
    if event["notice_id"] is None and event["notice_version"] is None:
        return None
    return {"@type": "dpv:ConsentNotice", "dct:title": event["notice_id"], "dct:hasVersion": event["notice_version"]}
