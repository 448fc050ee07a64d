"""Imputation: beside what was observed, with its method, and never against a rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.validation.contract import Contract
from consentry.validation.impute import Imputed, impute
from consentry.warehouse import DuckDBWarehouse

from .conftest import written

Make = Callable[[str], Contract]
PROFILE = """
columns:
  person_id: {dtype: String}
  country: {dtype: String, nullable: true}
  age: {dtype: Int64, nullable: true, checks: {le: 100}, impute: {method: median, by: [country]}}
  spend: {dtype: Float64, nullable: true, impute: {method: mean}}
  tier: {dtype: String, nullable: true, impute: {method: mode, by: [country]}}
  wish: {dtype: String, nullable: true, impute: {method: constant, value: "it's none"}}
"""
KINDS: dict[str, Any] = {"person_id": pl.String, "country": pl.String, "age": pl.Int64} | {
    "spend": pl.Float64,
    "tier": pl.String,
    "wish": pl.String,
}


def filled(warehouse: DuckDBWarehouse, contract: Contract, data: pl.DataFrame) -> tuple[Imputed, pl.DataFrame]:
    table = data.to_arrow()
    warehouse.write("profile.golden", table.to_batches(), schema=table.schema)
    done = impute(warehouse, contract, table_in="profile.golden", table_out="profile.person", run_id="run")
    found = pl.from_arrow(warehouse.sql("SELECT * FROM profile.person ORDER BY person_id"))
    assert isinstance(found, pl.DataFrame)
    return done, found


def people(**columns: list[Any]) -> pl.DataFrame:
    rows = len(next(iter(columns.values())))
    ids = [f"p{n:04}" for n in range(rows)]
    return pl.DataFrame(
        {name: columns.get(name, ids if name == "person_id" else [None] * rows) for name in KINDS}, schema=KINDS
    )


def test_the_finest_group_that_knows_an_answer_gives_it(warehouse: DuckDBWarehouse, contract: Make) -> None:
    data = people(country=["DE", "DE", "DE", "FR", None], age=[10, 30, None, None, None])
    done, found = filled(warehouse, contract(PROFILE), data)
    assert found["age__imputed"].to_list() == [None, None, 20, 20, 20]
    rows = warehouse.sql("SELECT person_id, method FROM profile.imputation WHERE column_name = 'age' ORDER BY 1")
    assert rows["method"].to_pylist() == ["median by country", "median", "median"]
    assert done.cells["age"] == 3


def test_mean_mode_and_constant_fill_too(warehouse: DuckDBWarehouse, contract: Make) -> None:
    data = people(spend=[1.0, 4.0, None, float("nan")], tier=["b", "a", None, None])
    _, found = filled(warehouse, contract(PROFILE), data)
    assert found["spend__imputed"].to_list() == [None, None, 2.5, 2.5]
    assert found["tier__imputed"].to_list() == [None, None, "a", "a"]
    assert set(found["wish__imputed"]) == {"it's none"}


def test_a_filled_value_that_breaks_a_rule_is_not_kept(warehouse: DuckDBWarehouse, contract: Make) -> None:
    data = people(age=[200, 200, None], spend=[1.0, None, 1.0])
    done, found = filled(warehouse, contract(PROFILE), data)
    assert found["age__imputed"].to_list() == [None, None, None]
    assert done.refused == {"age": 1}
    assert (done.cells["age"], done.cells["spend"]) == (0, 1)


def test_what_nobody_knows_stays_unknown(warehouse: DuckDBWarehouse, contract: Make) -> None:
    done, found = filled(warehouse, contract(PROFILE), people(age=[None, None]))
    assert found["age__imputed"].to_list() == [None, None] and done.cells["age"] == 0


def test_a_table_without_rows_and_one_without_the_columns_are_no_fault(
    warehouse: DuckDBWarehouse, contract: Make
) -> None:
    assert filled(warehouse, contract(PROFILE), people(age=[]))[0].cells["age"] == 0
    done, found = filled(warehouse, contract(PROFILE), pl.DataFrame({"person_id": ["p"]}))
    assert (done.cells, found.columns) == ({}, ["person_id"])


def test_running_again_gives_the_same(warehouse: DuckDBWarehouse, contract: Make) -> None:
    data = people(age=[1, None, 5], tier=["x", None, None])
    first = filled(warehouse, contract(PROFILE), data)
    count = warehouse.count("profile.imputation")
    second = filled(warehouse, contract(PROFILE), data)
    assert first[0] == second[0] and first[1].equals(second[1])
    assert warehouse.count("profile.imputation") == count


ROW = st.tuples(
    st.sampled_from(["DE", "FR", None]),
    st.one_of(st.none(), st.integers(0, 200)),
    st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(float("nan"))),
    st.sampled_from(["a", "b", None]),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    return written(tmp_path_factory.mktemp("impute"), PROFILE)


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(ROW, max_size=20))
def test_imputation_never_changes_an_observed_value(made: Contract, rows: list[tuple[Any, ...]]) -> None:
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    names = ("country", "age", "spend", "tier")
    data = people(**{name: list(values) for name, values in zip(names, columns, strict=True)})
    warehouse = DuckDBWarehouse()
    done, found = filled(warehouse, made, data)
    assert found.select(*KINDS).equals(data, null_equal=True)
    for name in ("age", "spend", "tier", "wish"):
        missing = data[name].fill_nan(None).is_null() if name == "spend" else data[name].is_null()
        assert not (found[f"{name}__imputed"].is_not_null() & ~missing).any()
        assert done.cells[name] == found[f"{name}__imputed"].count()
    assert (found["age__imputed"].drop_nulls() <= 100).all()
    assert warehouse.count("profile.imputation") == sum(done.cells.values())
    warehouse.close()
