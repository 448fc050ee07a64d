"""Keep what a platform sent as it came, readable only while the person's own key exists (crypto-shredding).

The event in the ledger names its evidence by a keyed hash; the evidence stands beside the ledger, so that it can go
while the chain stays whole. One payload that speaks of several purposes is kept once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import sqlalchemy as sa

from consentry.consent.keys import Keyring
from consentry.consent.sealed import SubjectKeys
from consentry.consent.tokens import Hmac
from consentry.errors import SkipRecord
from consentry.store import Store
from consentry.store.tables import consent_evidence

PREFIX = "sealed:"
# Room for a reference in the table of keys; 36 hexadecimal digits are 144 bits.
_REFERENCE = 36


class _Told(Protocol):
    @property
    def evidence(self) -> str | None: ...


Told = TypeVar("Told", bound=_Told)


class Evidence:
    """The evidence of one store, each piece under the key of the identifier that it is about."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keys = SubjectKeys(store, keyring)
        # Under the first version, so that a payload has one name for good.
        self._mac = Hmac(keyring.key("ledger", "evidence", "name", version=keyring.accepted[0]))

    def name(self, mac: str, payload: str) -> str:
        """Return what an event calls its evidence; mac: the ledger's hash of whose it is. Nothing is told by it."""
        return PREFIX + self._mac.digest(f"{mac}\x1f{payload}".encode("utf-8", "replace")).hex()[:32]

    def seal(self, reported: Iterable[Told], place: Callable[[Told], str]) -> None:
        """Keep the evidence of some rows; place: the ledger's hash of the identifier. Of the erased nothing is kept."""
        told = [(place(one), one.evidence) for one in reported if one.evidence]
        found = {self.name(mac, payload): (mac, payload) for mac, payload in told}
        if not found:
            return
        c = consent_evidence.c
        with self._store.begin() as connection:
            known = set(connection.execute(sa.select(c.name).where(c.name.in_(found))).scalars())
        rows = []
        for name, (mac, payload) in found.items():
            reference = mac[:_REFERENCE]
            try:
                sealed = None if name in known else self._keys.encrypt(reference, payload.encode("utf-8", "replace"))
            except SkipRecord:
                continue
            if sealed:
                rows.append({"name": name, "subject_ref": reference, "sealed": sealed})
        if rows:
            with self._store.begin() as connection:
                connection.execute(sa.insert(consent_evidence), rows)

    def open(self, names: Sequence[str]) -> dict[str, str]:
        """Return the payloads of some evidence by name; what was destroyed is not among them."""
        c = consent_evidence.c
        with self._store.begin() as connection:
            rows = connection.execute(sa.select(consent_evidence).where(c.name.in_(names))).all()
        found: dict[str, str] = {}
        for row in rows:
            try:
                found[row.name] = self._keys.decrypt(row.subject_ref, row.sealed).decode()
            except SkipRecord:
                continue
        return found

    def destroy(self, macs: Iterable[str]) -> None:
        """Destroy the keys of some identifiers, by their hashes in the ledger; nothing is kept for them again."""
        for mac in macs:
            self._keys.destroy(mac[:_REFERENCE])
