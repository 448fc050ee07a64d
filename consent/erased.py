"""Keep out who was erased: records that come back with a suppressed identifier are set aside before any merge.

Rows of the canonical tables go, and `quarantine.suppressed` says which records they were. The list holds keyed hashes
alone, so every identifier is keyed in every normal form and under every key version to be compared (GDPR Art. 17, ICO
"suppression instead of deletion").
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import sqlalchemy as sa

from consentry.consent.keys import Keyring
from consentry.consent.ledger import Ledger
from consentry.consent.normal import normal_forms
from consentry.consent.subjects import Keyed
from consentry.model.names import quoted
from consentry.store.tables import suppression
from consentry.warehouse import Warehouse

SET_ASIDE = "quarantine.suppressed"
_FOUND = "identity.erased_record"
RECORDS = pa.schema([("record_id", pa.string()), ("source", pa.string())])


def set_aside_erased(warehouse: Warehouse, ledger: Ledger, *, run_id: str) -> int:
    """Take the records of erased people out of the canonical tables; return how many records that were."""
    erased = Erased.of(ledger)
    if erased is None:
        warehouse.drop(SET_ASIDE)
        return 0
    query = "SELECT DISTINCT record_id, source, type, value, region FROM clean.link"
    warehouse.map_batches(query, Sieve(erased), into=_FOUND, schema=RECORDS)
    with warehouse.transaction():
        for table in warehouse.tables("clean"):
            if table in ("clean.customer", "clean.link") or table.startswith("clean.event__"):
                zone, _, name = table.partition(".")
                warehouse.sql(f"DELETE FROM {zone}.{quoted(name)} WHERE record_id IN (SELECT record_id FROM {_FOUND})")
        warehouse.sql(
            f"CREATE OR REPLACE TABLE {SET_ASIDE} AS SELECT DISTINCT record_id, source, 'suppressed' AS code, "
            f"$run AS run_id FROM {_FOUND}",
            run=run_id,
        )
    warehouse.drop(_FOUND)
    return warehouse.count(SET_ASIDE)


class Sieve:
    """Keep the records of a batch of identifiers for which a test of kind, value and region holds."""

    def __init__(self, test: Callable[[str, str | None, str | None], bool]) -> None:
        self._test = test

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Read (record_id, source, type, value, region), return the hits as (record_id, source)."""
        names = ("record_id", "source", "type", "value", "region")
        rows = zip(*(batch.column(name).to_pylist() for name in names), strict=True)
        found = [(record, source) for record, source, *one in rows if self._test(*one)]
        columns = [pa.array([row[n] for row in found], pa.string()) for n in (0, 1)]
        return pa.RecordBatch.from_arrays(columns, schema=RECORDS)


class Erased:
    """Tell whether an identifier is on the list of the erased."""

    def __init__(self, keyring: Keyring, listed: frozenset[str]) -> None:
        self._keyed = Keyed(keyring)
        self._listed = listed

    @classmethod
    def of(cls, ledger: Ledger) -> Erased | None:
        """Read the list of a ledger; None when nobody was erased."""
        with ledger.store.begin() as connection:
            erased = sa.select(suppression.c.identifier_hmac).where(suppression.c.reason == "erasure")
            listed = frozenset(connection.execute(erased).scalars())
        return cls(ledger.keyring, listed) if listed else None

    def __call__(self, kind: str, value: str | None, region: str | None) -> bool:
        """Compare every normal form of a value, under every key version."""
        forms = normal_forms(kind, value, region) if value else ()
        return not self._listed.isdisjoint(self._keyed.suppression(kind, forms)) if forms else False
