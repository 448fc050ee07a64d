"""Streams of aggregates: checked and kept, and never part of anybody's profile."""

from __future__ import annotations

import csv
from typing import Any

import pytest
import yaml

from consentry.errors import ConfigError
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import TinyJob


def _with_figures(tiny: TinyJob, **more: Any) -> None:
    with (tiny.folder / "figures.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("date", "channel", "sessions"), ("2026-01-01", "Email", 7), ("x", "Direct", 2)])
    columns = {"date": {"dtype": "Date"}, "channel": {"dtype": "String"}, "sessions": {"dtype": "Int64"}}
    contract = {"name": "figures", "version": 1, "columns": columns}
    (tiny.folder / "contracts" / "figures.yaml").write_text(yaml.safe_dump(contract))
    stream = {
        "entity": "aggregate",
        "contract": "contracts/figures.yaml",
        "primary_key": ["date", "channel"],
        "options": {"path": "figures.csv"},
        **more,
    }
    tiny.spec["sources"]["web"] = {"type": "files", "connection": {"folder": "."}, "streams": {"figures": stream}}
    tiny.write()


def test_aggregates_are_checked_and_kept_and_touch_no_profile(tiny: TinyJob) -> None:
    _with_figures(tiny)
    summary = run(make_plan(load_job(tiny.path)), Silent())
    assert (summary["persons"], summary["rows"]["quarantined"]) == (40, 1)
    warehouse = DuckDBWarehouse(tiny.folder / "state" / "warehouse.duckdb")
    try:
        assert warehouse.sql("SELECT sessions FROM clean.web__figures")["sessions"].to_pylist() == [7]
    finally:
        warehouse.close()


def test_aggregates_have_no_identifiers(tiny: TinyJob) -> None:
    _with_figures(tiny, identifiers={"customer_number": "channel"})
    with pytest.raises(ConfigError, match="about nobody"):
        load_job(tiny.path)
