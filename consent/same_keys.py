"""Notice when keys are not those that a job began with: its suppression list would match nobody, and say nothing.

Of each version the store keeps a value that only the same key gives, and that tells nothing of the key.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime

import sqlalchemy as sa

from consentry.consent.instants import written
from consentry.consent.keys import Keyring
from consentry.consent.tokens import Hmac
from consentry.errors import StopRun
from consentry.store import Store
from consentry.store.tables import key_seen


def accept_keys(store: Store, keyring: Keyring) -> None:
    """Remember the versions of a keyring; raise StopRun when one that was used before is missing or another key."""
    with store.begin() as connection:
        known = {row.version: row.proof for row in connection.execute(sa.select(key_seen))}
        for version, proof in known.items():
            if version not in keyring.accepted or not hmac.compare_digest(proof, _proof(keyring, version)):
                message = (
                    f"Key version {version} is not the one that this job has used: consents and suppressions would "
                    "match nobody. Nothing is read or sent. Put the old key back beside the new one."
                )
                raise StopRun(message, code="wrong_key")
        at = written(datetime.now(UTC))
        new = [version for version in keyring.accepted if version not in known]
        for version in new:
            row = {"version": version, "proof": _proof(keyring, version), "first_at": at}
            connection.execute(sa.insert(key_seen), row)


def _proof(keyring: Keyring, version: int) -> str:
    return Hmac(keyring.key("keys", "version", "proof", version=version)).digest(b"consentry").hex()
