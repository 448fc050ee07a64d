"""Splitting a stream: every row in one half, with all its reasons."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import polars as pl
import pytest

from consentry.errors import StopRun
from consentry.validation.contract import Contract
from consentry.validation.run import Checked, validate, validate_table
from consentry.warehouse import DuckDBWarehouse

Make = Callable[[str], Contract]
Land = Callable[..., None]
PEOPLE = """
columns:
  id: {dtype: String}
  age: {dtype: Int64, nullable: true, checks: {in_range: {min_value: 0, max_value: 120}, ne: 99}}
  email: {dtype: String, nullable: true, parse: [trim, email]}
"""


def check(
    warehouse: DuckDBWarehouse, contract: Contract, *, mode: Literal["append", "snapshot"] = "append", key: str = "id"
) -> Checked:
    names = [key] if key else []
    return validate(warehouse, contract, stream="crm__people", primary_key=names, mode=mode, run_id="run")


def quarantined(warehouse: DuckDBWarehouse, table: str = "crm__people") -> dict[int, list[dict[str, Any]]]:
    rows = warehouse.sql(f"SELECT _rid, reasons FROM quarantine.{table} WHERE status = 'open'").to_pylist()
    return {row["_rid"]: json.loads(row["reasons"]) for row in rows}


def codes(warehouse: DuckDBWarehouse) -> dict[int, list[str]]:
    return {rid: [reason["code"] for reason in reasons] for rid, reasons in quarantined(warehouse).items()}


def test_a_row_is_told_every_reason_at_once(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    land({"id": ["a", "b"], "age": ["12", "999"], "email": ["a@example.com", "nobody"]})
    found = check(warehouse, contract(PEOPLE))
    assert found == Checked(2, 1, 1, {"not_an_email": 1, "out_of_range": 1})
    assert codes(warehouse) == {2: ["out_of_range", "not_an_email"]}


def test_a_reason_has_rule_column_code_and_a_sentence_without_the_value(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    land({"id": ["b"], "age": ["999"], "email": ["canary.example.org"]})
    check(warehouse, contract(PEOPLE))
    (reasons,) = quarantined(warehouse).values()
    assert reasons[0] == {
        "rule_id": "age.in_range",
        "column": "age",
        "code": "out_of_range",
        "sentence": "age must be between 0 and 120.",
    }
    assert "canary" not in json.dumps(reasons)


def test_a_value_that_cannot_be_read_keeps_its_raw_text(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    land({"id": ["a"], "age": ["twelve"], "email": [None]})
    check(warehouse, contract(PEOPLE))
    payload = warehouse.sql("SELECT payload FROM quarantine.crm__people")["payload"][0].as_py()
    assert json.loads(payload) == {"id": "a", "age": "twelve", "email": None}


@pytest.mark.parametrize("text", ["1.5", "1e3", "1_000", "0x10", "1,000", "٣", "12 years", "99999999999999999999"])
def test_what_engines_disagree_about_is_no_whole_number(
    warehouse: DuckDBWarehouse, contract: Make, land: Land, text: str
) -> None:
    land({"id": ["a"], "age": [text], "email": [None]})
    assert check(warehouse, contract(PEOPLE)).reasons == {"not_a_number": 1}


def test_the_latest_of_several_rows_with_one_key_stays(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    land({"id": ["a", "a", "b"], "age": ["1", "2", "3"], "email": [None] * 3})
    assert check(warehouse, contract(PEOPLE)).reasons == {"duplicate_key": 1}
    (reason,) = quarantined(warehouse)[1]
    assert reason["survivor"] == 2 and "The row 2 stays" in reason["sentence"]


def test_a_bad_row_does_not_push_out_the_good_one_of_its_key(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    land({"id": ["a", "a"], "age": ["1", "500"], "email": [None, None]})
    check(warehouse, contract(PEOPLE))
    assert warehouse.sql("SELECT _rid FROM clean.crm__people")["_rid"].to_pylist() == [1]


def test_a_declared_column_decides_which_row_stays(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    made = contract("survivor: age\n" + PEOPLE)
    land({"id": ["a", "a", "a"], "age": ["9", "10", "2"], "email": [None] * 3})
    check(warehouse, made)
    assert warehouse.sql("SELECT _rid FROM clean.crm__people")["_rid"].to_pylist() == [2]


def test_without_a_key_an_exact_repetition_is_a_duplicate(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    land({"id": ["a", "a", "a"], "age": ["1", "1", "2"], "email": [None] * 3})
    found = check(warehouse, contract(PEOPLE), key="")
    assert (found.clean, found.reasons) == (2, {"duplicate_row": 1})


@pytest.mark.parametrize("key", [None, "", "  "])
def test_a_missing_key_is_said_once(warehouse: DuckDBWarehouse, contract: Make, land: Land, key: str | None) -> None:
    land(pl.DataFrame({"id": [key], "age": ["1"], "email": [None]}, schema_overrides={"id": pl.String}))
    check(warehouse, contract(PEOPLE))
    assert codes(warehouse) == {1: ["missing_key"]}


def test_a_line_that_could_not_be_parsed_has_that_one_reason(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    land({"id": [None, "b"], "age": ["x", "2"], "email": [None, None], "_malformed": ['a,"b', None]})
    assert check(warehouse, contract(PEOPLE)).reasons == {"malformed": 1}
    payload = warehouse.sql("SELECT payload FROM quarantine.crm__people")["payload"][0].as_py()
    assert json.loads(payload)["_malformed"] == 'a,"b'
    assert "_malformed" not in warehouse.columns("clean.crm__people")


def test_only_new_rows_are_checked_and_replace_their_key(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    made = contract(PEOPLE)
    land({"id": ["a", "b"], "age": ["1", "2"], "email": [None, None]})
    check(warehouse, made)
    land({"id": ["b", "c"], "age": ["3", "4"], "email": [None, None]}, first=3)
    assert check(warehouse, made).rows_in == 2
    rows = warehouse.sql("SELECT id, age FROM clean.crm__people ORDER BY id").to_pylist()
    assert [(row["id"], row["age"]) for row in rows] == [("a", 1), ("b", 3), ("c", 4)]
    assert check(warehouse, made) == Checked(0, 0, 0)


def test_a_snapshot_replaces_all_of_clean(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    made = contract(PEOPLE)
    land({"id": ["a", "b"], "age": ["1", "bad"], "email": [None, None]})
    check(warehouse, made, mode="snapshot")
    land({"id": ["b"], "age": ["2"], "email": [None]}, first=3, replace=True)
    check(warehouse, made, mode="snapshot")
    assert warehouse.sql("SELECT id FROM clean.crm__people")["id"].to_pylist() == ["b"]
    assert warehouse.sql("SELECT status FROM quarantine.crm__people")["status"].to_pylist() == ["superseded"]


def test_a_snapshot_that_was_not_read_again_changes_nothing(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    made = contract(PEOPLE)
    land({"id": ["a"], "age": ["1"], "email": [None]})
    check(warehouse, made, mode="snapshot")
    assert check(warehouse, made, mode="snapshot") == Checked(0, 0, 0)
    assert warehouse.count("clean.crm__people") == 1


def test_the_same_failure_seen_again_keeps_its_first_time(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    made = contract(PEOPLE)
    land({"id": ["a"], "age": ["x"], "email": [None]})
    check(warehouse, made)
    land({"id": ["a"], "age": ["x"], "email": [None]}, first=2)
    check(warehouse, made)
    (row,) = warehouse.sql("SELECT _rid, first_seen, last_seen FROM quarantine.crm__people").to_pylist()
    assert row["_rid"] == 2 and row["first_seen"] < row["last_seen"]


def test_a_changed_contract_checks_every_row_again(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    land({"id": ["a", "b"], "age": ["1", "130"], "email": [None, None]})
    check(warehouse, contract(PEOPLE))
    wider = contract(PEOPLE.replace("120", "150"))
    assert check(warehouse, wider) == Checked(2, 2, 0)
    assert warehouse.sql("SELECT status FROM quarantine.crm__people")["status"].to_pylist() == ["replayed"]


def test_a_warning_is_counted_and_the_row_stays_clean(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    made = contract(PEOPLE.replace("nullable: true, parse", "nullable: true, severity: warn, parse"))
    land({"id": ["a"], "age": ["1"], "email": ["nobody"]})
    assert check(warehouse, made) == Checked(1, 1, 0, {}, {"email.type": 1})
    assert warehouse.sql("SELECT email FROM clean.crm__people")["email"].to_pylist() == [None]


def test_a_rule_of_severity_fail_publishes_nothing(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    made = contract("severity: fail\n" + PEOPLE)
    land({"id": ["a", "b"], "age": ["1", "500"], "email": [None, None]})
    with pytest.raises(StopRun, match=r"1 rows break the rule age\.in_range") as refusal:
        check(warehouse, made)
    assert refusal.value.code == "contract_failed"
    assert not warehouse.has("clean.crm__people") and not warehouse.tables("quarantine")


def test_a_condition_limits_a_rule_to_its_rows(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    text = """
columns:
  id: {dtype: String}
  country: {dtype: String, nullable: true}
  vat: {dtype: String, nullable: false, when: {country: [DE, FR]}}
