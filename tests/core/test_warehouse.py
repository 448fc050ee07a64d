"""What every engine has to do for the parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from consentry.errors import SkipRecord, StopRun
from consentry.warehouse import DuckDBWarehouse, Warehouse

PEOPLE = pa.table({"name": ["a", "b", "c"], "age": [1, 2, None]})


@pytest.fixture
def warehouse() -> Iterator[Warehouse]:
    made = DuckDBWarehouse()
    yield made
    made.close()


def fill(warehouse: Warehouse, table: str = "clean.people") -> int:
    return warehouse.write(table, PEOPLE.to_batches(), schema=PEOPLE.schema)


def test_what_is_written_is_read_again(warehouse: Warehouse) -> None:
    assert fill(warehouse) == 3
    assert pa.Table.from_batches(warehouse.read("clean.people")).sort_by("name").equals(PEOPLE)


def test_append_adds_and_replace_replaces(warehouse: Warehouse) -> None:
    fill(warehouse)
    warehouse.write("clean.people", PEOPLE.to_batches(), schema=PEOPLE.schema, mode="append")
    assert warehouse.count("clean.people") == 6
    assert fill(warehouse) == 3
    assert warehouse.count("clean.people") == 3


def test_values_are_bound(warehouse: Warehouse) -> None:
    fill(warehouse)
    assert warehouse.sql("SELECT age FROM clean.people WHERE name = $name", name="b")["age"].to_pylist() == [2]


def test_a_failed_transaction_leaves_nothing_behind(warehouse: Warehouse) -> None:
    fill(warehouse)
    with pytest.raises(StopRun), warehouse.transaction():
        warehouse.sql("DELETE FROM clean.people")
        warehouse.sql("SELECT no_such_column FROM clean.people")
    assert warehouse.count("clean.people") == 3


def test_staged_tables_are_published_together(warehouse: Warehouse) -> None:
    fill(warehouse, "clean.people")
    warehouse.sql("CREATE TABLE clean.staged AS SELECT * FROM clean.people LIMIT 1")
    with pytest.raises(StopRun):
        warehouse.publish({"clean.people": "clean.staged", "clean.other": "clean.missing"})
    assert warehouse.count("clean.people") == 3
    warehouse.publish({"clean.people": "clean.staged"})
    assert warehouse.count("clean.people") == 1
    assert not warehouse.has("clean.staged")


def test_a_function_over_batches_may_change_the_number_of_rows(warehouse: Warehouse) -> None:
    fill(warehouse)
    written = warehouse.map_batches(
        "SELECT * FROM clean.people ORDER BY name", lambda b: b.slice(0, 2), into="clean.two", schema=PEOPLE.schema
    )
    assert (written, warehouse.count("clean.two")) == (2, 2)


def test_the_error_of_a_batch_function_comes_through_as_it_is(warehouse: Warehouse) -> None:
    fill(warehouse)

    def refuse(batch: pa.RecordBatch) -> pa.RecordBatch:
        raise SkipRecord("no", code="mine")

    with pytest.raises(SkipRecord, match="no"):
        warehouse.map_batches("SELECT * FROM clean.people", refuse, into="clean.x", schema=PEOPLE.schema)
    assert not warehouse.has("clean.x")


def test_an_engine_error_never_quotes_a_value(warehouse: Warehouse) -> None:
    with pytest.raises(StopRun) as caught:
        warehouse.sql("SELECT CAST('jane@example.com' AS INTEGER)")
    assert "jane" not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_a_stream_is_read_in_batches(warehouse: Warehouse) -> None:
    sizes = [b.num_rows for b in warehouse.stream("SELECT range AS n FROM range(5000)", batch_rows=2048)]
    assert sum(sizes) == 5000
    assert max(sizes) <= 2048


def test_columns_and_tables_are_listed_in_order(warehouse: Warehouse) -> None:
    fill(warehouse)
    assert list(warehouse.columns("clean.people")) == ["name", "age"]
    assert warehouse.tables("clean") == ["clean.people"]
    assert warehouse.columns("clean.none") == {}


def test_a_piece_of_work_leaves_no_memory_in_use_and_the_settings_as_they_were(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", threads=3, memory_limit="1GiB")
    with warehouse.sparing():
        assert _setting(warehouse, "threads") == 1
        warehouse.sql("CREATE TABLE clean.wide AS SELECT range AS n, md5(range::TEXT) AS text FROM range(200000)")
    used = warehouse.sql("SELECT sum(memory_usage_bytes) AS n FROM duckdb_memory()")["n"][0].as_py()
    assert used < 2_000_000
    with pytest.raises(SkipRecord), warehouse.sparing():
        raise SkipRecord("no", code="mine")
    assert (_setting(warehouse, "threads"), _setting(warehouse, "memory_limit")) == (3, "1.0 GiB")
    assert warehouse.sql("SELECT count(DISTINCT text) AS n FROM clean.wide")["n"].to_pylist() == [200000]
    warehouse.close()


def test_a_piece_of_work_may_end_while_somebody_else_writes(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
    fill(warehouse)
    with warehouse.connection.cursor() as other:
        other.execute("BEGIN")
        other.execute("INSERT INTO clean.people VALUES ('d', 4)")
        with warehouse.sparing():
            fill(warehouse, "clean.more")
        other.execute("COMMIT")
    assert (warehouse.count("clean.people"), warehouse.count("clean.more")) == (4, 3)
    warehouse.close()


def _setting(warehouse: Warehouse, name: str) -> object:
    return warehouse.sql(f"SELECT current_setting('{name}') AS value")["value"][0].as_py()
