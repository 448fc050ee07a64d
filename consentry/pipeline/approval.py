"""A plan on paper: what a job would send, sealed, so that somebody can approve exactly that.

The file names people by our ids only, and holds no identifier and no payload. Its seal is a keyed hash under a key
of the job, so that nobody without that key can make or change one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consentry import __version__
from consentry.connectors.base import Capabilities
from consentry.consent.keys import Keyring
from consentry.delivery.config import Sync
from consentry.delivery.diff import Difference, difference
from consentry.delivery.guards import tripped
from consentry.delivery.withheld import withheld
from consentry.errors import Blocked, ConfigError
from consentry.pipeline.context import Context
from consentry.pipeline.job import instant
from consentry.pipeline.plan import Plan
from consentry.pipeline.stages import Result

FORMAT = 1
SAMPLE = 5
_OPERATIONS = ("add", "change", "remove")


# What is told of a sync, and the plan file, are plain JSON.
def would_send(context: Context, name: str) -> dict[str, Any]:
    """Return what one sync would send now, and which of its guards would stop it. No destination is called."""
    sync = context.loaded.job.syncs[name]
    capabilities = context.loaded.destination(sync.destination).capabilities
    least = capabilities.audience_min
    found = difference(context.warehouse, context.store, context.gate, sync, audience_min=least)
    guards = [
        {"guard": f"{name}.{guard}", "sentence": fact, "allowed": f"{name}.{guard}" in context.allow}
        for guard, fact in tripped(sync, found)
    ]
    stopping = [guard for guard in guards if not guard["allowed"]]
    return {
        "segment": sync.segment,
        "destination": sync.destination,
        "audience": sync.audience,
        "members": found.members,
        "desired": found.desired,
        "held": found.held,
        "adds": found.adds,
        "updates": found.changes,
        "removes": found.removes,
        "removes_for_consent": found.removes_consent,
        "waiting": found.waiting,
        "withheld": found.withheld,
        "refused": found.refused,
        "guards": guards,
        "sentence": " ".join([*_why(context, sync, found, capabilities), *map(_stopped, stopping)]),
    }


def _why(context: Context, sync: Sync, found: Difference, capabilities: Capabilities) -> Iterator[str]:
    if found.withheld:
        yield withheld(context.gate, sync, found.withheld, capabilities)


def _stopped(guard: Mapping[str, Any]) -> str:
    return f"Guard {guard['guard']} would stop this: {guard['sentence']} Allow it with --allow {guard['guard']}."


def write_plan(
    path: Path, plan: Plan, context: Context, results: Mapping[str, Result], syncs: Mapping[str, Any]
) -> None:
    """Write what was worked out into a sealed file.

    Raises ConfigError when the file cannot be written.
    """
    policy, (size, head) = plan.loaded.policy, context.ledger.head()
    told = {
        name: {**sync, "samples": _samples(context, name), "content": content(context, name)}
        for name, sync in syncs.items()
    }
    body = {
        "format": FORMAT,
        "consentry": __version__,
        "job": plan.loaded.job.job,
        "job_file": str(plan.loaded.path.resolve()),
        "plan_id": context.run_id,
        "made_at": instant(datetime.now(UTC)),
        "as_of": instant(context.as_of),
        "allow": sorted(context.allow),
        "policy": {"id": policy.policy_id, "sha256": policy.sha256},
        "inputs": {
            "plan_sha256": plan.sha256,
            "ledger": {"size": size, "hash": head},
            "streams": results["check"]["streams"],
            "persons": results["merge"]["persons"],
            "segments": results["segment"]["members"],
        },
        "syncs": told,
        "key_version": context.keyring.active,
    }
    text = json.dumps({**body, "seal": seal(context.keyring, body)}, indent=2, ensure_ascii=False)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"The plan cannot be written to {path} ({error.strerror}). Name another file.") from None


def read_plan(path: Path) -> dict[str, Any]:
    """Read a plan file; its seal is checked later, with the job's keys. Raises ConfigError when it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The plan {path} cannot be read ({error.strerror}).") from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("job_file"), str):
        message = f"{path} is no plan of format {FORMAT}. Make one with: consentry plan JOB --out {path}"
        raise ConfigError(message)
    return found


def check_seal(keyring: Keyring, found: Mapping[str, Any]) -> None:
    """Raise Blocked unless the plan was made with this job's keys and is as it was made."""
    body = {name: value for name, value in found.items() if name != "seal"}
    held = body.get("key_version") in keyring.accepted
    if not held or not hmac.compare_digest(str(found.get("seal")).encode(), seal(keyring, body).encode()):
        message = (
            "The seal of this plan does not fit: it was changed after it was made, or made with other keys than "
            "this job's. Nothing was sent. Plan again and have that approved."
        )
        raise Blocked(message, code="plan_edited")


def seal(keyring: Keyring, body: Mapping[str, Any]) -> str:
    """Return the HMAC-SHA-256 over everything in a plan but its seal."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hmac.new(_key(keyring, body["key_version"]), text.encode(), hashlib.sha256).hexdigest()


def _key(keyring: Keyring, version: int) -> bytes:
    return keyring.key("internal", "plan", "approval", version=version)


def content(context: Context, name: str) -> str:
    """Name exactly who would be added, changed and removed, why, and with which payload."""
    mac = hmac.new(_key(context.keyring, context.keyring.active), digestmod=hashlib.sha256)
    query = (
        "SELECT concat_ws('|', person_id, operation, cause, coalesce(CAST(payload_hash AS TEXT), '')) AS line"
        " FROM delivery.todo WHERE sync = $sync ORDER BY person_id, operation"
    )
    for batch in context.warehouse.stream(query, sync=name):
        mac.update("".join(f"{line}\n" for line in batch.column("line").to_pylist()).encode())
    return mac.hexdigest()


def _samples(context: Context, name: str) -> dict[str, list[str]]:
    query = (
        "SELECT person_id FROM delivery.todo WHERE sync = $sync AND operation = $operation"
        f" ORDER BY person_id LIMIT {SAMPLE}"
    )
    return {
        operation: context.warehouse.sql(query, sync=name, operation=operation)["person_id"].to_pylist()
        for operation in _OPERATIONS
    }
