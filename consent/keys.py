"""Hold the master keys and derive every key in use from them.

One master of 32 bytes a version; what is used anywhere is an HKDF-SHA256 sub-key (RFC 5869) with

    info = "pdx/v1|" + domain + "|" + field + "|" + purpose + "|k" + version

so that two destinations, two fields or two purposes never share a key. `pdx/v1` is a label and stays as it is
for as long as tokens made under it exist.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from consentry.errors import StopRun

KEY_BYTES = 32
_LABEL = "pdx/v1"
_FORMAT = 1


class Keyring:
    """Master keys by version: `active` makes new tokens, every accepted one still matches old ones."""

    def __init__(self, masters: Mapping[int, bytes], *, active: int) -> None:
        if active not in masters:
            raise StopRun(f"The key file names version {active} as active but holds no such key.", code="weak_key")
        for version, master in masters.items():
            _refuse_weak(master, version)
        if len(set(masters.values())) < len(masters):
            raise StopRun("Two key versions hold the same key. Make a new one for each version.", code="weak_key")
        self.active = active
        self._masters = dict(masters)
        self._derived: dict[tuple[str, str, str, int], bytes] = {}

    def __repr__(self) -> str:
        return f"Keyring(active={self.active}, accepted={self.accepted})"

    def __reduce__(self) -> str:
        raise TypeError("Keys are not pickled.")

    @property
    def versions(self) -> tuple[int, ...]:
        """Return every accepted version, the active one first."""
        return self.active, *(version for version in self.accepted if version != self.active)

    @property
    def accepted(self) -> tuple[int, ...]:
        """Return every version that still matches, oldest first."""
        return tuple(sorted(self._masters))

    @classmethod
    def from_file(cls, path: Path, *, create: bool = False) -> Keyring:
        """Read a key file that only its owner can read; with `create`, make it when there is none.

        The file is JSON: {"format": 1, "active": 1, "keys": {"1": "<64 hex digits>"}}.
        Raises StopRun when it is missing, readable by others, or holds a weak key.
        """
        if create and not path.exists():
            _create(path)
        return cls._from_text(read_private(path), str(path))

    @classmethod
    def from_environment(cls, variable: str) -> Keyring:
        """Take keys from an environment variable: 32 bytes in hexadecimal or base64, which is version 1.

        After a rotation it holds several, as `1:<key>,2:<key>`; the last one is active.
        """
        text = os.environ.get(variable, "").strip()
        if not text:
            message = f"The environment variable {variable} is not set. Set it to a key of 32 random bytes in hex."
            raise StopRun(message, code="no_key")
        masters: dict[int, bytes] = {}
        for number, part in enumerate(text.split(","), 1):
            version, colon, key = part.strip().rpartition(":")
            if colon and not version.isdigit():
                raise StopRun(f"The environment variable {variable} names a version that is no number.", code="no_key")
            masters[int(version) if colon else number] = _decoded(key, variable)
        return cls(masters, active=next(reversed(masters)))

    @classmethod
    def rotate_file(cls, path: Path) -> Keyring:
        """Add a new key to a key file and make it active; every older one still matches. Return the new ring."""
        ring = cls.from_file(path)
        version = max(ring.accepted) + 1
        keys = {str(number): master.hex() for number, master in ring._masters.items()}
        keys[str(version)] = os.urandom(KEY_BYTES).hex()
        replace_private(path, json.dumps({"format": _FORMAT, "active": version, "keys": keys}))
        return cls.from_file(path)

    def masters(self) -> dict[int, bytes]:
        """Return the master keys by version, to wrap them anew."""
        return dict(self._masters)

    @classmethod
    def _from_text(cls, text: str, place: str) -> Keyring:
        found = _parsed(text)
        if found is None:
            # Raised outside the handler: the reader's own error quotes what it could not read.
            raise StopRun(f"The key file {place} is not a key file of format {_FORMAT}. Restore it.", code="no_key")
        masters, active = found
        return cls(masters, active=active)

    def key(self, domain: str, field: str, purpose: str, *, version: int | None = None) -> bytes:
        """Derive the 32-byte key of one domain (a destination account, or one of ours), field and purpose.

        version: the active one when absent. Raises StopRun for a version that is not held.
        """
        number = self.active if version is None else version
        place = (domain, field, purpose, number)
        if place not in self._derived:
            self._derived[place] = self._derive(*place)
        return self._derived[place]

    def _derive(self, domain: str, field: str, purpose: str, version: int) -> bytes:
        if version not in self._masters:
            message = f"Key version {version} is not held. Put it back into the key file."
            raise StopRun(message, code="no_key")
        for part in (domain, field, purpose):
            if "|" in part or "\x1f" in part or not part:
                raise ValueError("A domain, field or purpose of a key is neither empty nor holds '|'.")
        info = "|".join((_LABEL, domain, field, purpose, f"k{version}")).encode()
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(self._masters[version])


def _parsed(text: str) -> tuple[dict[int, bytes], int] | None:
    try:
        content = json.loads(text)
        masters = {int(version): bytes.fromhex(key) for version, key in content["keys"].items()}
        return (masters, int(content["active"])) if content["format"] == _FORMAT else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"format": _FORMAT, "active": 1, "keys": {"1": os.urandom(KEY_BYTES).hex()}})
    write_private(path, content)


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner can read, unless it is there already."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        message = f"The key file {path} cannot be made ({error.strerror}). Check that its folder may be written."
        raise StopRun(message, code="no_key") from None
    with os.fdopen(handle, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_private(path: Path, content: str) -> None:
    """Write a file that only its owner can read in one step over the one that is there."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    write_private(fresh, content)
    os.replace(fresh, path)


def read_private(path: Path) -> str:
    """Return the text of a file; raises StopRun when there is none, or others can read it."""
    try:
        with path.open(encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                message = f"Others can read the key file {path} (mode {mode:04o}). Run: chmod 600 {path}"
                raise StopRun(message, code="key_exposed")
            return file.read()
    except FileNotFoundError:
        message = f"There is no key file {path}. Restore it, or set `create: true` to begin with a new key."
    except (OSError, UnicodeDecodeError):
        message = f"The key file {path} cannot be read. Check its owner and that it is the right file."
    raise StopRun(message, code="no_key")


def _decoded(text: str, variable: str) -> bytes:
    for read in (bytes.fromhex, lambda value: base64.b64decode(value, validate=True)):
        try:
            key = read(text)
        except (ValueError, binascii.Error):
            continue
        if len(key) == KEY_BYTES:
            return key
    message = f"The environment variable {variable} does not hold 32 bytes in hex or base64. Make a key of 32 bytes."
    raise StopRun(message, code="weak_key")


def _refuse_weak(master: bytes, version: int) -> None:
    repeats = any(master == master[:period] * (KEY_BYTES // period) for period in (1, 2, 4, 8, 16))
    if len(master) != KEY_BYTES or repeats:
        what = "repeats itself" if repeats and master else f"has {len(master)} bytes instead of {KEY_BYTES}"
        message = f"Key version {version} {what}. Make one with: openssl rand -hex 32"
        raise StopRun(message, code="weak_key")
