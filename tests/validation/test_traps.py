"""What Pandera's backends do with bad rows, each shown beside what consentry does (pandera 0.35, polars 2.1)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pyarrow as arrow
import pytest
from pandera.errors import SchemaErrors

import consentry.validation
from consentry.errors import ConfigError, StopRun
from consentry.validation.check import BAD, FAILED_RULES, Judge, coalesced
from consentry.validation.contract import Contract
from consentry.validation.rules import Rule

Make = Callable[[str], Contract]
AGE = "columns:\n  age: {dtype: Int64, nullable: true, checks: {le: 120}}\n"
SHARE = "columns:\n  share: {dtype: Float64, checks: {lt: 5}}\n"


def judged(contract: Contract, table: arrow.Table) -> list[dict[str, object]]:
    found: list[dict[str, object]] = Judge(contract, contract.rules, key=[], carried=[])(table).to_pylist()
    return found


def ids(contract: Contract, row: dict[str, object]) -> list[str]:
    numbers = row[FAILED_RULES] or []
    assert isinstance(numbers, list)
    return [contract.rules[number].rule_id for number in numbers]


def test_a_lazy_frame_passes_pandera_unchecked_and_consentry_never_makes_one(contract: Make) -> None:
    schema = pa.DataFrameSchema({"age": pa.Column(pl.Int64, pa.Check.le(120))})
    bad = pl.DataFrame({"age": [999]})
    assert schema.validate(bad.lazy(), lazy=True).collect().height == 1
    assert judged(contract(AGE), bad.to_arrow())[0][BAD]


def test_checks_run_when_the_environment_turns_validation_off(contract: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from pandera.config import CONFIG

    monkeypatch.setattr(CONFIG, "validation_enabled", False)
    assert judged(contract(AGE), arrow.table({"age": [999]}))[0][BAD]


def test_the_narwhals_backend_is_refused(contract: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDERA_USE_NARWHALS_BACKEND", "True")
    with pytest.raises(ConfigError, match="Unset it"):
        Judge(contract(AGE), [], key=[], carried=[])


def test_drop_invalid_rows_keeps_bad_rows_and_is_used_nowhere() -> None:
    unique = pa.DataFrameSchema({"id": pa.Column(pl.Int64)}, unique=["id"], drop_invalid_rows=True)
    assert unique.validate(pl.DataFrame({"id": [1, 1]}), lazy=True).height == 2
    positive = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.gt(0))}, drop_invalid_rows=True)
    assert positive.validate(pl.LazyFrame({"id": [0, 1]}), lazy=True).collect().height == 2
    folder = Path(inspect.getfile(consentry.validation)).parent
    assert not [path for path in folder.glob("*.py") if "drop_invalid_rows=True" in path.read_text()]


def test_nan_is_a_missing_value_and_no_small_number(contract: Make) -> None:
    made = contract(SHARE)
    assert [ids(made, row) for row in judged(made, arrow.table({"share": [float("nan"), 1.0]}))] == [
        ["share.missing"],
        [],
    ]


def test_a_failed_cast_is_named_and_the_value_is_not_called_missing(contract: Make) -> None:
    made = contract(SHARE)
    assert ids(made, judged(made, arrow.table({"share": ["abc"]}))[0]) == ["share.type"]


def test_str_matches_binds_both_alternatives(contract: Make) -> None:
    schema = pa.DataFrameSchema({"a": pa.Column(pl.String, pa.Check.str_matches("x|y"))})
    assert schema.validate(pl.DataFrame({"a": ["zy"]}), lazy=True).height == 1
    made = contract("columns:\n  a: {dtype: String, checks: {str_matches: 'x|y'}}\n")
    assert ids(made, judged(made, arrow.table({"a": ["zy"]}))[0]) == ["a.str_matches"]


@pytest.mark.parametrize(
    "column",
    [
        arrow.nulls(2),
        arrow.array(["1", "2"]).dictionary_encode(),
        arrow.array([1, 2], arrow.int8()),
        arrow.array([1, 2], arrow.decimal128(20, 0)),
    ],
)
def test_the_arrow_type_of_a_batch_does_not_fail_its_rows(contract: Make, column: arrow.Array) -> None:
    assert not any(row[BAD] for row in judged(contract(AGE), arrow.table({"age": column})))


def test_a_check_that_raises_stops_the_run_and_blames_no_row(contract: Make) -> None:
    made = contract(AGE)

    def broken(data: object) -> pl.LazyFrame:
        raise RuntimeError("canary@example.com")

    rule = Rule("own", "check", "failed_check", "", column="age", columns=("age",), check=pa.Check(broken))
    with pytest.raises(StopRun, match="own gives no answer for each row") as refusal:
        Judge(made, [rule], key=[], carried=[])(arrow.table({"age": [1]}))
    assert "canary" not in str(refusal.value)


def test_a_check_that_answers_once_for_a_batch_stops_the_run(contract: Make) -> None:
    made = contract(AGE)
    check = pa.Check(lambda data: data.lazyframe.select(pl.col("age").sum() > 10))
    rule = Rule("total", "check", "failed_check", "", column="age", columns=("age",), check=check)
    with pytest.raises(StopRun, match="total"):
        Judge(made, [rule], key=[], carried=[])(arrow.table({"age": [1, 2]}))


def test_panderas_row_numbers_begin_anew_in_every_batch() -> None:
    schema = pa.DataFrameSchema({"age": pa.Column(pl.Int64, pa.Check.le(120))})
    for batch in (pl.DataFrame({"age": [999]}), pl.DataFrame({"age": [998]})):
        with pytest.raises(SchemaErrors) as errors:
            schema.validate(batch, lazy=True)
        assert errors.value.failure_cases["index"].to_list() == [0]


def test_small_batches_are_joined_and_wide_ones_are_cut() -> None:
    small = arrow.record_batch({"a": [1]})
    assert [table.num_rows for table in coalesced([small] * 10)] == [10]
    wide = arrow.record_batch({"a": ["x" * 100_000_000]})
    assert [table.num_rows for table in coalesced([wide] * 3)] == [2, 1]
