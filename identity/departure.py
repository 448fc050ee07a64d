"""When records leave because of somebody's rights, nobody else becomes one person for it.

Taking records away can bring others together: a value that too many shared is shared by few enough, a contradiction is
gone, an average rises. With average linkage the erasure of 1% of the records made 17 clusters merge elsewhere (measured
on historical 50k). Who was two people before stays two, and a decision of the kind `erasure` keeps it so.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from consentry.identity.codes import Flags, Ints
from consentry.identity.components import components
from consentry.identity.decisions import Decisions
from consentry.identity.graph import Graph
from consentry.identity.scope import spread
from consentry.identity.succession import Former
from consentry.identity.tables import ERASED
from consentry.warehouse import Warehouse

_AFFECTED = "identity.staged_affected"
# Records of one person that stand in a decision: enough to tell the person by.
_MOST = 200
_WHY = "They would have become one person because records of others were erased or may no longer be linked."


def stage_departures(warehouse: Warehouse, erased: str | None, *, everybody: bool = False) -> None:
    """Note which known records are erased, and which records hang together with these or with newly refused ones.

    erased: a table of record ids, known or not. everybody: all records hang together, because what one says weighs on
    how alike the others are.
    """
    gone = f"record_id IN (SELECT record_id FROM {erased})" if erased else "false"
    warehouse.sql(f"CREATE TABLE {ERASED} AS SELECT DISTINCT record_id FROM identity.membership WHERE {gone}")
    refused = "SELECT record_id FROM {} WHERE unlinked = 'linking_refused'"
    warehouse.sql(
        f"CREATE TABLE {_AFFECTED} AS SELECT record_id FROM {ERASED} UNION"
        f" (({refused.format('identity.staged_identifier')} EXCEPT {refused.format('identity.identifier')})"
        " INTERSECT SELECT record_id FROM identity.membership)"
    )
    if warehouse.count(_AFFECTED) and everybody:
        warehouse.sql(f"CREATE OR REPLACE TABLE {_AFFECTED} AS SELECT record_id FROM identity.staged_subject")
    elif warehouse.count(_AFFECTED):
        spread(warehouse, _AFFECTED)


def without_merges(
    warehouse: Warehouse, graph: Graph, labels: Ints, former: Former, decisions: Decisions | None
) -> Ints:
    """Return the labels with everybody who was two people before, and hangs together with what left, two again."""
    affected = _affected(warehouse, graph.records)
    if not affected.any():
        return labels
    parted = _joined_by_decision(graph, _parted(labels, former, affected))
    sides = _sides(warehouse, labels, parted, affected)
    if decisions and sides:
        decisions.keep_apart(sides, why=_WHY)
        decisions.stage(warehouse, "identity.staged_subject")
    return parted


def _affected(warehouse: Warehouse, records: int) -> Flags:
    found = warehouse.sql(f"SELECT r.r FROM identity.staged_record r JOIN {_AFFECTED} a USING (record_id)")
    flags = np.zeros(records, dtype=np.bool_)
    flags[found["r"].to_numpy().astype(np.int64)] = True
    return flags


def _parted(labels: Ints, former: Former, affected: Flags) -> Ints:
    """Split every affected cluster by former persons; records that had none go with its first person."""
    was = np.full(len(labels), -1, dtype=np.int64)
    was[former.record] = former.person
    known = np.flatnonzero(was >= 0)
    first = np.full(len(labels), -1, dtype=np.int64)
    # Written from the last record to the first, so that the first has the last word.
    first[labels[known[::-1]]] = was[known[::-1]]
    was = np.where(affected, np.where(was >= 0, was, first[labels]), -1)
    _, parted = np.unique(np.stack([labels, was], axis=1), axis=0, return_inverse=True)
    return parted.astype(np.int64)


def _joined_by_decision(graph: Graph, parted: Ints) -> Ints:
    """Join again whom a steward declared one person."""
    one, other = graph.said.together.T
    ties = graph.records + np.arange(len(one))
    r = np.concatenate([np.arange(graph.records), one, other])
    return components(graph.records, graph.records + len(one), r, np.concatenate([parted, ties, ties]))


def _sides(warehouse: Warehouse, labels: Ints, parted: Ints, affected: Flags) -> list[list[list[str]]]:
    """Return for each two people who were kept apart the records of either."""
    groups: dict[int, dict[int, list[int]]] = {}
    for record in np.flatnonzero(affected).tolist():
        groups.setdefault(int(labels[record]), {}).setdefault(int(parted[record]), []).append(record)
    cut = [list(parts.values()) for parts in groups.values() if len(parts) > 1]
    if not cut:
        return []
    names = warehouse.sql("SELECT record_id FROM identity.staged_record ORDER BY r")["record_id"]
    return [
        [[names[record].as_py() for record in part[:_MOST]] for part in pair]
        for parts in cut
        for pair in combinations(parts, 2)
    ]
