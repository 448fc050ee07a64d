"""Open a job's keys where it says they are, and rotate them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from consentry.consent.key_services import AwsKms, KeyService, VaultTransit
from consentry.consent.keys import Keyring
from consentry.consent.same_keys import accept_keys
from consentry.consent.sealed import SubjectKeys, open_value
from consentry.consent.transforms import Seal
from consentry.consent.wrapped import open_wrapped, rotate_wrapped
from consentry.errors import ConfigError
from consentry.pipeline.job import Keys
from consentry.pipeline.left import held_log
from consentry.pipeline.load import Loaded
from consentry.store import Store


def read_keys(keys: Keys, state: Path) -> Keyring:
    """Read the master keys from where the job says they are; raises StopRun when that is not possible."""
    if keys.provider == "environment":
        return Keyring.from_environment(keys.variable or "")
    path = state / (keys.path or "")
    service = key_service(keys)
    return open_wrapped(path, service, create=keys.create) if service else Keyring.from_file(path, create=keys.create)


def keys_of(loaded: Loaded, store: Store) -> Keyring:
    """Read a job's keys and see that they are those it has used; raises StopRun when they are not."""
    ring = read_keys(loaded.job.keys, loaded.state)
    accept_keys(store, ring)
    return ring


def key_service(keys: Keys) -> KeyService | None:
    """Return the service that the job's masters are wrapped by, None when they lie open in a file or variable."""
    if keys.provider == "vault":
        return VaultTransit(keys.url or "", keys.key or "", mount=keys.mount, variable=keys.variable or "VAULT_TOKEN")
    if keys.provider == "aws_kms":
        return AwsKms(keys.key or "", region=keys.region, endpoint=keys.url)
    return None


# What is returned is plain JSON.
def show_keys(loaded: Loaded) -> dict[str, Any]:
    """Say which key versions are held; never a key."""
    return _told(loaded, read_keys(loaded.job.keys, loaded.state))


def rotate_keys(loaded: Loaded) -> dict[str, Any]:
    """Add a key version and make it active, and wrap the keys of people anew; everything old still matches.

    Raises ConfigError for keys of the environment: whoever holds them rotates them; StopRun while a run goes on.
    """
    keys = loaded.job.keys
    if keys.provider == "environment":
        variable = keys.variable
        raise ConfigError(f"These keys are not in a file. Set {variable} to 1:<old>,2:<new>; the last is active.")
    path, service = loaded.state / (keys.path or ""), key_service(keys)
    with held_log(loaded) as audit, closing(Store.in_file(loaded.state / "control.db")) as store:
        keys_of(loaded, store)
        ring = rotate_wrapped(path, service) if service else Keyring.rotate_file(path)
        accept_keys(store, ring)
        audit.append("key.rotated", provider=keys.provider, active=ring.active, accepted=list(ring.accepted))
        rewrapped = SubjectKeys(store, ring).rewrap()
    return _told(loaded, ring) | {"rewrapped": rewrapped}


def open_tokens(loaded: Loaded, destination: str, field: str, tokens: list[str]) -> list[str]:
    """Return the values of reversible tokens that a destination was sent in a field; the log keeps that it was asked.

    Raises SkipRecord for a token that was not made here for this place, StopRun while a run goes on.
    """
    allowed = loaded.policy.destinations.get(destination)
    rule = allowed.fields.get(field) if allowed else None
    if not isinstance(rule, Seal):
        raise ConfigError(f"The policy seals no field {field!r} for {destination!r}.")
    ring = read_keys(loaded.job.keys, loaded.state)
    with held_log(loaded) as audit:
        audit.append("token.opened", destination=destination, field=field, tokens=len(tokens))
    return [open_value(ring, destination, field, token) for token in tokens]


def _told(loaded: Loaded, ring: Keyring) -> dict[str, Any]:
    return {"provider": loaded.job.keys.provider, "active": ring.active, "accepted": list(ring.accepted)}