"""
    land({"id": ["a", "b", "c"], "country": ["DE", "US", None], "vat": [None, None, None]})
    check(warehouse, contract(text))
    assert codes(warehouse) == {1: ["missing"]}


def test_two_columns_are_compared(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    text = """
columns:
  id: {dtype: String}
  start: {dtype: Date, nullable: true}
  end: {dtype: Date, nullable: true}
rules:
  - {compare: [start, "<=", end], rule_id: in_order}
"""
    land({"id": ["a", "b", "c"], "start": ["2020-01-02"] * 3, "end": ["2020-01-03", "2020-01-01", None]})
    check(warehouse, contract(text))
    assert codes(warehouse) == {2: ["inconsistent"]}


def test_a_unique_value_held_by_an_earlier_load_is_a_duplicate(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    made = contract(PEOPLE.replace("email: {dtype: String,", "email: {dtype: String, unique: true,"))
    land({"id": ["a", "b", "c"], "age": ["1"] * 3, "email": ["a@example.com", "a@example.com", None]})
    assert check(warehouse, made).reasons == {"duplicate_value": 1}
    land({"id": ["d", "b", "e"], "age": ["1"] * 3, "email": ["a@example.com", "a@example.com", None]}, first=4)
    check(warehouse, made)
    assert codes(warehouse) == {1: ["duplicate_value"], 4: ["duplicate_value"]}


def test_columns_beside_the_contract_are_carried_as_they_are(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    made = contract(PEOPLE)
    land({"id": ["a"], "age": ["1"], "email": [None], "note": [["x", "y"]]})
    check(warehouse, made)
    assert warehouse.sql("SELECT note FROM clean.crm__people")["note"].to_pylist() == [["x", "y"]]
    slim = contract("strict: filter\n" + PEOPLE)
    check(warehouse, slim)
    assert "note" not in warehouse.columns("clean.crm__people")
    with pytest.raises(StopRun, match=r"strict contract .* lacks: note"):
        check(warehouse, contract("strict: true\n" + PEOPLE))


def test_a_column_that_the_source_lost_stops_the_run_with_a_sentence(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    land({"id": ["a"], "mail": ["x"]})
    text = PEOPLE.replace("email: {dtype: String, nullable: true", "email: {dtype: String, nullable: false")
    with pytest.raises(StopRun, match="has no column 'email'; did you mean 'mail'") as refusal:
        check(warehouse, contract(text))
    assert refusal.value.code == "schema_changed"


def test_a_nullable_column_that_the_source_lacks_is_null(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    land({"id": ["a"]})
    assert check(warehouse, contract(PEOPLE)).clean == 1
    assert warehouse.columns("clean.crm__people")["age"] == "BIGINT"


def test_a_new_column_of_the_source_reaches_clean(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    made = contract(PEOPLE)
    land({"id": ["a"], "age": ["1"], "email": [None]})
    check(warehouse, made)
    warehouse.sql("ALTER TABLE raw.crm__people ADD COLUMN city TEXT")
    land({"id": ["b"], "age": ["1"], "email": [None], "city": ["Bonn"]}, first=2)
    check(warehouse, made)
    assert warehouse.sql("SELECT city FROM clean.crm__people ORDER BY id")["city"].to_pylist() == [None, "Bonn"]


def test_every_rule_is_written_down_also_when_it_passed(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    land({"id": ["a"], "age": ["1"], "email": [None]})
    check(warehouse, contract(PEOPLE))
    results = warehouse.sql("SELECT rule_id, evaluated, failed FROM ops.rule_result").to_pylist()
    assert {"rule_id": "age.in_range", "evaluated": 1, "failed": 0} in results


def test_an_empty_load_is_checked_and_no_raw_table_is_no_fault(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    made = contract(PEOPLE)
    assert check(warehouse, made) == Checked(0, 0, 0)
    land(pl.DataFrame(schema={"id": pl.String, "age": pl.String, "email": pl.String}))
    assert check(warehouse, made) == Checked(0, 0, 0)
    assert warehouse.columns("clean.crm__people")["age"] == "BIGINT"


def test_values_of_other_types_than_declared_are_judged_by_what_they_are(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    text = (
        "columns:\n  id: {dtype: String}\n  n: {dtype: Int64, nullable: true}\n  f: {dtype: Float64, nullable: true}\n"
    )
    nan, inf = float("nan"), float("inf")
    land({"id": [1, 2, 3, 4], "n": [1.0, 1.5, nan, 1e300], "f": [nan, inf, 1.0, -inf]})
    check(warehouse, contract(text))
    assert codes(warehouse) == {2: ["not_a_number", "not_a_number"], 4: ["not_a_number", "not_a_number"]}
    payloads = warehouse.sql("SELECT payload FROM quarantine.crm__people ORDER BY _rid")["payload"].to_pylist()
    assert json.loads(payloads[0])["f"] == "inf" and set(json.loads(payloads[1])) == {"id", "n", "f"}


def test_golden_rows_are_checked_by_a_second_contract(warehouse: DuckDBWarehouse, contract: Make) -> None:
    table = pl.DataFrame({"person_id": ["p1", "p2"], "age": [30, 300]}).to_arrow()
    warehouse.write("identity.golden", table.to_batches(), schema=table.schema)
    text = "columns:\n  person_id: {dtype: String}\n  age: {dtype: Int64, checks: {le: 120}}\n"
    for _ in range(2):
        found = validate_table(
            warehouse, contract(text), table="identity.golden", key="person_id", into="profile.checked", run_id="run"
        )
        assert found == Checked(2, 1, 1, {"out_of_range": 1})
    assert warehouse.count("quarantine.golden") == 1
    assert list(warehouse.columns("profile.checked")) == ["person_id", "age"]
    assert warehouse.tables("quarantine") == ["quarantine.golden"]


def test_a_condition_limits_uniqueness_too(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    text = """
columns:
  id: {dtype: String}
  country: {dtype: String, nullable: true}
  vat: {dtype: String, nullable: true, unique: true, when: {country: ["D'E", null]}}
