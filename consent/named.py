"""Keyed names of identifiers for lists of their own: what one list calls a person says nothing in another."""

from __future__ import annotations

import hmac

from consentry.consent.keys import Keyring
from consentry.consent.normal import normal, why_nobody
from consentry.errors import ConfigError


def names_of(keyring: Keyring, place: str, kind: str, value: str, region: str | None = None) -> list[str]:
    """Return what a list calls an identifier, under the active key first and under each older one.

    place: the list; each has keys of its own. Raises ConfigError for a value that can identify nobody.
    """
    form = normal(kind, value, region)
    if form is None:
        raise ConfigError(f"This {kind} can identify nobody. {why_nobody(kind)}")
    versions = [keyring.active, *(version for version in keyring.accepted if version != keyring.active)]
    keys = [keyring.key(place, kind, "name", version=version) for version in versions]
    return [hmac.digest(key, form.encode(), "sha256").hex() for key in keys]
