"""Render the register of processing (GDPR Art. 30) from the policy and the job: what stands in neither is not done.

A job with a destination that the policy does not name does not load, so that the register cannot miss one.
"""

from __future__ import annotations

from typing import Any

from consentry.consent.policy_file import Destination, Purpose
from consentry.pipeline.load import Loaded
from consentry.pipeline.purposes import of_source


# The answer is plain JSON.
def register(loaded: Loaded) -> dict[str, Any]:
    """Return the register: the controller, the sources of data, and each processing with its recipients."""
    policy, job = loaded.policy, loaded.job
    named = policy.file.controller
    return {
        "controller": {"name": named.name, "contact": named.contact} if named else None,
        "policy": {"id": policy.policy_id, "revision": policy.file.revision, "sha256": policy.sha256},
        "sources": {
            name: {"type": one.type, "streams": list(one.streams), "purposes": list(of_source(loaded, name))}
            for name, one in job.sources.items()
        },
        "processing": [_processing(loaded, name, one) for name, one in policy.purposes.items()],
        "security": [
            "identifiers in ledger and suppression list as keyed hashes",
            f"keys from: {job.keys.provider}",
            "append-only, hash-chained audit log",
        ],
    }


def _processing(loaded: Loaded, name: str, purpose: Purpose) -> dict[str, Any]:
    recipients = loaded.policy.destinations
    profiling = loaded.policy.file.profiling
    return {
        "purpose": name,
        "description": purpose.description,
        "basis": dict(purpose.basis),
        "assessments": [ref for ref in (purpose.lia_ref, purpose.contract_ref, purpose.law_ref) if ref],
        "special_categories": list(purpose.special_categories),
        "consent_lasts": {"months": purpose.ttl.months, "seconds": purpose.ttl.seconds},
        "profiling": profiling is not None and profiling.purpose == name,
        "recipients": [
            _recipient(loaded, destination, one)
            for destination, one in recipients.items()
            if name in one.purposes_all_of
        ],
    }


def _recipient(loaded: Loaded, name: str, one: Destination) -> dict[str, Any]:
    syncs = [sync.name for sync in loaded.job.syncs.values() if sync.destination == name]
    asked = [each for each, block in loaded.job.enrichments.items() if (block.destination or each) == name]
    return {
        "name": name,
        "type": one.connector,
        "role": one.role,
        "contract": one.dpa_ref,
        "transfer": {"mechanism": one.transfer.mechanism, "ref": one.transfer.ref},
        "identifiers": {kind: rule.transform for kind, rule in one.identifiers.items()},
        "fields": {column: rule.transform for column, rule in one.fields.items()},
        # A hash for matching is recognised by whoever has the same address: it stays personal data there.
        "re_identifiable_by_recipient": any(rule.transform != "token" for rule in one.identifiers.values()),
        "used_by": syncs + asked,
    }
