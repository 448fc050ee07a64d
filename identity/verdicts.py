"""What stewards have said already: of which records and people nobody needs to be asked again."""

from __future__ import annotations

from collections.abc import Iterable

from consentry.identity.decisions import Seat, closure, sides_of
from consentry.warehouse import Warehouse


class Verdicts:
    """Who was said to be one person, and who not, over any number of steps, as the decisions that hold have it."""

    def __init__(self, warehouse: Warehouse, seats: Iterable[Seat]) -> None:
        seats = list(seats)
        merged = sides_of([seat for seat in seats if seat.kind == "merge"])
        self.merges = {name: side for name, (side,) in sorted(merged.items())}
        self._root = closure(list(self.merges.values()))
        self._sides: dict[str, dict[str, int]] = {}
        for seat in seats:
            if seat.kind != "merge":
                self._sides.setdefault(self._root.get(seat.record_id, seat.record_id), {})[seat.decision_id] = seat.side
        self._people = _people(warehouse, sorted({seat.record_id for seat in seats}))
        parted = sides_of([seat for seat in seats if seat.kind != "merge"])
        self._settled = set(self._pairs_of_people([sides for sides in parted.values() if len(sides) == 2]))

    @property
    def merged_records(self) -> list[str]:
        """Return every record that was said to be one person with another."""
        return sorted(self._root)

    def are_records_settled(self, one: str, other: str) -> bool:
        """Tell whether it was decided of two records that they are one person, or that they are not."""
        first, second = (self._root.get(record, record) for record in (one, other))
        if first == second:
            return True
        there = self._sides.get(second, {})
        return any(side != there.get(name, side) for name, side in self._sides.get(first, {}).items())

    def are_people_settled(self, one: str, other: str) -> bool:
        """Tell whether it was decided of records of two people that they are one, or that they are not."""
        return (min(one, other), max(one, other)) in self._settled

    def people_of(self, records: Iterable[str]) -> list[str]:
        """Return the people of today who have records that a decision is about."""
        return sorted({self._people[record] for record in records if record in self._people})

    def _pairs_of_people(self, parted: Iterable[list[list[str]]]) -> Iterable[tuple[str, str]]:
        one_person: dict[str, list[str]] = {}
        for record, root in self._root.items():
            one_person.setdefault(root, []).append(record)
        for one, other in [*parted, *([group, group] for group in one_person.values())]:
            first, last = self.people_of(one), self.people_of(other)
            yield from ((min(a, b), max(a, b)) for a in first for b in last if a != b)


def _people(warehouse: Warehouse, records: list[str]) -> dict[str, str]:
    if not records:
        return {}
    rows = warehouse.sql(
        "SELECT record_id, person_id FROM identity.membership WHERE valid_to_run IS NULL"
        " AND record_id IN (SELECT unnest($records))",
        records=records,
    )
    return dict(zip(rows["record_id"].to_pylist(), rows["person_id"].to_pylist(), strict=True))
