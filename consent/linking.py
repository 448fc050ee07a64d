"""Heed who refused to have their records linked: those records are linked to nothing.

The last word for the purpose counts, of each identifier by itself. A record is refused when one of its identifiers is:
the others of the person stay as they are.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from consentry.consent.erased import RECORDS, Sieve
from consentry.consent.instants import written
from consentry.consent.ledger import Ledger
from consentry.consent.normal import normal
from consentry.consent.subjects import Keyed
from consentry.store.tables import consent_event
from consentry.warehouse import Warehouse

LINK_REFUSED = "identity.link_refused"


def refuse_linking(warehouse: Warehouse, ledger: Ledger, *, purpose: str, as_of: datetime) -> int:
    """Write the records that may be linked to nothing to identity.link_refused; return how many."""
    refused = _Refused(ledger, purpose, as_of)
    # When nobody refuses, no identifier has to be keyed to be looked up.
    somebody = "true" if refused.somebody else "false"
    query = f"SELECT DISTINCT record_id, source, type, value, region FROM clean.link WHERE {somebody}"
    warehouse.map_batches(query, Sieve(refused), into=LINK_REFUSED, schema=RECORDS)
    found = warehouse.sql(f"SELECT count(DISTINCT record_id) AS n FROM {LINK_REFUSED}")
    return int(found["n"][0].as_py())


class _Refused:
    """Tell whether the last word of an identifier for a purpose is a refusal."""

    def __init__(self, ledger: Ledger, purpose: str, as_of: datetime) -> None:
        self._keyed = Keyed(ledger.keyring)
        self._words: dict[str, tuple[str, bool]] = {}
        c = consent_event.c
        query = sa.select(c.identifier_hmac, c.state, c.effective_at).where(
            c.purpose == purpose, c.effective_at <= written(as_of)
        )
        with ledger.store.begin() as connection:
            for row in connection.execute(query):
                # Of two words of one instant the refusal counts.
                word = (row.effective_at, row.state not in ("granted", "expired"))
                self._words[row.identifier_hmac] = max(word, self._words.get(row.identifier_hmac, word))

    @property
    def somebody(self) -> bool:
        """Tell whether there is a refusal at all."""
        return any(refuses for _, refuses in self._words.values())

    def __call__(self, kind: str, value: str | None, region: str | None) -> bool:
        form = normal(kind, value, region) if value else None
        if form is None:
            return False
        words = [self._words[name] for name in self._keyed.ledger(kind, form) if name in self._words]
        return bool(words) and max(words)[1]
