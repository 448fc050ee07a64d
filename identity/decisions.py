"""What stewards decided about people, kept for good: these records are one person, or those are not.

A decision is about records, never about person ids, so that it holds whatever becomes of the ids. The store keeps a
keyed hash of each record id, for some systems use an e-mail address as the key of a record. Nothing is overwritten: a
decision ends by another one that takes it back.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa
import sqlalchemy as sa

from consentry.errors import ConfigError
from consentry.model.ids import uuid7s
from consentry.store import Store
from consentry.store.tables import identity_decision as table
from consentry.warehouse import Warehouse

# merge: all records are one person. The others have two sides, and nobody of the one is anybody of the other:
# split and not-same are a steward's words; erasure keeps apart whom somebody's erasure would have brought together.
Kind = Literal["merge", "split", "not-same", "erasure", "reverted"]
Sides = Sequence[Sequence[str]]

BOUND = "identity.staged_bound"
_BOUND_SCHEMA = pa.schema(
    [
        ("decision_id", pa.string()),
        ("kind", pa.string()),
        ("forced", pa.bool_()),
        ("side", pa.int64()),
        ("record_id", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Seat:
    """A record that a decision is about, and the side on which it stands there."""

    decision_id: str
    kind: Kind
    forced: bool
    side: int
    record_id: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: what, by whom, when and why; of each side the keyed hashes of its records.

    forced: it holds against unique identifiers that differ. reverts: the decision that this one takes back.
    """

    decision_id: str
    kind: Kind
    by: str
    why: str
    decided_at: str
    forced: bool
    sides: tuple[tuple[str, ...], ...]
    reverts: str | None = None


class Decisions:
    """The decisions of a job.

    keys: of the record hashes, the active one first; older ones still match what was written under them.
    """

    def __init__(self, store: Store, keys: Sequence[bytes]) -> None:
        self._store = store
        self._keys = tuple(keys)

    def listed(self) -> list[Decision]:
        """Return every decision ever made, oldest first."""
        with self._store.begin() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.decision_id))
            return [
                Decision(
                    row.decision_id, row.kind, row.said_by, row.why, row.decided_at, row.forced,
                    tuple(tuple(side) for side in json.loads(row.sides)), row.reverts,
                )
                for row in rows
            ]  # fmt: skip

    def holding(self) -> list[Decision]:
        """Return the decisions that hold, oldest first: those that nobody took back."""
        listed = self.listed()
        ended = {decision.reverts for decision in listed}
        return [one for one in listed if one.kind != "reverted" and one.decision_id not in ended]

    def decide(
        self, warehouse: Warehouse, kind: Kind, sides: Sides, *, by: str, why: str, forced: bool = False
    ) -> Decision:
        """Record a decision about records, in one side for a merge, in two for the others.

        Raises ConfigError when it contradicts a decision that holds, over any number of steps.
        """
        _refuse_unsaid(by, why)
        held = {one.decision_id: one for one in self.holding()}
        against = _contradicted(self.seats(warehouse, "identity.membership"), kind, sides)
        if against:
            raise ConfigError(_refusal(held[against]), code="decision_contradicted")
        return self._keep(Decision(uuid7s(1)[0], kind, by, why, now(), forced, self._hashed(sides)))

    def keep_apart(self, pairs: Sequence[Sides], *, why: str) -> None:
        """Note people whom a departure would have brought together: each is two sides of records."""
        for sides in pairs:
            self._keep(Decision(uuid7s(1)[0], "erasure", "consentry", why, now(), False, self._hashed(sides)))

    def revert(self, decision_id: str, *, by: str, why: str) -> Decision:
        """Take a decision back. Raises ConfigError when there is none of this id that holds."""
        _refuse_unsaid(by, why)
        if decision_id not in {one.decision_id for one in self.holding()}:
            message = f"There is no decision {decision_id!r} that holds. See: consentry identity decisions."
            raise ConfigError(message, code="no_decision")
        return self._keep(Decision(uuid7s(1)[0], "reverted", by, why, now(), False, (), decision_id))

    def stage(self, warehouse: Warehouse, records: str) -> None:
        """Write what holds about the records of a table to `identity.staged_bound`."""
        rows = [asdict(seat) for seat in self.seats(warehouse, records)]
        warehouse.write(BOUND, [pa.RecordBatch.from_pylist(rows, _BOUND_SCHEMA)], schema=_BOUND_SCHEMA)

    def seats(self, warehouse: Warehouse, records: str) -> list[Seat]:
        """Return what holds about the records of a table, in the order of the records."""
        sides: dict[str, list[tuple[Decision, int]]] = {}
        for decision in self.holding():
            for number, side in enumerate(decision.sides):
                for name in side:
                    sides.setdefault(name, []).append((decision, number))
        if not sides or not warehouse.has(records):
            return []
        return [
            Seat(decision.decision_id, decision.kind, decision.forced, number, record)
            for batch in warehouse.stream(f"SELECT DISTINCT record_id FROM {records} ORDER BY record_id")
            for record in batch.column("record_id").to_pylist()
            for key in self._keys
            for decision, number in sides.get(self._name(record, key), ())
        ]

    def _keep(self, decision: Decision) -> Decision:
        with self._store.begin() as connection:
            connection.execute(
                sa.insert(table).values(
                    decision_id=decision.decision_id,
                    kind=decision.kind,
                    said_by=decision.by,
                    why=decision.why,
                    decided_at=decision.decided_at,
                    forced=decision.forced,
                    sides=json.dumps(decision.sides),
                    reverts=decision.reverts,
                )
            )
        return decision

    def _hashed(self, sides: Sides) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(sorted(self._name(record, self._keys[0]) for record in side)) for side in sides)

    def _name(self, record: str, key: bytes) -> str:
        return hmac.digest(key, record.encode(), "sha256").hex()


