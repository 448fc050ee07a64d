"""Compare two snapshots of a table by their key: rows that came, went and changed, and what changed, column by column.

A row without a key, and every row whose key occurs more than once in either snapshot, is set aside and counted: it is
never paired with any other. The rows of each snapshot add up, or nothing is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from consentry.errors import ConfigError, StopRun
from consentry.model.names import did_you_mean, quoted_table
from consentry.validation.snapshots import Snapshot, Stage

Kind = Literal["added", "removed", "changed", "repeated"]
KINDS: Final[tuple[Kind, ...]] = ("added", "removed", "changed", "repeated")
# What became of a cell. From _CHANGED on, it makes its row a changed one.
_SPELLED, _NEAR, _CHANGED, _LOST, _FOUND = 1, 2, 3, 4, 5
_NUMBERS: Final = ("INT", "DECIMAL", "DOUBLE", "FLOAT")
_REPEATED: Final = "raw.repeated"
# What is counted of rows that are set aside, and of cells, in words.
ASIDE: Final = {
    "malformed": "set aside: no record",
    "keyless": "set aside: no key",
    "repeated": "set aside: the key occurs more than once",
}
CELLS: Final = {
    "changed": "changed",
    "became_missing": "now missing",
    "became_known": "now known",
    "within_tolerance": "near",
    "spelled": "respelled",
}
# Two numbers of twelve digits and more differ by this part of themselves when their difference is rounded.
_ROUNDING: Final = 1e-15


@dataclass(frozen=True, slots=True)
class Side:
    """One snapshot in numbers. rows: all of them; the other numbers are of rows that were set aside.

    keyless: a part of the key is missing. repeated: the key occurs more than once, here or in the other snapshot.
    """

    label: str
    rows: int
    malformed: int
    first_malformed: int | None
    keyless: int
    repeated: int

    @property
    def compared(self) -> int:
        """The rows that have exactly one key of their own."""
        return self.rows - self.malformed - self.keyless - self.repeated


@dataclass(frozen=True, slots=True)
class ColumnDiff:
    """The cells of one column, in rows that both snapshots have; cells that are the same are not counted.

    became_missing, became_known: on one side there is no value. changed: there are two, and they differ.
    within_tolerance: numbers that hardly differ. spelled: written in another way, and read as the same; neither makes
    its row a changed one. unreadable: cells that the contract cannot read, before and after. types: SQL types before
    and after, where no contract gives the column one and they differ.
    """

    column: str
    changed: int
    became_missing: int
    became_known: int
    within_tolerance: int
    spelled: int
    unreadable: tuple[int, int]
    types: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class SnapshotDiff:
    """What two snapshots differ in. columns: those that are compared, in their order.

    columns_added, columns_removed: those that only one of the snapshots has. differs: anything at all is not the same,
    or was set aside. A column that the contract reads counts by its cells, since a lacking one is missing throughout.
    """

    old: Side
    new: Side
    added: int
    removed: int
    changed: int
    same: int
    columns: tuple[ColumnDiff, ...]
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    differs: bool


class Comparison:
    """Two snapshots of one stage, made ready to be compared.

    tolerance: by how much numbers may differ, by column; "" stands for every column of numbers. Raises ConfigError for
    a key of two types, and for a tolerance of what is no number.
    """

    def __init__(
        self, stage: Stage, old: Snapshot, new: Snapshot, *, tolerance: Mapping[str, float] | None = None
    ) -> None:
        self._stage, self._old, self._new = stage, old, new
        self._warehouse = stage.warehouse
        self._key = [f"c{number}" for number in range(len(stage.key))]
        self._types = self._warehouse.columns(old.table), self._warehouse.columns(new.table)
        self._columns = self._compared()
        self._settle_key()
        self._tolerance = self._tolerances(tolerance or {})
        self._set_aside()

    def diff(self) -> SnapshotDiff:
        """Count what differs. Raises StopRun when the rows of a snapshot do not add up."""
        old, new = self._side(self._old), self._side(self._new)
        found = self._counted()
        matched, changed = found["matched"], found["changed"]
        added, removed = new.compared - matched, old.compared - matched
        kept = tuple(self._warehouse.count(f"{it.table}__kept") for it in (self._old, self._new))
        if kept != (old.compared, new.compared) or min(added, removed) < 0:
            raise StopRun("The rows of the snapshots do not add up. Report this.", code="not_conserved")
        columns = tuple(self._column(name, found) for name in self._columns)
        came, went = self._drift(self._new, self._old), self._drift(self._old, self._new)
        aside = old.rows + new.rows - old.compared - new.compared
        drifted = any(not self._stage.reads(name) for name in (*came, *went)) or any(it.types for it in columns)
        differs = bool(added or removed or changed or aside or drifted)
        return SnapshotDiff(old, new, added, removed, changed, matched - changed, columns, came, went, differs)

    def keys(self, of: Kind, most: int) -> list[list[str]]:
        """Return the keys of rows, in order and as text: personal data, maybe."""
        if of == "changed":
            return [row["key"] for row in self.rows(most)]
        here, there = (self._new, self._old) if of == "added" else (self._old, self._new)
        listed = ", ".join(f"CAST(it.{c} AS TEXT) AS {c}" for c in self._key)
        order = ", ".join(f"it.{c}" for c in self._key)
        origin = f"{_REPEATED} AS it"
        if of != "repeated":
            origin = f"{_kept(here)} AS it ANTI JOIN {_kept(there)} AS other ON {_same('it', 'other', self._key)}"
        found = self._warehouse.sql(
            f"SELECT {listed} FROM {origin} ORDER BY {order} LIMIT $most", most=most
        ).to_pylist()
        return [[row[c] for c in self._key] for row in found]

    # Cells are shown as text, None where there is no value.
    def rows(self, most: int) -> list[dict[str, Any]]:
        """Return changed rows by their keys: {"key", "cells": {column: [before, after]}}; personal data."""
        numbers = [self._stage.number(name) for name in self._columns]
        shown = [
            f"s{n}, {_shown('o', n, self._types[0])} AS o{n}, {_shown('w', n, self._types[1])} AS w{n}" for n in numbers
        ]
        keys = ", ".join(f"CAST(o.{c} AS TEXT) AS k{c}, o.{c} AS by_{c}" for c in self._key)
        query = (
            f"SELECT * FROM ({self._joined([keys, *shown])}) AS joined WHERE {self._is_changed()}"
            f" ORDER BY {', '.join(f'by_{c}' for c in self._key)} LIMIT $most"
        )
        return [
            {
                "key": [row[f"k{c}"] for c in self._key],
                "cells": {
                    name: [row[f"o{n}"], row[f"w{n}"]]
                    for name, n in zip(self._columns, numbers, strict=True)
                    if row[f"s{n}"] >= _CHANGED
                },
            }
            for row in self._warehouse.sql(query, most=most).to_pylist()
        ]

    def _compared(self) -> list[str]:
        """Return the columns that both snapshots have, or one of them and the contract; the order is the old one's."""
        both = dict.fromkeys([*self._old.columns, *self._new.columns])
        bare = not (self._old.columns and self._new.columns)
        return [
            name
            for name in both
            if self._stage.reads(name) or (not bare and name in self._old.columns and name in self._new.columns)
        ]

    def _settle_key(self) -> None:
        for name, column in zip(self._stage.key, self._key, strict=True):
            old, new = (types[column] for types in self._types)
            if old != new and all(self._sizes()) and not ("INT" in old and "INT" in new):
                told = f"The key {name!r} is {old} in {self._old.label} and {new} in {self._new.label}."
                raise ConfigError(f"{told} Say by a contract what it is: --contract contracts/file.yaml.")
            if old != new:
                # A snapshot without a record has no types of its own.
                it, kind = (self._old, new) if not self._sizes()[0] else (self._new, old)
                self._warehouse.sql(f"ALTER TABLE {quoted_table(it.table)} ALTER {column} TYPE {kind}")

    def _tolerances(self, wanted: Mapping[str, float]) -> dict[str, float]:
        numbers = [name for name in self._columns if all(_is_number(t) for t in self._kinds(name))]
        for name in wanted:
            if name and name not in self._columns:
                hint = did_you_mean(name, self._columns) or "."
                raise ConfigError(f"There is no column {name!r} in both snapshots, for which to have a tolerance{hint}")
            if name and name not in numbers:
                raise ConfigError(
                    f"The column {name!r} has a tolerance and is no number. Say by a contract what it is."
                )
        general = {name: wanted[""] for name in numbers if "" in wanted and name not in self._stage.key}
        return general | {name: value for name, value in wanted.items() if name}

    def _kinds(self, name: str) -> tuple[str, str]:
        place = f"c{self._stage.number(name)}"
        return self._types[0].get(place, ""), self._types[1].get(place, "")

    def _set_aside(self) -> None:
        """Find the keys that occur more than once, and make views of the rows that have one of their own."""
        listed = ", ".join(self._key)
        present = " AND ".join(f"{column} IS NOT NULL" for column in self._key)
        each = " UNION ".join(
            f"SELECT {listed} FROM {quoted_table(it.table)} WHERE {present} GROUP BY {listed} HAVING count(*) > 1"
            for it in (self._old, self._new)
        )
        self._warehouse.sql(f"CREATE OR REPLACE TABLE {_REPEATED} AS {each}")
        unless = f" ANTI JOIN {_REPEATED} AS other ON {_same('it', 'other', self._key)}"
        for it in (self._old, self._new):
            rest = unless if self._warehouse.count(_REPEATED) else ""
            given = " AND ".join(f"it.{column} IS NOT NULL" for column in self._key)
            query = f"SELECT it.* FROM {quoted_table(it.table)} AS it{rest} WHERE {given}"
            self._warehouse.sql(f"CREATE OR REPLACE VIEW {_kept(it)} AS {query}")

    def _side(self, it: Snapshot) -> Side:
        missing = " OR ".join(f"it.{column} IS NULL" for column in self._key)
        table = f"{quoted_table(it.table)} AS it"
        again = f"{table} SEMI JOIN {_REPEATED} AS other ON {_same('it', 'other', self._key)}"
        counts = (
            f"(SELECT count(*) FROM {table} WHERE {missing}) AS keyless, (SELECT count(*) FROM {again}) AS repeated"
        )
        found = self._warehouse.sql(f"SELECT {counts}").to_pylist()[0]
        return Side(it.label, it.rows, it.malformed, it.first_malformed, found["keyless"], found["repeated"])

    def _counted(self) -> dict[str, int]:
        counts = ["count(*) AS matched", f"count(*) FILTER ({self._is_changed()}) AS changed"]
        extra = []
        for name in self._columns:
            n = self._stage.number(name)
            counts += [f"count(*) FILTER (s{n} = {state}) AS s{n}_{state}" for state in range(_SPELLED, _FOUND + 1)]
            if self._stage.reads(name):
                extra.append(f"o.f{n} AS of{n}, w.f{n} AS wf{n}")
                counts += [f"count(*) FILTER (of{n}) AS of{n}", f"count(*) FILTER (wf{n}) AS wf{n}"]
        query = f"SELECT {', '.join(counts)} FROM ({self._joined(extra)}) AS joined"
        found: dict[str, int] = self._warehouse.sql(query).to_pylist()[0]
        return found

    def _joined(self, shown: Sequence[str]) -> str:
        """Select the pairs of rows with one key: the state of each cell, and what else is to be shown."""
        states = [f"{self._state(name)} AS s{self._stage.number(name)}" for name in self._columns]
        pairs = f"{_kept(self._old)} AS o JOIN {_kept(self._new)} AS w ON {_same('o', 'w', self._key)}"
        return f"SELECT {', '.join([*states, *shown]) or '0 AS nothing'} FROM {pairs}"

    def _is_changed(self) -> str:
        states = [f"s{self._stage.number(name)} >= {_CHANGED}" for name in self._columns]
        return " OR ".join(states) or "false"

    def _state(self, name: str) -> str:
        """Write the state of a cell of a pair of rows as SQL."""
        n = self._stage.number(name)
        read = self._stage.reads(name)
        old, new = f"o.c{n}", f"w.c{n}"
        spelled = f"CASE WHEN o.t{n} <> w.t{n} THEN {_SPELLED} ELSE 0 END" if read else "0"
        unread_old, unread_new = (f"coalesce({side}.f{n}, false)" if read else "false" for side in "ow")
        near = f"WHEN {_near(old, new, self._tolerance[name])} THEN {_NEAR}" if name in self._tolerance else ""
        both = f"{unread_old} AND {unread_new} AND o.t{n} = w.t{n}" if read else "false"
        return (
            f"CASE WHEN {_equal(old, new, self._kinds(name))} THEN {spelled}"
            f" WHEN {old} IS NULL AND {new} IS NULL AND NOT {unread_old} AND NOT {unread_new} THEN {spelled}"
            f" WHEN {old} IS NULL AND NOT {unread_old} THEN {_FOUND}"
            f" WHEN {new} IS NULL AND NOT {unread_new} THEN {_LOST}"
            f" WHEN {both} THEN 0 {near} ELSE {_CHANGED} END"
        )

    def _column(self, name: str, found: Mapping[str, int]) -> ColumnDiff:
        n = self._stage.number(name)
        spelled, near, changed, lost, known = (found[f"s{n}_{state}"] for state in range(_SPELLED, _FOUND + 1))
        unreadable = found.get(f"of{n}", 0), found.get(f"wf{n}", 0)
        kinds = self._kinds(name)
        types = kinds if kinds[0] != kinds[1] and not self._stage.reads(name) and all(self._sizes()) else None
        return ColumnDiff(name, changed, lost, known, near, spelled, unreadable, types)

    def _sizes(self) -> tuple[int, int]:
        return self._old.rows - self._old.malformed, self._new.rows - self._new.malformed

    def _drift(self, here: Snapshot, there: Snapshot) -> tuple[str, ...]:
        """Return the columns that one snapshot has and the other lacks; one without a single record shows none."""
        return tuple(name for name in here.columns if there.columns and name not in there.columns)


