"""From clusters of this run to person ids: who stays, who is new, who went into whom, and the events that say so."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from consentry.identity.codes import Flags, Ints, ints
from consentry.identity.graph import Graph
from consentry.identity.inherit import heirs, inherit
from consentry.identity.scope import TOUCHED
from consentry.identity.tables import ERASED
from consentry.model.ids import uuid7s
from consentry.warehouse import Warehouse

# Of each record that is looked at the person it has, or had last: one that comes back finds its person again.
_FORMER = (
    "WITH last AS (SELECT record_id, person_id FROM identity.membership"
    f" WHERE record_id IN (SELECT record_id FROM {TOUCHED}) QUALIFY row_number() OVER (PARTITION BY record_id"
    " ORDER BY valid_to_run IS NULL DESC, valid_from_run DESC, person_id DESC) = 1),"
    " former AS (SELECT person_id, status, row_number() OVER (ORDER BY person_id) - 1 AS p FROM identity.person"
    " WHERE status IN ('active', 'closed') AND person_id IN (SELECT person_id FROM last))"
)


@dataclass(frozen=True, slots=True)
class Former:
    """The people of the runs before.

    ids: from the oldest. closed: which of them are. erased: how many of their records are erased now. record, person:
    the person of each record that has one, as pairs of codes.
    """

    ids: list[str]
    closed: Flags
    erased: Ints
    record: Ints
    person: Ints


@dataclass(slots=True)
class Changes:
    """Events to be: a kind, the person, the other person, the cluster that is the evidence, the records concerned."""

    kind: list[str] = field(default_factory=list)
    person: list[str] = field(default_factory=list)
    other: list[str | None] = field(default_factory=list)
    cluster: list[int] = field(default_factory=list)
    records: list[int] = field(default_factory=list)

    def add(self, kind: str, person: str, other: str | None, cluster: int, records: int) -> None:
        """Note one event."""
        self.kind.append(kind)
        self.person.append(person)
        self.other.append(other)
        self.cluster.append(cluster)
        self.records.append(records)

    def table(self) -> pa.Table:
        """Return the events as a table, each with an id, in the order they were noted."""
        return pa.table(
            {
                "event_id": pa.array(uuid7s(len(self.kind)), pa.string()),
                "kind": pa.array(self.kind, pa.string()),
                "person_id": pa.array(self.person, pa.string()),
                "other_person_id": pa.array(self.other, pa.string()),
                "c": pa.array(self.cluster, pa.int64()),
                "records": pa.array(self.records, pa.int64()),
            }
        )


@dataclass(frozen=True, slots=True)
class Succession:
    """The people of this run: `cluster` for each record, the person id of each cluster, what changed.

    persons: rows person_id, status, merged_into of the people who are new or other than before.
    """

    cluster: Ints
    ids: list[str]
    changes: Changes
    persons: pa.Table


def former_people(warehouse: Warehouse) -> Former:
    """Read who the records of this run were before."""
    people = warehouse.sql(
        f"{_FORMER} SELECT f.person_id, f.status = 'closed' AS closed, count(e.record_id) AS erased FROM former f"
        f" JOIN last USING (person_id) LEFT JOIN {ERASED} e ON e.record_id = last.record_id GROUP BY ALL ORDER BY 1"
    )
    pairs = warehouse.sql(
        f"{_FORMER} SELECT r.r, f.p FROM last JOIN identity.staged_record r USING (record_id)"
        " JOIN former f ON f.person_id = last.person_id"
    )
    closed = people["closed"].to_numpy().astype(np.bool_)
    erased = ints(people["erased"])
    return Former(people["person_id"].to_pylist(), closed, erased, ints(pairs["r"]), ints(pairs["p"]))


def succeed(labels: Ints, former: Former) -> Succession:
    """Give every cluster its person id, and say what became of every former person."""
    firsts, cluster = np.unique(labels, return_inverse=True)
    cluster = cluster.astype(np.int64)
    was = cluster[former.record]
    kept = inherit(was, former.person, len(firsts), len(former.ids))
    fresh = np.flatnonzero(kept < 0)
    names = np.array(former.ids, dtype=object)
    chosen = np.empty(len(firsts), dtype=object)
    chosen[kept >= 0] = names[kept[kept >= 0]]
    chosen[fresh] = uuid7s(len(fresh))
    ids: list[str] = chosen.tolist()
    story = _Story(cluster, was, former, kept, ids)
    story.tell()
    return Succession(cluster, ids, story.changes, story.people())


class _Story:
    """Compare the clusters with the former people, once for each kind of event."""

    def __init__(self, cluster: Ints, was: Ints, former: Former, kept: Ints, ids: list[str]) -> None:
        self.former, self.kept, self.ids = former, kept, ids
        self.changes = Changes()
        self.size = np.bincount(cluster, minlength=len(ids))
        self.had = np.bincount(former.person, minlength=len(former.ids))
        self.known = np.bincount(was, minlength=len(ids))
        # From here on the former people are seen from the clusters: where most of their records are, in how many.
        self.heir, self.parts = heirs(was, former.person, len(former.ids))
        self.origin, _ = heirs(former.person, was, len(ids))
        self.pairs, self.common = np.unique(np.stack([was, former.person], axis=1), axis=0, return_counts=True)
        self.lives = np.zeros(len(former.ids), dtype=np.bool_)
        self.lives[kept[kept >= 0]] = True

    def tell(self) -> None:
        """Note all events, kind by kind, each kind in the order of clusters or persons."""
        add, ids, names, size = self.changes.add, self.ids, self.former.ids, self.size
        fresh = self.kept < 0
        for c in np.flatnonzero(fresh & (self.origin < 0)).tolist():
            add("created", ids[c], None, c, int(size[c]))
        for c in np.flatnonzero(fresh & (self.origin >= 0)).tolist():
            add("split", ids[c], names[int(self.origin[c])], c, int(size[c]))
        for c in np.flatnonzero(~fresh & (size > self.known)).tolist():
            add("absorbed", ids[c], None, c, int(size[c] - self.known[c]))
        for p in np.flatnonzero(self.lives & self.former.closed).tolist():
            add("reopened", names[p], None, int(self.heir[p]), 0)
        for p in self._merged().tolist():
            add("merged", names[p], ids[int(self.heir[p])], int(self.heir[p]), int(self.had[p]))
        self._tell_moves()
        for p in np.flatnonzero(self.former.erased).tolist():
            add("erased", names[p], None, -1, int(self.former.erased[p]))
        for p in self._gone().tolist():
            if not self.former.erased[p]:
                add("closed", names[p], None, -1, 0)

    def people(self) -> pa.Table:
        """Return the rows of people who are new or whose status changes."""
        names, fresh, merged, gone = self.former.ids, np.flatnonzero(self.kept < 0), self._merged(), self._gone()
        back = np.flatnonzero(self.lives & self.former.closed)
        rows: list[tuple[str, str, str | None]] = [(self.ids[c], "active", None) for c in fresh.tolist()]
        rows += [(names[p], "active", None) for p in back.tolist()]
        rows += [
            (names[p], "merged" if self.parts[p] == 1 else "split", self.ids[int(self.heir[p])])
            for p in merged.tolist()
        ]
        rows += [(names[p], "erased" if self.former.erased[p] else "closed", None) for p in gone.tolist()]
        columns = list(zip(*rows, strict=True)) or [(), (), ()]
        fields = ("person_id", "status", "merged_into")
        return pa.table({n: pa.array(column, pa.string()) for n, column in zip(fields, columns, strict=True)})

    def _merged(self) -> Ints:
        return np.flatnonzero(~self.lives & (self.heir >= 0))

    def _gone(self) -> Ints:
        return np.flatnonzero((self.heir < 0) & (~self.former.closed | (self.former.erased > 0)))

    def _tell_moves(self) -> None:
        """Note records that left a person who lives on; those that left with the most of a new person were told."""
        c, p = self.pairs[:, 0], self.pairs[:, 1]
        told = (self.kept[c] == p) | ((self.kept[c] < 0) & (self.origin[c] == p)) | ~self.lives[p]
        for n in np.flatnonzero(~told).tolist():
            left, to = self.former.ids[int(p[n])], self.ids[int(c[n])]
            self.changes.add("moved", to, left, int(c[n]), int(self.common[n]))


def linking_values(graph: Graph, live: Flags, cluster: Ints) -> pa.Table:
    """Count for each cluster and type the values that two or more of its records share: c, type, n."""
    pairs, held = np.unique(np.stack([cluster[graph.r[live]], graph.v[live]], axis=1), axis=0, return_counts=True)
    shared = pairs[held > 1]
    slots, n = np.unique(np.stack([shared[:, 0], graph.type_of[shared[:, 1]]], axis=1), axis=0, return_counts=True)
    names = pa.array([rule.type for rule in graph.types], pa.string())
    return pa.table({"c": pa.array(slots[:, 0]), "type": names.take(pa.array(slots[:, 1])), "n": pa.array(n)})
