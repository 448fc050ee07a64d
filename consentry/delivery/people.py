"""Fetch the people of a sync from their golden records, as many at a time as a batch takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consentry.delivery.golden import Golden
from consentry.model.names import quoted
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON

FETCH_ROWS = 20_000
_OURS = ("_payload_hash", "_held")


@dataclass(frozen=True, slots=True)
class Person:
    """One person who is due: the golden record as the gate takes it, and what the ledger says.

    row: person_id, remote_id, and the columns of the golden records, all None for a person who is gone.
    held: whether the person is in the audience, or perhaps is.
    """

    person_id: str
    payload_hash: str
    held: bool
    # The values of a golden record are whatever its columns hold.
    row: Mapping[str, Any] = field(repr=False)


def people_to_send(
    warehouse: Warehouse,
    sync: str,
    operation: str,
    cause: str,
    *,
    golden: Golden,
    size: int,
    only: Sequence[str] | None = None,
) -> Iterator[list[Person]]:
    """Yield the people of `delivery.todo` for one operation and cause, `size` at a time.

    only: of these people, when not all.
    """
    columns = [f"g.{quoted(name)}" for name in golden.columns if name != "person_id"]
    chosen = "" if only is None else f" AND t.person_id IN (SELECT unnest($only::{PERSON}[]))"
    query = (
        f"SELECT {', '.join(['t.person_id', 't.remote_id', *columns])},"
        " replace(CAST(t.payload_hash AS TEXT), '-', '') AS _payload_hash, t.held AS _held"
        f" FROM delivery.todo t LEFT JOIN {golden.relation} g ON g.person_id = t.person_id"
        f" WHERE t.sync = $sync AND t.operation = $operation AND t.cause = $cause{chosen}"
    )
    params: dict[str, object] = {"sync": sync, "operation": operation, "cause": cause}
    if only is not None:
        params["only"] = list(only)
    waiting: list[Person] = []
    for batch in warehouse.stream(query, batch_rows=FETCH_ROWS, **params):
        waiting += map(_person, batch.to_pylist())
        whole = len(waiting) - len(waiting) % size
        yield from (waiting[at : at + size] for at in range(0, whole, size))
        waiting = waiting[whole:]
    if waiting:
        yield waiting


def _person(row: dict[str, Any]) -> Person:
    values = {name: value for name, value in row.items() if name not in _OURS}
    return Person(row["person_id"], row["_payload_hash"] or "", bool(row["_held"]), values)
