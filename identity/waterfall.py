"""How a person came together: what joined which records, step by step, the strongest evidence first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from consentry.identity.config import IdentityConfig
from consentry.identity.decisions import Seat
from consentry.identity.explain import masked
from consentry.warehouse import Warehouse

_VALUES = (
    "SELECT i.type, i.value, list(DISTINCT i.record_id ORDER BY i.record_id) AS records FROM identity.identifier i"
    " JOIN identity.membership m ON m.record_id = i.record_id AND m.valid_to_run IS NULL"
    " LEFT JOIN identity.demoted d ON d.type = i.type AND d.value = i.value AND d.reason = 'shared'"
    " WHERE m.person_id = $person AND i.status = 'ok' AND i.unlinked IS NULL AND d.type IS NULL"
    " GROUP BY i.type, i.value HAVING count(DISTINCT i.record_id) > 1"
)


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of evidence that joined records which nothing stronger had joined.

    kind: an identifier type, or `decision`. value: masked, or the id of the decision. joined: one record of each group
    that came together. left: how many groups there were after it. purposes: for which the records may be linked, empty
    when they may be for all.
    """

    kind: str
    value: str
    joined: tuple[str, ...]
    left: int
    purposes: tuple[str, ...] = ()


def waterfall(
    warehouse: Warehouse, config: IdentityConfig, person_id: str, *, seats: Iterable[Seat] = ()
) -> tuple[Step, ...]:
    """Return the steps by which the records of a person came together, in the order in which evidence is believed.

    Evidence that joined nothing new is left out. seats: what stewards decided about these records.
    """
    query = "SELECT record_id FROM identity.membership WHERE person_id = $person AND valid_to_run IS NULL ORDER BY 1"
    records = warehouse.sql(query, person=person_id)["record_id"].to_pylist()
    groups = _Groups(records)
    decided: dict[str, list[str]] = {}
    for seat in seats:
        if seat.kind == "merge" and seat.record_id in groups.root:
            decided.setdefault(seat.decision_id, []).append(seat.record_id)
    steps = [groups.join("decision", name, held) for name, held in sorted(decided.items())]
    rows = warehouse.sql(_VALUES, person=person_id).to_pylist()
    for row in sorted(rows, key=lambda row: _strength(config, row)):
        steps.append(groups.join(row["type"], masked(row["type"], row["value"]), row["records"], config))
    return tuple(step for step in steps if step)


def _strength(config: IdentityConfig, row: dict[str, Any]) -> tuple[int, str, str]:
    return config.rule(row["type"]).priority, row["type"], row["value"]


class _Groups:
    def __init__(self, records: Sequence[str]) -> None:
        self.root = {record: record for record in records}

    def join(self, kind: str, value: str, records: Sequence[str], config: IdentityConfig | None = None) -> Step | None:
        """Join the groups of some records; None when they are one already."""
        roots = sorted({self.root[record] for record in records})
        if len(roots) < 2:
            return None
        for record, root in self.root.items():
            if root in roots:
                self.root[record] = roots[0]
        left = len(set(self.root.values()))
        return Step(kind, value, tuple(roots), left, _purposes(config, records) if config else ())


def _purposes(config: IdentityConfig, records: Sequence[str]) -> tuple[str, ...]:
    """Return the purposes for which records of all these sources may be linked; none when no source is bound."""
    bits = -1
    for record in records:
        bits &= config.linking.bits(record.partition(":")[0])
    return () if bits == -1 else tuple(name for n, name in enumerate(config.linking.names()) if bits >> n & 1)
