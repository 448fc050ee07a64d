"""Connected components are the same by every path: in memory, by an engine on disk, in another dialect of SQL."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.identity import components as module
from consentry.identity.codes import Ints
from consentry.identity.components import components, linked_parts, lowest_member, parts_by_sql, spilled_components

Edges = list[tuple[int, int]]


def on_sqlite(nodes: int, edges: Edges) -> Ints:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.execute("CREATE TABLE edge (a INTEGER, b INTEGER)")
    connection.executemany("INSERT INTO edge VALUES (?, ?)", edges)

    def run(query: str) -> Sequence[Mapping[str, int]]:
        [text] = sqlglot.transpile(query, read="duckdb", write="sqlite")
        return [dict(row) for row in connection.execute(text).fetchall()]

    parts_by_sql(run, "edge", into="part")
    labels = np.arange(nodes, dtype=np.int64)
    for row in connection.execute("SELECT node, label FROM part"):
        labels[row["node"]] = row["label"]
    left = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert {row["name"] for row in left} == {"edge", "part"}
    return labels


def codes(edges: Edges) -> tuple[Ints, Ints]:
    both = np.array(edges, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, Edges]:
    nodes = draw(st.integers(1, 30))
    node = st.integers(0, nodes - 1)
    return nodes, draw(st.lists(st.tuples(node, node), max_size=40))


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_portable_sql_finds_what_scipy_finds(graph: tuple[int, Edges]) -> None:
    nodes, edges = graph
    assert on_sqlite(nodes, edges).tolist() == lowest_member(linked_parts(nodes, *codes(edges))).tolist()


@settings(max_examples=5, deadline=None)
@given(graphs())
def test_the_engine_on_disk_finds_what_scipy_finds(graph: tuple[int, Edges]) -> None:
    nodes, edges = graph
    found = spilled_components(nodes, *codes(edges))
    assert found.tolist() == lowest_member(linked_parts(nodes, *codes(edges))).tolist()


def test_a_long_chain_takes_few_rounds() -> None:
    edges = [(n, n + 1) for n in range(2_000)]
    assert set(on_sqlite(2_001, edges).tolist()) == {0}


def test_beyond_a_size_the_engine_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    r, v = np.array([0, 1, 1, 3]), np.array([0, 0, 1, 1])
    in_memory = components(5, 2, r, v)
    monkeypatch.setattr(module, "IN_MEMORY", 1)
    assert components(5, 2, r, v).tolist() == in_memory.tolist() == [0, 0, 2, 0, 4]


SPARK = os.environ.get("CONSENTRY_SPARK_PYTHON")


@pytest.mark.slow
@pytest.mark.skipif(SPARK is None, reason="CONSENTRY_SPARK_PYTHON names no Python that has pyspark; see make spark")
def test_spark_finds_what_scipy_finds(tmp_path: Path) -> None:
    edges = [(n, n + 1) for n in range(12)] + [(20, 21), (22, 21), (23, 23), (24, 20), (30, 31), (31, 30)]
    command = [str(SPARK), str(Path(__file__).with_name("spark_shell.py")), str(tmp_path / "tables")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdin and shell.stdout
        said, told = shell.stdin, shell.stdout

        def run(query: str) -> Sequence[Mapping[str, int]]:
            [text] = sqlglot.transpile(query, read="duckdb", write="spark")
            print(json.dumps(text), file=said, flush=True)
            return list(json.loads(told.readline()))

        listed = ", ".join(f"({a}, {b})" for a, b in edges)
        run(f"CREATE TABLE edge AS SELECT * FROM (VALUES {listed}) AS t(a, b)")
        parts_by_sql(run, "edge", into="part")
        labels = np.arange(40, dtype=np.int64)
        for row in run("SELECT node, label FROM part"):
            labels[row["node"]] = row["label"]
        said.close()
    assert labels.tolist() == lowest_member(linked_parts(40, *codes(edges))).tolist()


@pytest.mark.parametrize("dialect", ["spark", "postgres", "sqlite"])
def test_every_statement_is_sql_elsewhere(dialect: str) -> None:
    said: list[str] = []

    def run(query: str) -> Sequence[Mapping[str, int]]:
        said.append(query)
        return [{"n": 0}]

    parts_by_sql(run, "edge", into="part")
    assert all(sqlglot.transpile(query, read="duckdb", write=dialect) for query in said)


def test_labels_are_renamed_to_their_first_element() -> None:
    assert lowest_member(np.array([7, 3, 7, 0, 3])).tolist() == [0, 1, 0, 3, 1]
    assert lowest_member(np.array([], dtype=np.int64)).tolist() == []
