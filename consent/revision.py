"""Notice when an older policy comes back: a lower revision than one that was in force needs a signed approval.

An approval is bound to the bytes of one policy file and signed under the job's own key, so that neither an edit of the
file nor a row written by hand lets a withdrawn policy in again.
"""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime

import sqlalchemy as sa

from consentry.consent.instants import written
from consentry.consent.keys import Keyring
from consentry.consent.policy import Policy
from consentry.consent.tokens import Hmac
from consentry.errors import Blocked
from consentry.store import Store
from consentry.store.tables import policy_seen


def accept_policy(store: Store, policy: Policy, keyring: Keyring) -> None:
    """Remember a policy as one that was in force; raise Blocked when it is older than one before it.

    The same revision with other bytes is an edit, not a step back.
    """
    c = policy_seen.c
    with store.begin() as connection:
        highest = connection.execute(
            sa.select(sa.func.max(c.revision)).where(c.policy_id == policy.policy_id, c.in_force)
        ).scalar()
        row = connection.execute(sa.select(policy_seen).where(c.sha256 == policy.sha256)).first()
        revision = policy.file.revision
        if highest is not None and revision < highest and not _is_signed(row, policy, keyring):
            message = (
                f"{policy.path}: the policy {policy.policy_id!r} is revision {revision}, but revision {highest} was "
                "in force before. Nothing is sent. Restore the newer one, or sign this one: consentry policy approve"
            )
            raise Blocked(message, code="policy_downgraded")
        if row is None:
            connection.execute(sa.insert(policy_seen), _row(policy, in_force=True))
        elif not row.in_force:
            connection.execute(sa.update(policy_seen).where(c.sha256 == policy.sha256).values(in_force=True))


def approve_policy(store: Store, policy: Policy, keyring: Keyring) -> str:
    """Sign a policy, so that it may come into force though a newer one was; return the signature."""
    signature = _signature(policy, keyring)
    c = policy_seen.c
    with store.begin() as connection:
        known = connection.execute(sa.select(c.sha256).where(c.sha256 == policy.sha256)).first()
        if known is None:
            connection.execute(sa.insert(policy_seen), {**_row(policy, in_force=False), "approval": signature})
        else:
            update = sa.update(policy_seen).where(c.sha256 == policy.sha256)
            connection.execute(update.values(approval=signature))
    return signature


def _row(policy: Policy, *, in_force: bool) -> dict[str, object]:
    return {
        "sha256": policy.sha256,
        "policy_id": policy.policy_id,
        "revision": policy.file.revision,
        "first_at": written(datetime.now(UTC)),
        "in_force": in_force,
        "approval": None,
    }


def _is_signed(row: sa.Row[tuple[object, ...]] | None, policy: Policy, keyring: Keyring) -> bool:
    approval = None if row is None else row._mapping["approval"]
    return approval is not None and hmac.compare_digest(str(approval), _signature(policy, keyring))


def _signature(policy: Policy, keyring: Keyring) -> str:
    said = json.dumps([policy.policy_id, policy.file.revision, policy.sha256]).encode()
    # Under the first version, which stays as long as anything made with the keys does.
    return Hmac(keyring.key("policy", "approval", "sign", version=keyring.accepted[0])).digest(said).hex()
