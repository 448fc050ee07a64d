"""What the audit log says of a batch: counts, reasons and names from the configuration, no personal value."""

from __future__ import annotations

from collections import Counter

from consentry.audit import AuditLog, Json
from consentry.connectors.base import Rejected
from consentry.consent.gate import Gate, Sealed
from consentry.delivery.config import Sync
from consentry.delivery.exchange import Answer
from consentry.delivery.journal import Job
from consentry.model.batch import Batch


def decided(audit: AuditLog, gate: Gate, sync: Sync, sealed: Sealed, *, run_id: str) -> None:
    """Log what was decided about the rows of a batch; on the disk before any of them leaves."""
    batch, allowed, denied = sealed.batch, len(sealed.batch.rows), len(sealed.refused)
    reasons: dict[str, Json] = {**Counter(reason for _, reason in sealed.refused)}
    policy, (events, head) = gate.policy, gate.ledger.head()
    audit.append(
        "egress.decide",
        run=run_id,
        batch=batch.batch_id,
        sync=sync.name,
        destination=batch.destination,
        audience=batch.audience,
        purpose=batch.purpose,
        operation=batch.operation,
        counts={"in": allowed + denied, "allow": allowed, "deny": denied},
        reasons=reasons,
        fields=_fields(sealed),
        policy={"id": policy.policy_id, "sha256": policy.sha256, "rule": f"destinations.{batch.destination}"},
        ledger_head={"size": events, "hash": head},
        subjects_n=allowed + denied,
        result="decided",
    )


def withheld(audit: AuditLog, gate: Gate, sync: Sync, code: str, *, least: int, run_id: str) -> None:
    """Log that an audience was not brought in step, and under which limits; no count of so few people.

    least: people that the platform wants at least.
    """
    destination = gate.policy.destinations[sync.destination]
    audit.append(
        "egress.withheld",
        run=run_id,
        sync=sync.name,
        destination=sync.destination,
        audience=sync.audience,
        policy={"id": gate.policy.policy_id, "sha256": gate.policy.sha256},
        result=code,
        limits={
            "min_segment": destination.min_segment,
            "min_change": destination.min_change,
            "audience_min": least,
        },
    )


def _fields(sealed: Sealed) -> dict[str, Json]:
    """Name the fields that leave, and those that do with an imputed value for somebody.

    What became of each under the policy is in the policy.
    """
    identifiers = {name for row in sealed.batch.rows for name in row.identifiers}
    fields = {name for row in sealed.batch.rows for name in row.fields}
    told: dict[str, Json] = {"identifiers": [*sorted(identifiers)], "passed": [*sorted(fields)]}
    if sealed.imputed:
        told["imputed"] = [*sorted(sealed.imputed)]
    return told


def answered(audit: AuditLog, sync: Sync, sealed: Sealed, answer: Answer, *, run_id: str, halved: bool) -> None:
    """Log what became of a batch: `egress.sent`, `egress.failed` when nothing was taken, `egress.unknown`,
    or `egress.accepted` when some of it is to be applied later: that is followed by one of the others.
    """
    result = "halved" if halved else answer.stop.code if answer.stop else "answered"
    _became(audit, sync, sealed.batch, answer, run_id=run_id, result=result)


def applied(audit: AuditLog, sync: Sync, job: Job, answer: Answer, *, run_id: str) -> None:
    """Log what became of rows that a destination had accepted."""
    _became(audit, sync, job, answer, run_id=run_id, result="applied")


def _became(audit: AuditLog, sync: Sync, sent: Batch | Job, answer: Answer, *, run_id: str, result: str) -> None:
    counts = answer.counts()
    codes = Counter(outcome.code[:63] for outcome in answer.outcomes if isinstance(outcome, Rejected))
    audit.append(
        _action(counts),
        run=run_id,
        batch=sent.batch_id,
        sync=sync.name,
        destination=sent.destination,
        operation=sent.operation,
        counts={**counts},
        reasons={**codes},
        result=result,
    )


def _action(counts: dict[str, int]) -> str:
    if counts.get("pending"):
        return "egress.accepted"
    if counts.get("unknown"):
        return "egress.unknown"
    return "egress.sent" if counts.get("ok") or counts.get("skipped") else "egress.failed"
