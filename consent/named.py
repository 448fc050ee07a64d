"""Keyed names of identifiers for lists of their own: what one list calls a person says nothing in another."""

from __future__ import annotations

import hmac

from consentry.consent.keys import Keyring
from consentry.consent.normal import identifying


def names_of(keyring: Keyring, place: str, kind: str, value: str, region: str | None = None) -> list[str]:
    """Return what a list calls an identifier, under the active key first and under each older one.

    place: the list; each has keys of its own. Raises ConfigError for a value that can identify nobody.
    """
    form = identifying(kind, value, region)
    keys = [keyring.key(place, kind, "name", version=version) for version in keyring.versions]
    return [hmac.digest(key, form.encode(), "sha256").hex() for key in keys]
