"""Connected components over record-identifier edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import scipy  # its parts are loaded when they are first used, which most commands never do

from consentry.identity.codes import Ints, ints
from consentry.warehouse import DuckDBWarehouse

# scipy holds about 0.12 GB per million edges; above this many the engine does it, which spills to disk.
IN_MEMORY = 40_000_000


def components(records: int, values: int, r: Ints, v: Ints) -> Ints:
    """Return for every record the lowest record of its component.

    records, values: how many there are of each. r, v: the edges, as codes below those. The label is the lowest
    member, so that the answer does not depend on the order of the edges, nor on the method.
    """
    nodes = records + values
    if not nodes:
        return np.empty(0, dtype=np.int64)
    if len(r) > IN_MEMORY:
        return spilled_components(nodes, r, v + records)[:records]
    return lowest_member(linked_parts(nodes, r, v + records)[:records])


def linked_parts(nodes: int, one: Ints, other: Ints) -> Ints:
    """Return for every node a number of its connected part, given edges between nodes."""
    graph = scipy.sparse.coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(nodes, nodes))
    labels: Ints = scipy.sparse.csgraph.connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def spilled_components(nodes: int, one: Ints, other: Ints) -> Ints:
    """Return for every node the lowest node of its part, by an engine that works on disk when memory is short."""
    with TemporaryDirectory() as folder:
        warehouse = DuckDBWarehouse(Path(folder) / "parts.duckdb")
        table = pa.table({"a": pa.array(one, pa.int64()), "b": pa.array(other, pa.int64())})
        warehouse.write("ops.edge", table.to_batches(max_chunksize=1_000_000), schema=table.schema)
        parts_by_sql(lambda query: warehouse.sql(query).to_pylist(), "ops.edge", into="ops.part")
        labels = np.arange(nodes, dtype=np.int64)
        found = warehouse.sql("SELECT node, label FROM ops.part")
        labels[ints(found["node"])] = ints(found["label"])
        warehouse.close()
    return labels


def parts_by_sql(run: Callable[[str], Sequence[Mapping[str, int]]], edges: str, *, into: str) -> None:
    """Write for every node of an edge table (a, b) the lowest node of its part to a table (node, label).

    run: sends one statement to an engine and returns its rows. The SQL is such that sqlglot turns it into that of
    Spark, PostgreSQL and SQLite.
    Every node points to its lowest neighbour, pointers are followed to their end, and what points to one node is one
    node: half of the nodes are gone after each round, long chains included.
    """
    edge, point, label = (_Turns(run, f"{into}_{name}") for name in ("edge", "point", "label"))
    edge.make(f"SELECT a, b FROM {edges} WHERE a <> b UNION SELECT b AS a, a AS b FROM {edges} WHERE a <> b")
    label.make(f"SELECT DISTINCT a AS node, a AS label FROM {edge.now}")
    while edge.count():
        point.make(f"SELECT a AS node, LEAST(a, MIN(b)) AS label FROM {edge.now} GROUP BY a")
        _follow(point)
        label.make(
            f"SELECT l.node AS node, COALESCE(p.label, l.label) AS label FROM {label.now} AS l"
            f" LEFT JOIN {point.now} AS p ON p.node = l.label"
        )
        edge.make(
            f"SELECT DISTINCT x.label AS a, y.label AS b FROM {edge.now} AS e JOIN {point.now} AS x ON x.node = e.a"
            f" JOIN {point.now} AS y ON y.node = e.b WHERE x.label <> y.label"
        )
    run(f"DROP TABLE IF EXISTS {into}")
    run(f"CREATE TABLE {into} AS SELECT node, label FROM {label.now}")
    for turns in (edge, point, label):
        turns.end()


class _Turns:
    """A table that is made anew out of what it was: each turn has a name of its own."""

    def __init__(self, run: Callable[[str], Sequence[Mapping[str, int]]], name: str) -> None:
        self._run, self._name, self._turn = run, name, 0
        self.now = ""

    def make(self, query: str) -> None:
        """Make the table of the next turn and drop that of the last."""
        before, self._turn = self.now, self._turn + 1
        self.now = f"{self._name}_{self._turn % 2}"
        self._run(f"DROP TABLE IF EXISTS {self.now}")
        self._run(f"CREATE TABLE {self.now} AS {query}")
        if before:
            self._run(f"DROP TABLE {before}")

    def count(self, where: str = "") -> int:
        """Count the rows of this turn."""
        return int(self._run(f"SELECT COUNT(*) AS n FROM {self.now}{where}")[0]["n"])

    def end(self) -> None:
        """Drop what is left."""
        if self.now:
            self._run(f"DROP TABLE {self.now}")


def _follow(point: _Turns) -> None:
    """Let every node point to where its pointers end."""
    hop = " AS p JOIN {0} AS q ON q.node = p.label"
    while point.count(hop.format(point.now) + " WHERE q.label <> p.label"):
        point.make(f"SELECT p.node AS node, q.label AS label FROM {point.now}{hop.format(point.now)}")


def lowest_member(labels: Ints) -> Ints:
    """Rename every label, a number not below 0, to the position of the first element that has it."""
    first = np.empty(labels.max(initial=-1) + 1, dtype=np.int64)
    # Of several writes to one place the last stays: written backwards, that is the first element.
    first[labels[::-1]] = np.arange(len(labels) - 1, -1, -1, dtype=np.int64)
    return first[labels]
