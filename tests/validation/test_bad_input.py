"""What a careless source or author brings: a sentence, the right count, no crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from consentry.errors import StopRun
from consentry.validation.contract import Contract
from consentry.validation.run import Checked, validate
from consentry.warehouse import DuckDBWarehouse

Make = Callable[[str], Contract]
Land = Callable[..., None]
FaultsOf = Callable[[str], list[str]]
PEOPLE = """
columns:
  id: {dtype: String}
  age: {dtype: Int64, nullable: true, checks: {in_range: {min_value: 0, max_value: 120}}}
  share: {dtype: Float64, nullable: true, checks: {ge: 0}}
"""


def check(warehouse: DuckDBWarehouse, contract: Contract) -> Checked:
    return validate(warehouse, contract, stream="crm__people", primary_key=["id"], mode="append", run_id="run")


def payloads(warehouse: DuckDBWarehouse) -> list[dict[str, object]]:
    found = warehouse.sql("SELECT payload FROM quarantine.crm__people ORDER BY _rid")["payload"].to_pylist()
    return [json.loads(payload) for payload in found]


def test_a_column_that_the_source_lacks(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    land({"identity": ["a"], "id_": ["a"], "age": ["1"], "share": ["1"]})
    with pytest.raises(StopRun, match="It has no column 'id'; did you mean 'id_'") as refusal:
        check(warehouse, contract(PEOPLE))
    assert refusal.value.code == "schema_changed" and not warehouse.has("clean.crm__people")


def test_a_stream_without_a_row_yet_lacks_no_column(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    warehouse.sql("CREATE TABLE raw.crm__people (_malformed TEXT, _rid BIGINT)")
    assert check(warehouse, contract(PEOPLE)) == Checked(0, 0, 0)
    warehouse.sql("ALTER TABLE raw.crm__people ADD COLUMN id TEXT")
    warehouse.sql("INSERT INTO raw.crm__people (id, _rid) VALUES ('a', 1)")
    assert check(warehouse, contract(PEOPLE)).clean == 1


def test_a_rule_about_a_column_that_the_contract_lacks(faults_of: FaultsOf) -> None:
    (fault,) = faults_of(PEOPLE + 'rules:\n  - {compare: [age, "<", shares]}\n')
    assert "The contract has no column 'shares'; did you mean 'share'?" in fault


@pytest.mark.parametrize(
    "rules",
    [
        '{compare: [age, "<", share]}, {compare: [share, "<=", age]}',
        '{compare: [age, "==", share]}, {compare: [share, "!=", age]}',
    ],
)
def test_a_contract_that_contradicts_itself(faults_of: FaultsOf, rules: str) -> None:
    (fault,) = faults_of(f"{PEOPLE}rules: [{rules}]\n")
    assert "No row can satisfy all that is asked of age and share." in fault
    (fault,) = faults_of("columns: {a: {dtype: Int64, checks: {gt: 5, lt: 3}}}\n")
    assert "No value can be above 5 and below 3 at once." in fault


def test_an_empty_load(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    land(pl.DataFrame(schema=dict.fromkeys(["id", "age", "share"], pl.String)))
    assert check(warehouse, contract(PEOPLE)) == Checked(0, 0, 0)
    assert warehouse.count("clean.crm__people") == 0


def test_rows_that_are_all_bad(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    land({"id": [str(n) for n in range(900)], "age": ["old"] * 900, "share": ["-1"] * 900})
    found = check(warehouse, contract(PEOPLE))
    assert found == Checked(900, 0, 900, {"not_a_number": 900, "out_of_range": 900})


def test_mixed_types_in_one_column(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    mixed = ["12", "12.0", "12,5", "twelve", "true", "2024-01-01", "", "0x10"]
    land({"id": list("abcdefgh"), "age": mixed, "share": ["1"] * 8})
    found = check(warehouse, contract(PEOPLE))
    assert found == Checked(8, 3, 5, {"not_a_number": 5})
    assert [row["age"] for row in payloads(warehouse)] == ["12,5", "twelve", "true", "2024-01-01", "0x10"]


def test_nan_and_infinity(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    nan, inf = float("nan"), float("inf")
    land({"id": list("abcd"), "age": [nan, 1.0, inf, 3.0], "share": [nan, inf, -inf, 0.5]})
    found = check(warehouse, contract(PEOPLE))
    assert found == Checked(4, 2, 2, {"not_a_number": 2})
    assert [row["share"] for row in payloads(warehouse)] == ["inf", "-inf"]
    assert warehouse.sql("SELECT count(share) AS n FROM clean.crm__people")["n"].to_pylist() == [1]


def test_bytes_that_are_no_utf_8(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    land({"id": [b"a", b"\xff\xfe", b"c"], "age": ["1"] * 3, "share": ["1"] * 3})
    found = check(warehouse, contract(PEOPLE))
    assert found == Checked(3, 2, 1, {"not_text": 1})
    assert payloads(warehouse)[0]["id"] == {"base64": "//4="}


def test_the_years_0_and_9999(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    days = ["0000-12-31", "9999-12-31", "0001-01-01", "10000-01-01", "2023-02-29"]
    land({"id": list("abcde"), "born": days, "at": [f"{day}T12:00:00Z" for day in days]})
    text = "columns:\n  id: {dtype: String}\n  born: {dtype: Date}\n  at: {dtype: Datetime}\n"
    found = check(warehouse, contract(text))
    assert found == Checked(5, 2, 3, {"not_a_date": 3, "not_a_time": 3})
    born = warehouse.sql("SELECT born FROM clean.crm__people ORDER BY born")["born"].to_pylist()
    assert born == [date(1, 1, 1), date(9999, 12, 31)]


def test_a_thousand_columns_and_a_reason_for_each(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    names = [f"c{n}" for n in range(1000)]
    columns = "".join(f"  {name}: {{dtype: Int64, nullable: true, checks: {{ge: 0}}}}\n" for name in names)
    land({"id": ["a", "b"]} | {name: ["1", "-1"] for name in names})
    found = check(warehouse, contract("columns:\n  id: {dtype: String}\n" + columns))
    assert found == Checked(2, 1, 1, {"out_of_range": 1})
    reasons = warehouse.sql("SELECT reasons FROM quarantine.crm__people")["reasons"][0].as_py()
    assert len(json.loads(reasons)) == 1000
