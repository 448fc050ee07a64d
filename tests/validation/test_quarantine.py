"""What becomes of quarantined rows: replayed, mended, discarded, trimmed, erased, and always counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.errors import ConfigError
from consentry.validation.aside import Limits, trim
from consentry.validation.contract import Contract
from consentry.validation.held import discard, erase, held_rows, held_streams, summary_of
from consentry.validation.replay import mend, replay
from consentry.validation.run import Checked, validate
from consentry.warehouse import DuckDBWarehouse
from tests.validation.conftest import written

Make = Callable[[str], Contract]
Land = Callable[..., None]
PEOPLE = """
columns:
  id: {dtype: String}
  age: {dtype: Int64, nullable: true, checks: {in_range: {min_value: 0, max_value: 120}}}
"""
STREAM = "crm__people"


def check(warehouse: DuckDBWarehouse, contract: Contract) -> Checked:
    return validate(warehouse, contract, stream=STREAM, primary_key=["id"], mode="append", run_id="run")


def again(warehouse: DuckDBWarehouse, contract: Contract) -> Checked:
    return replay(warehouse, contract, stream=STREAM, primary_key=["id"], mode="append", run_id="again")


def clean(warehouse: DuckDBWarehouse) -> list[tuple[str, int | None]]:
    rows = warehouse.sql(f"SELECT id, age FROM clean.{STREAM} ORDER BY id, age").to_pylist()
    return [(row["id"], row["age"]) for row in rows]


def fixes(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "fixes.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_changed_contract_lets_rows_out_of_quarantine(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    land({"id": ["a", "b"], "age": ["10", "130"]})
    check(warehouse, contract(PEOPLE))
    again(warehouse, contract(PEOPLE.replace("120", "150")))
    assert clean(warehouse) == [("a", 10), ("b", 130)]
    assert summary_of(warehouse, STREAM)["open"] == 0


def test_a_mended_row_becomes_clean_and_the_landed_one_stays_as_it_came(
    warehouse: DuckDBWarehouse, contract: Make, land: Land, tmp_path: Path
) -> None:
    made = contract(PEOPLE)
    land({"id": ["a", "b"], "age": ["10", "thirty"]})
    check(warehouse, made)
    assert mend(warehouse, stream=STREAM, path=fixes(tmp_path, {"_rid": 2, "set": {"age": "30"}})) == 1
    done = again(warehouse, made)
    assert (done.rows_in, done.clean) == (1, 1)
    assert clean(warehouse) == [("a", 10), ("b", 30)]
    assert warehouse.sql(f"SELECT age FROM raw.{STREAM} WHERE _rid = 2")["age"][0].as_py() == "thirty"


def test_what_was_mended_stays_mended_when_the_contract_changes(
    warehouse: DuckDBWarehouse, contract: Make, land: Land, tmp_path: Path
) -> None:
    land({"id": ["a"], "age": ["thirty"]})
    check(warehouse, contract(PEOPLE))
    mend(warehouse, stream=STREAM, path=fixes(tmp_path, {"_rid": 1, "set": {"age": "30"}}))
    again(warehouse, contract(PEOPLE))
    check(warehouse, contract(PEOPLE.replace("120", "100")))
    assert clean(warehouse) == [("a", 30)]


def test_an_exported_row_that_was_corrected_is_a_correction(
    warehouse: DuckDBWarehouse, contract: Make, land: Land, tmp_path: Path
) -> None:
    land({"id": ["a"], "age": ["thirty"]})
    check(warehouse, contract(PEOPLE))
    (row,) = held_rows(warehouse, STREAM, raw=True)
    row["payload"]["age"] = "30"
    mend(warehouse, stream=STREAM, path=fixes(tmp_path, row))
    again(warehouse, contract(PEOPLE))
    assert clean(warehouse) == [("a", 30)]


@pytest.mark.parametrize(
    "line, told",
    [
        ({"_rid": 9, "set": {"age": "1"}}, "not open"),
        ({"_rid": 1, "set": {"agee": "1"}}, "did you mean 'age'"),
        ({"_rid": 1, "set": {"_rid": "4"}}, "no column '_rid'"),
        ({"set": {"age": "canary"}}, "no correction"),
        ("canary", "no correction"),
    ],
)
def test_a_correction_that_cannot_be_used_is_refused_with_its_line(
    warehouse: DuckDBWarehouse, contract: Make, land: Land, tmp_path: Path, line: object, told: str
) -> None:
    land({"id": ["a"], "age": ["thirty"]})
    check(warehouse, contract(PEOPLE))
    with pytest.raises(ConfigError) as refusal:
        mend(warehouse, stream=STREAM, path=fixes(tmp_path, line))
    assert told in str(refusal.value) and "fixes.jsonl:1" in str(refusal.value)
    assert "canary" not in str(refusal.value)
    assert not warehouse.has(f"quarantine.{STREAM}__fixed")


def test_a_replayed_row_never_replaces_a_newer_one_of_its_key(
    warehouse: DuckDBWarehouse, contract: Make, land: Land, tmp_path: Path
) -> None:
    made = contract(PEOPLE)
    land({"id": ["a"], "age": ["thirty"]})
    check(warehouse, made)
    land({"id": ["a"], "age": ["31"]}, first=2)
    check(warehouse, made)
    mend(warehouse, stream=STREAM, path=fixes(tmp_path, {"_rid": 1, "set": {"age": "30"}}))
    done = again(warehouse, made)
    assert clean(warehouse) == [("a", 31)] and done.reasons == {"duplicate_key": 1}


def test_an_exact_repetition_stays_in_quarantine_when_it_is_replayed(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    made = contract(PEOPLE)
    land({"id": ["a", "a"], "age": ["1", "1"]})
    kwargs = {"stream": STREAM, "primary_key": [], "mode": "append", "run_id": "run"}
    validate(warehouse, made, **kwargs)  # type: ignore[arg-type]
    done = replay(warehouse, made, **kwargs)  # type: ignore[arg-type]
    assert (done.clean, done.reasons) == (0, {"duplicate_row": 1}) and len(clean(warehouse)) == 1


def test_discarded_rows_stay_counted_and_never_come_back(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    land({"id": ["a", "b", "c"], "age": ["1", "x", "200"]})
    check(warehouse, contract(PEOPLE))
    assert discard(warehouse, STREAM, code="not_a_number") == 1
    counts = summary_of(warehouse, STREAM)
    assert (counts["open"], counts["discarded"]) == (1, 1)
    found = check(warehouse, contract(PEOPLE.replace("120", "300")))
    assert (found.rows_in, found.clean, found.quarantined, found.discarded) == (3, 2, 0, 1)


def test_a_bounded_quarantine_keeps_the_newest_rows_and_exact_counts(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    land({"id": [str(n) for n in range(10)], "age": ["x"] * 10})
    check(warehouse, contract(PEOPLE))
    assert trim(warehouse, STREAM, Limits(max_rows=3)) == 7
    counts = summary_of(warehouse, STREAM)
    assert (counts["open"], counts["trimmed"]) == (3, 7)
    assert [row["_rid"] for row in held_rows(warehouse, STREAM)] == [8, 9, 10]
    check(warehouse, contract(PEOPLE.replace("dtype: Int64", "dtype: String").split(", checks")[0] + "}"))
    counts = summary_of(warehouse, STREAM)
    assert (counts["open"], counts["trimmed"], warehouse.count(f"clean.{STREAM}")) == (0, 0, 10)


def test_rows_older_than_the_retention_are_let_go(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    land({"id": ["a"], "age": ["x"]})
    check(warehouse, contract(PEOPLE))
    assert trim(warehouse, STREAM, Limits(keep_days=30)) == 0
    assert trim(warehouse, STREAM, Limits(keep_days=30), now=datetime.now(UTC) + timedelta(days=31)) == 1
    assert list(held_rows(warehouse, STREAM)) == []


@pytest.mark.parametrize(
    "kind, value, gone",
    [
        ("email", "Canary@Example.com", [1, 3]),
        ("phone", "+44 7700 900123", [2]),
        ("customer_number", "10234", [4]),
        ("email", "nobody@example.org", []),
        ("phone", "", []),
    ],
)
def test_erasure_reaches_rows_whose_identifier_could_not_be_read(
    warehouse: DuckDBWarehouse, contract: Make, land: Land, kind: str, value: str, gone: list[int]
) -> None:
    made = contract("columns:\n  id: {dtype: Int64}\n")
    mail = ["canary@example.com", None, "see canary@example.com please", "other.canary@example.com"]
    land(
        {
            "id": ["x"] * 4,
            "mail": mail,
            "tel": [None, "07700-900123", None, None],
            "no": [None, "102345", None, "10234"],
        }
    )
    validate(warehouse, made, stream=STREAM, primary_key=[], mode="append", run_id="run")
    assert erase(warehouse, STREAM, {kind: [value]}) == len(gone)
    left = [rid for rid in (1, 2, 3, 4) if rid not in gone]
    assert [row["_rid"] for row in held_rows(warehouse, STREAM)] == left
    assert sorted(warehouse.sql(f"SELECT _rid FROM raw.{STREAM}")["_rid"].to_pylist()) == left
    warehouse.sql("CREATE TABLE quarantine.suppressed (record_id TEXT)")
    assert held_streams(warehouse) == [STREAM]


VALUES = st.sampled_from(["1", "2", "x", "500", None])
ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), VALUES), max_size=8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    return written(tmp_path_factory.mktemp("replay"), PEOPLE)


@settings(max_examples=12, deadline=None)
@given(first=ROWS, second=ROWS, thrown=st.booleans())
def test_replaying_twice_is_replaying_once_and_nothing_is_lost(
    made: Contract, first: list[tuple[str, str]], second: list[tuple[str, str]], thrown: bool
) -> None:
    import polars as pl

    warehouse = DuckDBWarehouse()
    rid = 1
    for rows in (first, second):
        frame = pl.DataFrame(rows, schema={"id": pl.String, "age": pl.String}, orient="row")
        table = frame.with_columns(_rid=pl.int_range(rid, rid + frame.height, dtype=pl.Int64)).to_arrow()
        warehouse.write(f"raw.{STREAM}", table.to_batches(), schema=table.schema, mode="append")
        rid += frame.height
        check(warehouse, made)
    if thrown:
        discard(warehouse, STREAM, code="out_of_range")
    before = (clean(warehouse), [row["_rid"] for row in held_rows(warehouse, STREAM)])
    done = again(warehouse, made)
    once = (clean(warehouse), [row["_rid"] for row in held_rows(warehouse, STREAM)])
    again(warehouse, made)
    assert before == once == (clean(warehouse), [row["_rid"] for row in held_rows(warehouse, STREAM)])
    assert done.rows_in == done.clean + done.quarantined
    warehouse.close()
