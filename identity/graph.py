"""The graph of a run: records and identifiers as codes, in numpy, in an order that no arrival can change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from consentry.identity.codes import Flags, Ints, ints
from consentry.identity.config import IdentityConfig, Rule
from consentry.identity.constraints import Constraints, constraints
from consentry.identity.contradiction import foes
from consentry.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Graph:
    """Edges between records and values.

    r, v: the edges, as codes; records are numbered by record id, values by priority of their type, type, value.
    types: the rules; type_of: for each value the position of its rule. customer: which records are customer
    records (the others are events). signature: for each record what its agreement columns say, -1 for nothing.
    foes: pairs of records that share a weak value and contradict each other, one pair a line.
    purposes: for each record the bits of what it may be linked for. said: what stewards decided.
    seen: for values of a type with a window the day they were last seen, counted from 1970.
    """

    records: int
    types: tuple[Rule, ...]
    type_of: Ints
    r: Ints
    v: Ints
    customer: Flags
    signature: Ints
    foes: Ints
    purposes: Ints
    said: Constraints
    seen: Mapping[int, int]

    @property
    def values(self) -> int:
        """Return how many values there are."""
        return len(self.type_of)

    def limit(self, limits: dict[str, int | None]) -> npt.NDArray[np.float64]:
        """Spread a limit per type over the values, infinite where there is none."""
        by_type = [limits[rule.type] for rule in self.types]
        return np.array([np.inf if limit is None else limit for limit in by_type], dtype=np.float64)[self.type_of]


def read_graph(warehouse: Warehouse, types: tuple[Rule, ...], config: IdentityConfig) -> Graph:
    """Read what was staged as a graph."""
    records = warehouse.sql("SELECT customer, signature, source FROM identity.staged_record ORDER BY r")
    values = warehouse.sql("SELECT t FROM identity.staged_value ORDER BY v")
    linked = (
        "FROM identity.staged_identifier i JOIN identity.staged_record r USING (record_id)"
        " JOIN identity.staged_value v ON v.type = i.type AND v.value = i.value"
        " WHERE i.status = 'ok' AND i.unlinked IS NULL"
    )
    edges = warehouse.sql(f"SELECT r.r, v.v {linked}")
    seen = warehouse.sql(f"SELECT v.v, max(i.seen_day) AS day {linked} AND i.seen_day IS NOT NULL GROUP BY v.v")
    return Graph(
        records=records.num_rows,
        types=types,
        type_of=ints(values["t"]),
        r=ints(edges["r"]),
        v=ints(edges["v"]),
        customer=records["customer"].to_numpy().astype(np.bool_),
        signature=ints(records["signature"]),
        foes=foes(warehouse, config, types),
        purposes=_purposes(records["source"], config),
        said=constraints(warehouse),
        seen=dict(zip(seen["v"].to_pylist(), seen["day"].to_pylist(), strict=True)),
    )


def _purposes(sources: pa.ChunkedArray, config: IdentityConfig) -> Ints:
    """Return for each record the bits of the purposes for which it may be linked."""
    coded = sources.combine_chunks().dictionary_encode()
    bits = np.array([config.linking.bits(source) for source in coded.dictionary.to_pylist()] or [-1], dtype=np.int64)
    found: Ints = bits[coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)]
    return found
