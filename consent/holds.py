"""Legal holds: people whose data must be kept for a while, though they ask for its erasure (GDPR Art. 17(3)).

A hold ends no processing by itself and allows none: it keeps an erasure from being carried out, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from consentry.consent.instants import written
from consentry.consent.keys import Keyring
from consentry.consent.named import names_of
from consentry.errors import ConfigError
from consentry.model.ids import uuid7s
from consentry.store import Store
from consentry.store.tables import legal_hold


@dataclass(frozen=True, slots=True)
class Hold:
    """Why somebody's data is kept, who said so, and until when that held."""

    hold_id: str
    reason: str
    placed_at: str
    placed_by: str
    ended_at: str | None = None
    ended_by: str | None = None


class Holds:
    """The holds of a job."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store, self._keyring = store, keyring

    def place(self, kind: str, value: str, *, region: str | None, reason: str, by: str) -> Hold:
        """Hold what belongs to an identifier, of which a keyed hash is kept. Raises ConfigError for nobody."""
        name = names_of(self._keyring, "hold", kind, value, region)[0]
        made = Hold(uuid7s(1)[0], reason, written(datetime.now(UTC)), by)
        row = {"hold_id": made.hold_id, "reason": reason, "placed_at": made.placed_at, "placed_by": by}
        with self._store.begin() as connection:
            connection.execute(sa.insert(legal_hold).values(subject=name, **row))
        return made

    def end(self, hold_id: str, *, by: str) -> Hold:
        """End a hold. Raises ConfigError when there is none that holds."""
        mine = sa.and_(legal_hold.c.hold_id == hold_id, legal_hold.c.ended_at.is_(None))
        with self._store.begin() as connection:
            ended = {"ended_at": written(datetime.now(UTC)), "ended_by": by}
            if not connection.execute(sa.update(legal_hold).where(mine).values(**ended)).rowcount:
                raise ConfigError(f"There is no hold {hold_id!r} that holds. See: consentry hold list.")
            found = connection.execute(sa.select(legal_hold).where(legal_hold.c.hold_id == hold_id)).mappings().one()
        return _hold(dict(found))

    def listed(self, *, ended: bool = False) -> list[Hold]:
        """Return holds, the oldest first; those that ended only when asked for."""
        query = sa.select(legal_hold).order_by(legal_hold.c.placed_at, legal_hold.c.hold_id)
        if not ended:
            query = query.where(legal_hold.c.ended_at.is_(None))
        with self._store.begin() as connection:
            return [_hold(dict(row)) for row in connection.execute(query).mappings()]

    def of(self, identifiers: Iterable[tuple[str, str, str | None]]) -> list[Hold]:
        """Return what holds the data of somebody with these identifiers (type, value, region)."""
        names: set[str] = set()
        for kind, value, region in identifiers:
            try:
                names.update(names_of(self._keyring, "hold", kind, value, region))
            except ConfigError:
                continue  # by what identifies nobody, nobody was held
        query = sa.select(legal_hold).where(legal_hold.c.ended_at.is_(None), legal_hold.c.subject.in_(sorted(names)))
        with self._store.begin() as connection:
            return [_hold(dict(row)) for row in connection.execute(query.order_by(legal_hold.c.placed_at)).mappings()]


# A row of the table; whose data it is stays there.
def _hold(row: dict[str, Any]) -> Hold:
    row.pop("subject")
    return Hold(**row)
