"""Encrypt what must come back: reversible tokens (AES-SIV), and values under a key of their own person.

AES-SIV (RFC 5297) is deterministic: equal values give equal tokens, and their length shows, so that values are padded
to 16, 32, 64 and so on. Values under a person's key (AES-256-GCM, RFC 5116) are readable only while that key exists:
erasing the wrapped key erases them, in every copy and backup (crypto-shredding). It reaches ciphertext alone; HMAC
tokens and hashes of that person must be deleted.
"""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

from consentry.consent.instants import written
from consentry.consent.keys import Keyring
from consentry.errors import SkipRecord
from consentry.store import Store
from consentry.store.tables import subject_key

PREFIX = "s1"
_NONCE = 12
_KEK = "kek"


def seal_value(keyring: Keyring, domain: str, field: str, value: str) -> str:
    """Return the reversible token of a value: `s1.<version>.<base32>`, equal for equal values of one place."""
    version = keyring.active
    sealed = _siv(keyring, domain, field, version).encrypt(_padded(value.encode()), _place(domain, field, version))
    return f"{PREFIX}.{version}.{base64.b32encode(sealed).decode().rstrip('=').lower()}"


def open_value(keyring: Keyring, domain: str, field: str, token: str) -> str:
    """Return the value of a reversible token; raises SkipRecord when it was not made here for this place."""
    prefix, _, rest = token.partition(".")
    number, _, text = rest.partition(".")
    if prefix == PREFIX and number.isdigit() and int(number) in keyring.accepted:
        version = int(number)
        try:
            sealed = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
            plain = _siv(keyring, domain, field, version).decrypt(sealed, _place(domain, field, version))
            return plain[4 : 4 + int.from_bytes(plain[:4])].decode()
        except (InvalidTag, ValueError):
            pass
    raise SkipRecord(f"A token of {field!r} was not made here, or under a key that is gone.", code="unreadable_token")


def _siv(keyring: Keyring, domain: str, field: str, version: int) -> AESSIV:
    # 64 bytes: one half authenticates, the other encrypts.
    halves = [keyring.key(domain, field, f"siv-{half}", version=version) for half in ("mac", "ctr")]
    return AESSIV(b"".join(halves))


def _place(domain: str, field: str, version: int) -> list[bytes]:
    return [domain.encode(), field.encode(), str(version).encode()]


def _padded(plain: bytes) -> bytes:
    size = 16
    while size < len(plain) + 4:
        size *= 2
    return len(plain).to_bytes(4) + plain.ljust(size - 4, b"\0")


class SubjectKeys:
    """One key a person, kept wrapped under the job's key-encryption key."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring

    def encrypt(self, subject: str, plain: bytes) -> bytes:
        """Encrypt something of one person; their key is made when there is none.

        Raises SkipRecord when that person's key was destroyed: nothing new is kept of who was erased.
        """
        key = self._key(subject) or self._make(subject)
        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(key).encrypt(nonce, plain, subject.encode())

    def decrypt(self, subject: str, sealed: bytes) -> bytes:
        """Return what was encrypted; raises SkipRecord when the key is gone or the bytes are another's."""
        key = self._key(subject)
        if key is not None:
            try:
                return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], subject.encode())
            except (InvalidTag, ValueError):
                pass
        raise SkipRecord("The value cannot be read: it is another person's, or was changed.", code="unreadable_value")

    def destroy(self, subject: str) -> bool:
        """Destroy a person's key and leave a tombstone; tell whether there was one."""
        c = subject_key.c
        at = written(datetime.now(UTC))
        with self._store.begin() as connection:
            row = connection.execute(sa.select(c.dek_wrapped).where(c.subject_ref == subject)).first()
            if row is None:
                values = {"subject_ref": subject, "dek_wrapped": None, "kek_id": "-", "made_at": at, "destroyed_at": at}
                connection.execute(sa.insert(subject_key), values)
                return False
            connection.execute(
                sa.update(subject_key).where(c.subject_ref == subject).values(dek_wrapped=None, destroyed_at=at)
            )
            return row.dek_wrapped is not None

    def rewrap(self) -> int:
        """Wrap every key anew under the active key-encryption key, after a rotation; return how many."""
        c = subject_key.c
        kek_id = str(self._keyring.active)
        with self._store.begin() as connection:
            query = sa.select(subject_key).where(c.dek_wrapped.is_not(None), c.kek_id != kek_id)
            rows = connection.execute(query).all()
            for row in rows:
                key = self._unwrap(row.subject_ref, row.dek_wrapped, int(row.kek_id))
                wrapped = self._wrap(row.subject_ref, key)
                update = sa.update(subject_key).where(c.subject_ref == row.subject_ref)
                connection.execute(update.values(dek_wrapped=wrapped, kek_id=kek_id))
        return len(rows)

    def _key(self, subject: str) -> bytes | None:
        with self._store.begin() as connection:
            query = sa.select(subject_key).where(subject_key.c.subject_ref == subject)
            row = connection.execute(query).first()
        if row is None:
            return None
        if row.dek_wrapped is None:
            raise SkipRecord("This person's key was destroyed; nothing of them can be read.", code="key_destroyed")
        return self._unwrap(subject, row.dek_wrapped, int(row.kek_id))

    def _make(self, subject: str) -> bytes:
        key = AESGCM.generate_key(256)
        values = {
            "subject_ref": subject,
            "dek_wrapped": self._wrap(subject, key),
            "kek_id": str(self._keyring.active),
            "made_at": written(datetime.now(UTC)),
        }
        with self._store.begin() as connection:
            connection.execute(sa.insert(subject_key), values)
        return key

    def _wrap(self, subject: str, key: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        kek = self._keyring.key(_KEK, "subject", "wrap")
        return nonce + AESGCM(kek).encrypt(nonce, key, subject.encode())

    def _unwrap(self, subject: str, wrapped: bytes, version: int) -> bytes:
        kek = self._keyring.key(_KEK, "subject", "wrap", version=version)
        return AESGCM(kek).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], subject.encode())
