"""Filling gaps by what came before, by the nearest rows and by a model; and what the answers are worth."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from consentry.errors import ConfigError
from consentry.validation.contract import Contract
from consentry.validation.impute import Imputed, impute
from consentry.warehouse import DuckDBWarehouse

Make = Callable[[str], Contract]
FaultsOf = Callable[[str], list[str]]
BASE = """
columns:
  person_id: {dtype: String}
  country: {dtype: String, nullable: true}
  visits: {dtype: Int64, nullable: true}
  at: {dtype: Int64, nullable: true}
  tier: {dtype: String, nullable: true%s}
  spend: {dtype: Float64, nullable: true%s}
"""
MODEL = ", impute: {method: %s, using: [visits, country], by: [country]}"


def filled(warehouse: DuckDBWarehouse, contract: Contract, data: pl.DataFrame) -> tuple[Imputed, pl.DataFrame]:
    table = data.to_arrow()
    warehouse.write("profile.golden", table.to_batches(), schema=table.schema)
    done = impute(warehouse, contract, table_in="profile.golden", table_out="profile.person", run_id="run")
    found = pl.from_arrow(warehouse.sql("SELECT * FROM profile.person ORDER BY person_id"))
    assert isinstance(found, pl.DataFrame)
    return done, found


def people(rows: int, *, told: bool = True) -> pl.DataFrame:
    """People whose spend follows their visits, or nothing at all; every tenth is unknown."""
    chance = np.random.default_rng(7)
    visits = chance.integers(0, 100, rows)
    spend = visits * 3.0 + chance.normal(0, 5, rows) if told else chance.normal(0, 5, rows)
    return pl.DataFrame(
        {
            "person_id": [f"p{n:07}" for n in range(rows)],
            "country": chance.choice(["DE", "FR"], rows),
            "visits": visits,
            "at": np.arange(rows),
            "tier": np.where(visits > 50, "gold", "silver"),
            "spend": spend,
        }
    ).with_columns(pl.when(pl.col("at") % 10 != 0).then(pl.col("spend", "tier")))


@pytest.mark.parametrize("method", ["knn", "model"])
def test_a_model_fills_what_the_row_tells(warehouse: DuckDBWarehouse, contract: Make, method: str) -> None:
    data = people(3_000)
    done, found = filled(warehouse, contract(BASE % ((MODEL % method,) * 2)), data)
    quality = {it.column: it for it in done.quality}
    spend, tier = quality["spend"], quality["tier"]
    assert (spend.used, spend.metric, tier.metric) == (method, "nrmse", "accuracy")
    assert spend.error is not None and spend.error < 0.2 and tier.error is not None and tier.error > 0.95
    assert 0.04 < spend.hidden / 2_700 < 0.1
    told = found.filter(pl.col("spend__imputed").is_not_null())
    assert (told["spend__imputed"] - told["visits"] * 3.0).abs().mean() < 10  # type: ignore[operator]
    assert done.cells == {"tier": 300, "spend": 300}
    assert found.select(data.columns).equals(data)
    methods = warehouse.sql("SELECT DISTINCT method FROM profile.imputation")["method"].to_pylist()
    assert methods == [method]


def test_a_model_that_knows_no_more_than_the_group_is_refused(warehouse: DuckDBWarehouse, contract: Make) -> None:
    done, _ = filled(warehouse, contract(BASE % ("", MODEL % "knn")), people(2_000, told=False))
    assert [(it.method, it.used) for it in done.quality] == [("knn", "median")]
    methods = warehouse.sql("SELECT DISTINCT method FROM profile.imputation")["method"].to_pylist()
    assert methods == ["median by country"]
    row = warehouse.sql("SELECT * FROM profile.imputation_quality").to_pylist()[0]
    assert row["error"] >= row["baseline_error"] and 0 <= row["shift"] < 0.2


def test_a_model_that_cannot_be_measured_is_refused(warehouse: DuckDBWarehouse, contract: Make) -> None:
    done, _ = filled(warehouse, contract(BASE % ("", MODEL % "model")), people(100))
    assert [it.used for it in done.quality] == ["median"]


def test_what_came_before_in_its_group_fills_a_gap(warehouse: DuckDBWarehouse, contract: Make) -> None:
    made = contract(BASE % ("", ", impute: {method: forward, order: at, by: [country]}"))
    data = pl.DataFrame(
        {
            "person_id": ["a", "b", "c", "d", "e"],
            "country": ["DE", "DE", "FR", "DE", None],
            "visits": [1] * 5,
            "at": [2, 1, 3, 3, 9],
            "tier": ["x"] * 5,
            "spend": [None, 5.0, None, None, None],
        }
    )
    _, found = filled(warehouse, made, data)
    assert found["spend__imputed"].to_list() == [5.0, None, None, 5.0, None]


def test_filling_again_tells_the_same(warehouse: DuckDBWarehouse, contract: Make) -> None:
    made, data = contract(BASE % ("", MODEL % "model")), people(1_500)
    first, second = (filled(warehouse, made, data) for _ in range(2))
    assert first[0] == second[0] and first[1].equals(second[1])
    assert warehouse.count("profile.imputation_quality") == 1


def test_a_model_without_its_library_says_what_to_install(
    warehouse: DuckDBWarehouse, contract: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(ConfigError, match=r"Install consentry\[ml\]"):
        filled(warehouse, contract(BASE % ("", MODEL % "model")), people(500))


@pytest.mark.parametrize(
    "settings, told",
    [
        ("{method: forward}", "forward needs the column"),
        ("{method: knn}", "knn needs the columns"),
        ("{method: model, using: [spend]}", "cannot be told from itself"),
        ("{method: model, using: [visit]}", "did you mean 'visits'"),
    ],
)
def test_a_way_that_lacks_what_it_needs_is_a_fault(faults_of: FaultsOf, settings: str, told: str) -> None:
    assert any(told in fault for fault in faults_of(BASE % ("", f", impute: {settings}")))


@pytest.mark.slow
def test_telling_by_neighbours_grows_with_the_rows_and_not_with_their_square(
    warehouse: DuckDBWarehouse, contract: Make
) -> None:
    made = contract(BASE % ("", MODEL % "knn"))
    times: list[float] = []
    for rows in (10_000, 80_000):
        data = people(rows)
        start: Any = time.perf_counter()
        filled(warehouse, made, data)
        times.append(time.perf_counter() - start)
    assert times[1] / times[0] < 16
