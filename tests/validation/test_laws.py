"""Laws: no row is lost, batches and order do not matter, and the verdicts are those of Pandera's pandas backend."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pandas as pd
import pandera.pandas as pandas_pandera
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaErrors

from consentry.validation.check import BAD, FAILED_RULES, Judge
from consentry.validation.contract import Contract
from consentry.validation.run import validate
from consentry.warehouse import DuckDBWarehouse

from .conftest import written

MIXED = """
survivor: amount
columns:
  id: {dtype: String}
  age: {dtype: Int64, nullable: true, checks: {in_range: {min_value: 0, max_value: 120}}}
  amount: {dtype: Float64, nullable: true, parse: [trim, {number: {decimal: ","}}]}
  born: {dtype: Date, nullable: true}
  mail: {dtype: String, nullable: true, unique: true, parse: [{null_tokens: ["-"]}, email]}
  tier: {dtype: String, nullable: false, when: {age: [1, 2]}, checks: {isin: [a, b]}}
"""
TEXT = st.one_of(
    st.none(),
    st.text(max_size=4),
    st.sampled_from(["", " ", "1", "2", "-1", "1.0", "1,5", "NaN", "2020-01-01", "a", "b", "-", "a@example.com"]),
)
RAW = st.fixed_dictionaries(
    dict.fromkeys(("id", "age", "amount", "born", "mail", "tier"), TEXT)
    | {"_malformed": st.one_of(st.none(), st.none(), st.text(max_size=3))}
)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    return written(tmp_path_factory.mktemp("laws"), MIXED)


def raw_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    names = ("id", "age", "amount", "born", "mail", "tier", "_malformed")
    frame = pl.DataFrame({name: [row[name] for row in rows] for name in names}, schema=dict.fromkeys(names, pl.String))
    return frame.with_columns(_rid=pl.int_range(frame.height, dtype=pl.Int64))


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(RAW, max_size=25), cut=st.integers(0, 25), key=st.sampled_from([(), ("id",), ("id", "tier")]))
def test_clean_and_quarantine_are_the_input(mixed: Contract, rows: list[dict[str, Any]], cut: int, key: Any) -> None:
    warehouse = DuckDBWarehouse()
    frame = raw_frame(rows)
    seen = 0
    for part in (frame.head(cut), frame.slice(cut)):
        table = part.to_arrow()
        warehouse.write("raw.s__t", table.to_batches(), schema=table.schema, mode="append")
        before = warehouse.count("clean.s__t")
        done = validate(warehouse, mixed, stream="s__t", primary_key=key, mode="append", run_id="run")
        assert done.rows_in == part.height == done.clean + done.quarantined
        assert warehouse.count("clean.s__t") <= before + done.clean
        seen += done.rows_in
    clean = warehouse.sql("SELECT _rid FROM clean.s__t")["_rid"].to_pylist()
    kept = warehouse.sql("SELECT _rid, payload, reasons FROM quarantine.s__t").to_pylist()
    assert seen == frame.height and len(set(clean)) == len(clean)
    assert not set(clean) & {row["_rid"] for row in kept}
    names = [name for name in frame.columns if name != "_rid"]
    for row in kept:
        assert json.loads(row["payload"]) == frame.select(names).row(row["_rid"], named=True)
        assert json.loads(row["reasons"])
    warehouse.close()


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(RAW, min_size=1, max_size=25), size=st.integers(1, 25), seed=st.integers(0, 99))
def test_batches_and_order_do_not_change_a_verdict(
    mixed: Contract, rows: list[dict[str, Any]], size: int, seed: int
) -> None:
    judge = Judge(mixed, mixed.rules, key=["id"], carried=["_rid"])
    frame = raw_frame(rows)

    def verdicts(parts: list[pl.DataFrame]) -> dict[int, Any]:
        tables = [judge(part.to_arrow()).select(["_rid", FAILED_RULES, BAD]).to_pylist() for part in parts]
        return {row["_rid"]: (row[FAILED_RULES], row[BAD]) for row in itertools.chain(*tables)}

    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed)
    assert verdicts([frame]) == verdicts([shuffled[n : n + size] for n in range(0, len(rows), size)])


NUMBERS = {"eq": 2, "ne": 2, "gt": 1, "ge": 1, "lt": 3, "le": 3, "isin": [1, 2, 9], "notin": [0, 2]} | {
    "in_range": {"min_value": 0, "max_value": 3, "include_max": False}
}
TEXTS = {
    "str_matches": "a|b+",
    "str_contains": "b",
    "str_startswith": "a",
    "str_endswith": "b",
    "isin": ["a", "ab"],
} | {
    "str_length": {"min_value": 1, "max_value": 2},
    "notin": ["ab"],
    "eq": "a",
}


@st.composite
def judged(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Draw columns as a contract has them, their data, and the same checks for pandas."""
    rows = draw(st.integers(1, 12))
    columns: dict[str, Any] = {}
    data: dict[str, list[Any]] = {}
    for n in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["Int64", "Float64", "String"]))
        known: dict[str, Any] = TEXTS if kind == "String" else NUMBERS
        # Two checks may contradict each other, which a contract refuses; one at a time is drawn.
        picked = draw(st.lists(st.sampled_from(sorted(known)), max_size=1))
        columns[f"c{n}"] = {"dtype": kind, "nullable": draw(st.booleans()), "checks": {p: known[p] for p in picked}}
        cell = {"Int64": st.integers(-1, 9), "Float64": st.floats(-1, 9), "String": st.text("abc", max_size=3)}[kind]
        data[f"c{n}"] = draw(st.lists(st.one_of(st.none(), cell), min_size=rows, max_size=rows))
    return columns, data


@settings(max_examples=40, deadline=None)
@given(drawn=judged())
def test_every_verdict_is_that_of_panderas_pandas_backend(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[dict[str, Any], dict[str, list[Any]]]
) -> None:
    columns, data = drawn
    contract = written(tmp_path_factory.mktemp("same"), json.dumps({"columns": columns}))
    kinds: dict[str, Any] = {name: getattr(pl, spec["dtype"]) for name, spec in columns.items()}
    table = pl.DataFrame(data, schema=kinds).to_arrow()
    rows = Judge(contract, contract.rules, key=[], carried=[])(table).to_pylist()
    ours = {(at, contract.rules[n].rule_id) for at, row in enumerate(rows) for n in row[FAILED_RULES] or ()}
    assert ours == pandas_verdicts(columns, data)


def pandas_verdicts(columns: dict[str, Any], data: dict[str, list[Any]]) -> set[tuple[int, str]]:
    kinds = {"Int64": "Int64", "Float64": "float64", "String": "object"}
    frame = pd.DataFrame({n: pd.Series(v, dtype=kinds[columns[n]["dtype"]]) for n, v in data.items()})
    schema = pandas_pandera.DataFrameSchema(
        {
            name: pandas_pandera.Column(
                nullable=spec["nullable"], checks=[made(check, value) for check, value in spec["checks"].items()]
            )
            for name, spec in columns.items()
        }
    )
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        found = errors.failure_cases
        return {(row.index, rule_id(columns, row)) for row in found.itertuples(index=False)}
    return set()


def rule_id(columns: dict[str, Any], row: Any) -> str:
    label = "missing" if row.check == "not_nullable" else next(iter(columns[row.column]["checks"]))
    return f"{row.column}.{label}"


def made(check: str, value: Any) -> pandas_pandera.Check:
    build = getattr(pandas_pandera.Check, check)
    found: pandas_pandera.Check = build(**value) if isinstance(value, dict) else build(value)
    return found