def _kept(it: Snapshot) -> str:
    return quoted_table(f"{it.table}__kept")


def _same(left: str, right: str, columns: Sequence[str]) -> str:
    return " AND ".join(f"{left}.{column} = {right}.{column}" for column in columns)


def _is_number(kind: str) -> bool:
    return any(word in kind for word in _NUMBERS)


def _equal(old: str, new: str, kinds: tuple[str, str]) -> str:
    """Compare two cells; numbers of two kinds as floating point, what is of two types otherwise as text."""
    if kinds[0] == kinds[1]:
        return f"{old} = {new}"
    kind = "DOUBLE" if all(map(_is_number, kinds)) else "TEXT"
    return f"CAST({old} AS {kind}) = CAST({new} AS {kind})"


def _near(old: str, new: str, tolerance: float) -> str:
    left, right = f"CAST({old} AS DOUBLE)", f"CAST({new} AS DOUBLE)"
    room = f"{tolerance!r} + {_ROUNDING!r} * greatest(abs({left}), abs({right}))"
    return f"isfinite({left}) AND isfinite({right}) AND abs({left} - {right}) <= {room}"


def _shown(side: str, number: int, types: Mapping[str, str]) -> str:
    value = f"CAST({side}.c{number} AS TEXT)"
    return f"coalesce({value}, {side}.t{number})" if f"t{number}" in types else value