"""
    land({"id": list("abcde"), "country": ["D'E", "D'E", "US", "US", None], "vat": ["x"] * 5})
    check(warehouse, contract(text))
    assert codes(warehouse) == {1: ["duplicate_value"], 2: ["duplicate_value"]}


def test_pandera_s_way_with_duplicates_can_be_declared(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    text = "columns:\n  id: {dtype: String}\n  vat: {dtype: String, unique: true, report_duplicates: %s}\n"
    land({"id": list("abc"), "vat": ["x", "x", "y"]})
    for keep, bad in (("all", {1, 2}), ("exclude_first", {2}), ("exclude_last", {1})):
        check(warehouse, contract(text % keep))
        assert set(codes(warehouse)) == bad


def test_what_a_killed_check_left_behind_is_no_hindrance(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    warehouse.sql("CREATE TABLE clean.crm__people__sound (x INT)")
    warehouse.sql("CREATE TABLE quarantine.crm__people__broken (x INT)")
    warehouse.sql("CREATE VIEW quarantine.crm__people__checked AS SELECT * FROM quarantine.crm__people__broken")
    land({"id": ["a", "b"], "age": ["12", "999"], "email": [None, None]})
    assert check(warehouse, contract(PEOPLE)) == Checked(2, 1, 1, {"out_of_range": 1})
    assert warehouse.tables("clean") == ["clean.crm__people"]
    assert warehouse.tables("quarantine") == ["quarantine.crm__people"]