def stage_nothing(warehouse: Warehouse) -> None:
    """Write an empty `identity.staged_bound`, where nobody decides anything."""
    warehouse.write(BOUND, [], schema=_BOUND_SCHEMA)


def _contradicted(seats: Sequence[Seat], kind: Kind, sides: Sides) -> str | None:
    """Return the decision that a new one contradicts: its id, or None.

    Merges reach over any number of steps: with A = B and B = C decided, "A is not C" contradicts both.
    """
    merged = sides_of([seat for seat in seats if seat.kind == "merge"])
    root = closure([*(side for (side,) in merged.values()), *(sides if kind == "merge" else ())])
    if kind != "merge":
        both = {root.get(record, record) for record in sides[0]} & {root.get(record, record) for record in sides[1]}
        return next((name for name, (side,) in merged.items() if any(root[record] in both for record in side)), None)
    parted = sides_of([seat for seat in seats if seat.kind != "merge"])
    for name, held in parted.items():
        roots = [{root.get(record, record) for record in side} for side in held]
        if len(roots) == 2 and roots[0] & roots[1]:
            return name
    return None


def sides_of(seats: Sequence[Seat]) -> dict[str, list[list[str]]]:
    """Gather the records of each decision, side by side; a side of which no record is left is not there."""
    found: dict[str, dict[int, list[str]]] = {}
    for seat in seats:
        found.setdefault(seat.decision_id, {}).setdefault(seat.side, []).append(seat.record_id)
    return {name: [sides[number] for number in sorted(sides)] for name, sides in found.items()}


def closure(groups: Sequence[Sequence[str]]) -> dict[str, str]:
    """Name for each record of overlapping groups the first record of all that hang together."""
    root: dict[str, str] = {}

    def find(record: str) -> str:
        while root.setdefault(record, record) != record:
            record = root[record]
        return record

    for group in groups:
        for record in group:
            root[find(record)] = find(group[0])
    return {record: find(record) for record in root}


def _refusal(held: Decision) -> str:
    said = "are one person" if held.kind == "merge" else "are not one person"
    return (
        f"This contradicts decision {held.decision_id} ({held.kind}) of {held.by}, {held.decided_at[:10]}, that these "
        f"{said}. Take that back first: consentry identity revert JOB {held.decision_id} --by NAME --why REASON"
    )


def _refuse_unsaid(by: str, why: str) -> None:
    if not by.strip() or not why.strip():
        raise ConfigError("A decision needs who decides it and why: --by NAME --why REASON.", code="decision_unsaid")


def now() -> str:
    """Return this instant as decisions note it: UTC, microseconds, Z."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
