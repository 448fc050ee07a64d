"""Keep master keys in a file that only a key service can open.

The file is JSON: {"format": 1, "service": "vault:transit/consentry", "active": 1, "wrapped": {"1": "vault:v1:..."}},
readable by its owner alone. A run asks the service once, when it starts, and stops when it gets no answer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consentry.consent.key_services import KeyService
from consentry.consent.keys import KEY_BYTES, Keyring, read_private, replace_private, write_private
from consentry.errors import StopRun

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class _File:
    active: int
    wrapped: Mapping[int, str]


def open_wrapped(path: Path, service: KeyService, *, create: bool = False) -> Keyring:
    """Read the keys of a file through its service; with `create`, make both when there is no file.

    Raises StopRun when the file is missing or of another service, or the service does not answer.
    """
    if create and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = _File(1, {1: service.wrap(os.urandom(KEY_BYTES), 1)})
        write_private(path, _text(fresh, service))
    return _unwrapped(_read(path, service), service)


def rotate_wrapped(path: Path, service: KeyService) -> Keyring:
    """Add a master and make it active; every master is wrapped anew, under the service's latest key."""
    ring = open_wrapped(path, service)
    version = max(ring.accepted) + 1
    masters = {**ring.masters(), version: os.urandom(KEY_BYTES)}
    wrapped = {number: service.wrap(master, number) for number, master in masters.items()}
    replace_private(path, _text(_File(version, wrapped), service))
    return open_wrapped(path, service)


def _unwrapped(file: _File, service: KeyService) -> Keyring:
    masters = {version: service.unwrap(text, version) for version, text in file.wrapped.items()}
    return Keyring(masters, active=file.active)


def _text(file: _File, service: KeyService) -> str:
    wrapped = {str(version): text for version, text in file.wrapped.items()}
    return json.dumps({"format": _FORMAT, "service": service.place, "active": file.active, "wrapped": wrapped})


def _read(path: Path, service: KeyService) -> _File:
    text = read_private(path)
    try:
        found = json.loads(text)
        place = str(found["service"])
        file = _File(int(found["active"]), {int(n): str(wrapped) for n, wrapped in found["wrapped"].items()})
        known = found["format"] == _FORMAT
    except (ValueError, KeyError, TypeError, AttributeError):
        known, place, file = False, "", _File(0, {})
    if not known:
        raise StopRun(f"The file {path} holds no wrapped keys of format {_FORMAT}. Restore it.", code="no_key")
    if place != service.place:
        message = f"The keys in {path} are wrapped by {place!r}, not by {service.place!r}. Name that one in the job."
        raise StopRun(message, code="no_key")
    return file
