"""Columns that come, go and change: each stream's own rule decides, and nothing is lost without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consentry.connectors.drift import Drift
from consentry.connectors.landing import Landed, StreamSpec, land
from consentry.errors import SourceFailed
from consentry.testing.memory_source import MemorySource, MemorySourceConfig
from consentry.warehouse import DuckDBWarehouse

OLD = [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]
NEW = [{"id": "3", "name": "c", "shoe": None}, {"id": "4", "name": "d", "shoe": "44"}]
NARROW = [{"id": "5"}]


def _land(folder: Path, records: list[dict[str, Any]], drift: Drift, **others: list[dict[str, Any]]) -> list[Landed]:
    streams = {name: {"records": rows} for name, rows in {"people": records, **others}.items()}
    source = MemorySource(MemorySourceConfig.model_validate({"streams": streams}))
    warehouse = DuckDBWarehouse(folder / "w.duckdb")
    try:
        specs = [StreamSpec(name, drift=drift) for name in streams]
        return land(source, name="crm", streams=specs, warehouse=warehouse, folder=folder / "dlt", run_id="r")
    finally:
        warehouse.close()


def _table(folder: Path, stream: str = "people") -> tuple[set[str], list[dict[str, Any]]]:
    warehouse = DuckDBWarehouse(folder / "w.duckdb")
    rows = warehouse.sql(f"SELECT * EXCLUDE (_rid, _run_id, _extracted_at) FROM raw.crm__{stream} ORDER BY _rid")
    warehouse.close()
    return set(rows.column_names), rows.to_pylist()


@pytest.mark.parametrize(
    ("drift", "columns", "ids", "left_out"),
    [
        ("evolve", {"id", "name", "shoe"}, ["1", "2", "3", "4"], 0),
        ("discard_value", {"id", "name"}, ["1", "2", "3", "4"], 0),
        ("discard_row", {"id", "name"}, ["1", "2", "3"], 1),
        ("quarantine", {"id", "name", "_malformed"}, ["1", "2", "3", None], 1),
    ],
)
def test_a_new_column_is_met_as_the_stream_says(
    drift: Drift, columns: set[str], ids: list[str | None], left_out: int, tmp_path: Path
) -> None:
    _land(tmp_path, OLD, drift)
    (landed,) = _land(tmp_path, NEW, drift)
    found, rows = _table(tmp_path)
    assert found == columns and [row["id"] for row in rows] == ids
    assert landed.left_out == left_out
    if drift == "quarantine":
        assert json.loads(rows[-1]["_malformed"]) == NEW[1]


@pytest.mark.parametrize(("records", "told"), [(NEW, "new: shoe"), (NARROW, "gone: name")])
def test_a_frozen_stream_stops_with_the_columns_named(records: list[dict[str, Any]], told: str, tmp_path: Path) -> None:
    _land(tmp_path, OLD, "freeze")
    with pytest.raises(SourceFailed, match=told) as caught:
        _land(tmp_path, records, "freeze")
    assert caught.value.code == "schema_drift"
    assert len(_table(tmp_path)[1]) == 2


def test_a_column_that_narrows_stops_its_stream_and_no_other(tmp_path: Path) -> None:
    _land(tmp_path, [{"id": "1", "n": 1}], "evolve", others=[{"id": "1"}])
    with pytest.raises(SourceFailed, match="was BIGINT and is now VARCHAR"):
        _land(tmp_path, [{"id": "2", "n": "many"}], "evolve", others=[{"id": "2"}])
    assert [row["id"] for row in _table(tmp_path, "others")[1]] == ["1", "2"]
    assert [row["id"] for row in _table(tmp_path)[1]] == ["1"]
