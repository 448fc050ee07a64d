"""What every engine has to do for the parts."""

from __future__ import annotations

from collections.abc import Iterator

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
