"""Seal files with a keyed hash, so that nobody without the key can change what a model is.

HMAC-SHA256 over the model's name, the version, the file's name and the hash of its bytes: a sealed file of another
model or version does not fit either.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from consentry.errors import StopRun


@dataclass(frozen=True, slots=True)
class Seals:
    """The keys that seal models, by version; `active` seals, every one still opens."""

    keys: Mapping[int, bytes] = field(repr=False)
    active: int

    def seal(self, place: tuple[str, int, str], content: bytes) -> str:
        """Return the seal of a file. place: model, version and file name."""
        return f"{self.active}:{self._mac(self.active, place, content)}"

    def check(self, place: tuple[str, int, str], content: bytes, seal: str) -> None:
        """Raise StopRun when a file is not what was sealed, or its key is not held."""
        number, _, mac = seal.partition(":")
        known = int(number) if number.isdigit() else -1
        if known not in self.keys or not hmac.compare_digest(self._mac(known, place, content), mac):
            model, version, name = place
            message = (
                f"The file {name} of the model {model!r}, version {version}, is not what was written, or its key is not"
                " held. Restore it from a backup, or train the model again."
            )
            raise StopRun(message, code="model_tampered")

    def _mac(self, number: int, place: tuple[str, int, str], content: bytes) -> str:
        named = json.dumps([*place, hashlib.sha256(content).hexdigest()]).encode()
        return hmac.digest(self.keys[number], named, "sha256").hex()
