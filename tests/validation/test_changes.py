"""How much of a snapshot may be other than the one before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.errors import StopRun
from consentry.validation.contract import Contract
from consentry.validation.run import validate, validate_table
from consentry.warehouse import DuckDBWarehouse
from tests.validation.conftest import Land, written

Make = Callable[[str], Contract]
PEOPLE = """
columns:
  id: {dtype: Int64}
  tier: {dtype: String, nullable: true, parse: [trim]}
  age: {dtype: Int64, nullable: true}
watch: {changes: {max_share: %s}}
"""


def people(*rows: tuple[int, str | None, str | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"id": [str(row[0]) for row in rows], "tier": [row[1] for row in rows], "age": [row[2] for row in rows]},
        schema={"id": pl.String, "tier": pl.String, "age": pl.String},
    )


def check(warehouse: DuckDBWarehouse, contract: Contract, run: str, **more: Any) -> Any:
    settings = {"stream": "crm__people", "primary_key": ["id"], "mode": "snapshot", "run_id": run}
    return validate(warehouse, contract, **settings, **more)


def test_a_snapshot_of_which_too_much_changed_is_not_published_until_it_is_accepted(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    made = contract(PEOPLE % "0.5")
    land(people((1, "a", "30"), (2, "b", "40"), (3, "c", "50"), (4, "d", "60")), replace=True)
    check(warehouse, made, "1")
    # Another spelling, another order, and two of five rows that are other than before.
    land(people((5, "e", "70"), (3, " c", "050"), (2, "b", "40"), (1, "a", "30")), first=10, replace=True)
    assert check(warehouse, made, "2").clean == 4
    land(people((6, "f", "1"), (3, "x", "50"), (2, "b", None), (1, "a", "30")), first=20, replace=True)
    with pytest.raises(
        StopRun, match=r"80\.0% .* \(1 new, 1 gone, 2 changed\); 50\.0% may be\..*watch:crm\.people"
    ) as alarm:
        check(warehouse, made, "3")
    assert alarm.value.code == "watch_failed"
    assert warehouse.sql("SELECT max(_rid) AS n FROM clean.crm__people")["n"][0].as_py() == 13
    check(warehouse, made, "4", accept=True)
    found = warehouse.sql("SELECT run_id, kind, severity, value FROM ops.finding ORDER BY run_id").to_pylist()
    assert [tuple(row.values()) for row in found] == [("3", "changes", "fail", 0.8), ("4", "changes", "warn", 0.8)]


def test_a_changed_contract_is_no_change_of_the_snapshot(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    land(people((1, " a", "30"), (2, " b", "40")), replace=True)
    check(warehouse, contract(PEOPLE.replace(", parse: [trim]", "") % "0.1"), "1")
    assert check(warehouse, contract(PEOPLE % "0.1"), "2").clean == 2


ROWS = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from(["a", "b", None]), st.sampled_from(["1", "2", "bad"])), max_size=8
)


@settings(max_examples=15, deadline=None)
@given(old=ROWS, new=ROWS)
def test_the_share_is_that_of_the_rows_which_clean_would_gain_lose_or_change(
    tmp_path_factory: pytest.TempPathFactory, old: list[Any], new: list[Any]
) -> None:
    made = written(tmp_path_factory.mktemp("c"), PEOPLE % "0.0")
    warehouse = DuckDBWarehouse()
    clean: list[dict[Any, Any]] = []
    for n, rows in enumerate((old, new)):
        table = people(*rows).with_columns(_rid=pl.int_range(1, 1 + len(rows), dtype=pl.Int64) + 100 * n).to_arrow()
        warehouse.write("raw.crm__people", table.to_batches(), schema=table.schema)
        check(warehouse, made, str(n), accept=True)
        found = warehouse.sql("SELECT id, tier, age FROM clean.crm__people").to_pylist()
        clean.append({row["id"]: row for row in found})
    before, after = clean
    every = before.keys() | after.keys()
    other = sum(before.get(key) != after.get(key) for key in every)
    query = "SELECT value FROM ops.finding WHERE kind = 'changes'"
    told = warehouse.sql(query)["value"].to_pylist() if warehouse.has("ops.finding") else []
    assert told == ([other / len(every)] if before and new and other else [])
    warehouse.close()


def test_the_merged_profile_can_be_held_to_it_too(warehouse: DuckDBWarehouse, contract: Make) -> None:
    made = contract(PEOPLE.replace("id:", "person_id:") % "0.5")
    names: dict[str, Any] = {"table": "identity.golden", "key": "person_id", "into": "profile.checked"}
    for run, age in (("1", "30"), ("2", "31")):
        table = people((1, "a", age), (2, "b", age), (3, "c", "30")).rename({"id": "person_id"}).to_arrow()
        warehouse.write("identity.golden", table.to_batches(), schema=table.schema)
        if run == "2":
            with pytest.raises(StopRun, match=r"66\.7% .*watch:golden"):
                validate_table(warehouse, made, run_id=run, **names)
        else:
            assert validate_table(warehouse, made, run_id=run, **names).clean == 3
