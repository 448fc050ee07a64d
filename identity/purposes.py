"""Who is one person for a purpose: never more than who is one person at all.

All records of a person have a purpose in common. For a stricter purpose, one for which fewer records may be linked, a
person can fall into parts: links over records that may not be used for it do not count. For two purposes of which one
allows all records that the other does, the parts of the stricter are parts of the parts of the looser.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from consentry.identity.codes import Flags, Ints
from consentry.identity.components import components
from consentry.identity.config import IdentityConfig
from consentry.identity.graph import Graph
from consentry.identity.scope import TOUCHED
from consentry.warehouse import Warehouse

STAGED = "identity.staged_linked_for"


def parts_for(graph: Graph, live: Flags, labels: Ints, allowed: Flags) -> Ints:
    """Return for each record the lowest record of its part, when only the allowed records may be linked.

    labels: who is one person at all. A person all of whose records are allowed stays whole.
    """
    whole = np.ones(graph.records, dtype=np.bool_)
    whole[labels[~allowed]] = False
    used = live & allowed[graph.r]
    r, v = graph.r[used], graph.v[used]
    # A value links only inside a person: what stands between two people links neither with the other.
    _, inside = np.unique(np.stack([v, labels[r]], axis=1), axis=0, return_inverse=True)
    one, other = graph.said.together[allowed[graph.said.together].all(axis=1)].T
    values = int(inside.max(initial=-1)) + 1
    ties = values + np.arange(len(one))
    found = components(
        graph.records,
        values + len(one),
        np.concatenate([r, one, other]),
        np.concatenate([inside.astype(np.int64), ties, ties]),
    )
    parts: Ints = np.where(whole[labels], labels, found)
    return parts


def parts_by_purpose(graph: Graph, live: Flags, labels: Ints, config: IdentityConfig) -> dict[str, Ints]:
    """Return the parts for every purpose for which not all records may be linked."""
    found: dict[str, Ints] = {}
    for name, n in config.linking.places().items():
        allowed = (graph.purposes >> n & 1).astype(np.bool_)
        if not allowed.all():
            found[name] = parts_for(graph, live, labels, allowed)
    return found


def stage_parts(warehouse: Warehouse, parts: Mapping[str, Ints], labels: Ints) -> None:
    """Write the people who fall into parts: purpose, r, and the number of the part."""
    names: list[str] = []
    records: list[Ints] = [np.empty(0, dtype=np.int64)]
    numbers: list[Ints] = [np.empty(0, dtype=np.int64)]
    for name, found in parts.items():
        broken = np.zeros(len(labels), dtype=np.bool_)
        broken[labels[found != labels]] = True
        here = np.flatnonzero(broken[labels])
        names += [name] * len(here)
        records.append(here)
        numbers.append(found[here])
    rows = pa.table({
        "purpose": pa.array(names, pa.string()),
        "r": pa.array(np.concatenate(records), pa.int64()),
        "part": pa.array(np.concatenate(numbers), pa.int64()),
    })  # fmt: skip
    warehouse.write(STAGED, rows.to_batches(), schema=rows.schema)


def publish_parts(warehouse: Warehouse) -> None:
    """Replace the parts of the people that were looked at; parts are numbered within the person, from 1."""
    warehouse.sql(f"DELETE FROM identity.linked_for WHERE record_id IN (SELECT record_id FROM {TOUCHED})")
    warehouse.sql(
        "INSERT INTO identity.linked_for SELECT s.purpose, a.record_id, a.person_id,"
        " dense_rank() OVER (PARTITION BY s.purpose, a.person_id ORDER BY s.part)"
        f" FROM {STAGED} s JOIN identity.staged_record r USING (r) JOIN identity.staged_assignment a USING (record_id)"
    )
