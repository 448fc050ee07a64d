"""Watching a stream: what is out of the ordinary is told, what is ordinary is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.errors import StopRun
from consentry.validation.consistency import compare_sources, watch_agreement
from consentry.validation.contract import Contract
from consentry.validation.drift import is_strange, ks_distance, psi_numbers, psi_words
from consentry.validation.profiling import POINTS, ColumnProfile, Point
from consentry.validation.run import validate
from consentry.validation.watch import ordinary
from consentry.warehouse import DuckDBWarehouse

Make = Callable[[str], Contract]
PEOPLE = """
columns:
  id: {dtype: Int64}
  age: {dtype: Int64, nullable: true}
  tier: {dtype: String, nullable: true, checks: {str_length: {max_value: 9}}}
  email: {dtype: String, nullable: true, holds: email}
watch: {%s}
"""


def rows(number: int, seed: int, *, shift: float = 0.0, nulls: float = 0.1, tiers: str = "abc") -> pl.DataFrame:
    chance = np.random.default_rng(seed)
    gaps = chance.random(number) < nulls
    return pl.DataFrame(
        {
            "id": np.arange(number) + seed * 1_000_000,
            "age": chance.normal(40 + shift, 10, number).round().astype(int),
            "tier": chance.choice(list(tiers), number),
            "email": [f"canary{n}@example.com" for n in chance.integers(0, 5, number)],
        }
    ).with_columns(pl.when(~pl.Series(gaps)).then(pl.col("age")).alias("age"))


def load(warehouse: DuckDBWarehouse, contract: Contract, data: pl.DataFrame, run: str, **more: Any) -> None:
    top = warehouse.sql("SELECT coalesce(max(_rid), 0) AS n FROM raw.crm__people")["n"][0].as_py() if run != "0" else 0
    table = data.with_columns(_rid=pl.int_range(top + 1, top + 1 + data.height, dtype=pl.Int64)).to_arrow()
    warehouse.write("raw.crm__people", table.to_batches(), schema=table.schema, mode="append")
    validate(warehouse, contract, stream="crm__people", primary_key=["id"], mode="append", run_id=run, **more)


def kinds(warehouse: DuckDBWarehouse, run: str) -> set[tuple[str, str]]:
    if not warehouse.has("ops.finding"):
        return set()
    found = warehouse.sql("SELECT column_name, kind FROM ops.finding WHERE run_id = $run", run=run).to_pylist()
    return {(row["column_name"], row["kind"]) for row in found}


def steady(warehouse: DuckDBWarehouse, contract: Contract, loads: int = 14) -> None:
    for n in range(loads):
        load(warehouse, contract, rows(1000 + n % 5, n), str(n))


def test_steady_loads_give_no_alarm(warehouse: DuckDBWarehouse, contract: Make) -> None:
    steady(warehouse, contract(PEOPLE % ""), 17)
    assert warehouse.count("ops.finding") == 0


def test_each_thing_that_goes_wrong_is_told(warehouse: DuckDBWarehouse, contract: Make) -> None:
    made = contract(PEOPLE % "")
    steady(warehouse, made)
    load(warehouse, made, rows(300, 50), "few")
    assert ("", "volume") in kinds(warehouse, "few")
    load(warehouse, made, rows(1000, 51, nulls=0.5), "gaps")
    assert kinds(warehouse, "gaps") == {("age", "null_rate")}
    load(warehouse, made, rows(1000, 52, shift=8), "moved")
    assert kinds(warehouse, "moved") == {("age", "drift")}
    load(warehouse, made, rows(1000, 53, tiers="abz"), "words")
    assert {("tier", "new_category"), ("tier", "lost_category")} <= kinds(warehouse, "words")
    far = rows(1000, 54).with_columns(pl.when(pl.col("id") % 20 == 0).then(900).otherwise(pl.col("age")).alias("age"))
    load(warehouse, made, far, "far")
    assert ("age", "outliers") in kinds(warehouse, "far")


def test_a_failing_alarm_publishes_nothing_and_goes_on_until_it_is_accepted(
    warehouse: DuckDBWarehouse, contract: Make
) -> None:
    made = contract(PEOPLE % "volume: fail")
    steady(warehouse, made)
    before = warehouse.count("clean.crm__people")
    with pytest.raises(StopRun, match=r"--allow watch:crm\.people") as alarm:
        load(warehouse, made, rows(100, 60), "few")
    assert alarm.value.code == "watch_failed" and warehouse.count("clean.crm__people") == before
    with pytest.raises(StopRun):
        validate(warehouse, made, stream="crm__people", primary_key=["id"], mode="append", run_id="again")
    done = validate(warehouse, made, stream="crm__people", primary_key=["id"], mode="append", run_id="yes", accept=True)
    assert done.clean == 100 and ("", "volume") in kinds(warehouse, "few")


def test_a_stream_that_stood_still_is_told(warehouse: DuckDBWarehouse, contract: Make) -> None:
    text = "columns: {id: {dtype: Int64}, seen: {dtype: Datetime}}\n"
    text += "watch: {freshness: {column: seen, max_hours: 24}}\n"
    now = datetime.now(UTC)
    for run, age in (("0", 2), ("1", 48)):
        moment = (now - timedelta(hours=age)).isoformat()
        load(warehouse, contract(text), pl.DataFrame({"id": [int(run)], "seen": [moment]}), run)
    assert kinds(warehouse, "0") == set() and kinds(warehouse, "1") == {("seen", "freshness")}
    score = "SELECT score FROM ops.score WHERE run_id = '1' AND dimension = 'freshness'"
    assert 45 < warehouse.sql(score)["score"][0].as_py() < 55


def test_no_word_of_a_column_that_points_at_a_person_is_kept(warehouse: DuckDBWarehouse, contract: Make) -> None:
    steady(warehouse, contract(PEOPLE % ""), 3)
    kept = str(warehouse.sql("SELECT * FROM ops.profile").to_pylist())
    assert "canary" not in kept and '"a"' in kept


def point(day: int, value: int, *, flagged: bool = False) -> Point:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
    return Point(moment, ColumnProfile(value, 0, 0), flagged)


def test_a_weekday_is_held_against_its_own_kind_and_alarms_against_nothing() -> None:
    points = [point(day, 10 if (day + 3) % 7 == 5 else 100, flagged=day == 2) for day in range(70)]
    saturday = datetime(2026, 1, 3, tzinfo=UTC)
    assert set(ordinary(points, saturday, lambda it: it.rows)) == {10}
    assert ordinary(points[:10], saturday, lambda it: it.rows) == []
    moved = [point(day, 500, flagged=True) for day in range(70, 77)]
    assert ordinary([*points, *moved], saturday, lambda it: it.rows) == [500] * 7


@settings(max_examples=60, deadline=None)
@given(
    before=st.lists(st.floats(1, 1e6), min_size=14, max_size=30),
    value=st.floats(0, 1e7),
    scale=st.sampled_from([0.5, 2.0, 1024.0]),
)
def test_what_is_strange_does_not_hang_on_the_unit(before: list[float], value: float, scale: float) -> None:
    plain = is_strange(value, before, floor=0.2)[0]
    assert plain == is_strange(value * scale, [it * scale for it in before], floor=0.2)[0]
    assert not is_strange(float(np.median(before)), before, floor=0.2)[0]


def test_a_series_that_never_moved_does_not_cry_at_its_first_small_step() -> None:
    assert not is_strange(110, [100] * 20, floor=0.2)[0]
    assert is_strange(130, [100] * 20, floor=0.2)[0]


def test_binned_distances_are_near_the_exact_ones() -> None:
    chance = np.random.default_rng(3)
    first, second = chance.normal(0, 1, 50_000), chance.normal(0.2, 1, 50_000)
    ours = ks_distance(list(np.quantile(second, POINTS)), [list(np.quantile(first, POINTS))])
    both = np.sort(np.concatenate([first, second]))
    exact = max(
        abs(np.searchsorted(np.sort(first), both, "right") - np.searchsorted(np.sort(second), both, "right")) / 50_000
    )
    assert abs(ours - exact) < 0.015
    same = [list(np.quantile(first, POINTS))]
    assert psi_numbers(same[0], same) < 0.01 and psi_words({"a": 0.5, "b": 0.5}, [{"a": 0.5, "b": 0.5}]) == 0
    assert psi_words({"a": 0.9, "b": 0.1}, [{"a": 0.5, "b": 0.5}]) > 0.25


def test_scores_fall_with_what_is_wrong(warehouse: DuckDBWarehouse, contract: Make) -> None:
    made = contract(PEOPLE % "")
    load(warehouse, made, rows(100, 1, nulls=0.0), "0")
    load(warehouse, made, rows(100, 2, nulls=0.9).with_columns(pl.lit("too long by far").alias("tier")), "1")
    found = {
        (row["run_id"], row["dimension"]): row["score"] for row in warehouse.sql("SELECT * FROM ops.score").to_pylist()
    }
    assert found["0", "overall"] == 100
    assert found["1", "validity"] < 100 and found["1", "overall"] < 95


def agree(warehouse: DuckDBWarehouse, contract: Contract, disagree: int, run: str) -> list[tuple[str, str, str]]:
    warehouse.sql("CREATE OR REPLACE TABLE identity.membership (record_id TEXT, person_id TEXT, valid_to_run TEXT)")
    warehouse.sql("CREATE OR REPLACE TABLE clean.customer (record_id TEXT, source TEXT, trust INT, age BIGINT)")
    for source in ("crm", "shop"):
        value = f"CASE WHEN i < {disagree} AND '{source}' = 'shop' THEN 1 ELSE 30 END"
        numbers = "FROM range(100) AS numbers(i)"
        warehouse.sql(f"INSERT INTO clean.customer SELECT '{source}:' || i, '{source}', 1, {value} {numbers}")
        warehouse.sql(f"INSERT INTO identity.membership SELECT '{source}:' || i, 'p' || i, NULL {numbers}")
    found = compare_sources(warehouse, run_id=run)
    assert found == {"age": (100, disagree)}
    told = watch_agreement(warehouse, contract.watch, found, run_id=run)
    return [(it.column, it.kind, it.severity) for it in told]


def test_sources_that_disagree_more_than_is_allowed_or_than_before_give_an_alarm(
    warehouse: DuckDBWarehouse, contract: Make
) -> None:
    bounded = contract(PEOPLE % "agreement: fail, max_disagree: {age: 0.2}")
    assert agree(warehouse, bounded, 20, "at the bound") == []
    assert agree(warehouse, bounded, 21, "beyond") == [("age", "agreement", "fail")]
    assert kinds(warehouse, "beyond") == {("age", "agreement")}
    warehouse.drop("ops.agreement")
    for run in range(14):
        assert agree(warehouse, contract(PEOPLE % ""), 4 + run % 3, str(run)) == []
    assert agree(warehouse, contract(PEOPLE % ""), 40, "worse") == [("age", "agreement", "warn")]
    assert agree(warehouse, contract(PEOPLE % "agreement: ignore"), 40, "unwatched") == []
