"""Writing, drafting, comparing and trying contracts; references, aggregates, currencies, checks of other packages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from consentry.cli.main import app
from consentry.config import Faults
from consentry.errors import ConfigError, StopRun
from consentry.validation.contract import Contract, read_contract
from consentry.validation.contract_diff import contract_diff
from consentry.validation.contract_test import try_examples
from consentry.validation.infer import infer
from consentry.validation.replay import replay
from consentry.validation.run import validate
from consentry.validation.write import contract_text, write_contract, yaml_text
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import TinyJob
from tests.validation.conftest import written
from tests.validation.test_contract import ALL_KEYS

Make = Callable[[str], Contract]
Land = Callable[..., None]
FaultsOf = Callable[[str], list[str]]


def again(found: Contract, folder: Path) -> Contract:
    path = folder / "again.yaml"
    write_contract(found, path)
    faults = Faults()
    back = read_contract(path, faults)
    faults.check()
    assert back is not None
    return back


def test_a_contract_that_was_written_and_read_again_is_the_same(contract: Make, tmp_path: Path) -> None:
    found = contract(ALL_KEYS)
    back = again(found, tmp_path)
    assert (back, back.source, back.digest) == (found, found.source, found.digest)


@settings(max_examples=30, deadline=None)
@given(
    words=st.lists(
        st.text(st.characters(exclude_categories=("C", "Zs", "Zl", "Zp")), min_size=1), min_size=1, unique=True
    )
)
def test_no_word_changes_its_meaning_when_it_is_written(
    words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("words")
    plain = [word for word in [*words, "no", "Y", "0x1", "1e3", "2024-01-01", "null", "~", "a: b"] if "${" not in word]
    content = {"name": "n", "columns": {"a": {"dtype": "String", "checks": {"isin": list(dict.fromkeys(plain))}}}}
    found = written(folder, yaml_text(content))
    assert found.source == content
    assert again(found, folder) == found


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, entry: str = "", name: str = "plugged") -> None:
    """Install a package for the time of a test."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "top_level.txt").write_text(f"{name}\n")
    (info / "RECORD").write_text(f"{name}.py,,\n")
    (info / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(folder))


def test_a_check_of_another_package_is_named_in_a_contract_and_survives_writing(
    warehouse: DuckDBWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, land: Land
) -> None:
    code = (
        "import polars as pl\n"
        "def divisible(data, *, by):\n"
        "    return data.lazyframe.select(pl.col(data.key) % by == 0)\n"
    )
    module(tmp_path, monkeypatch, code, "[consentry.checks]\ndivisible_by = plugged:divisible\n")
    found = written(tmp_path, "columns: {id: {dtype: Int64, checks: {divisible_by: {by: 3}}}}")
    assert again(found, tmp_path) == found
    land({"id": ["3", "4", "6"]})
    done = validate(warehouse, found, stream="crm__people", primary_key=["id"], mode="append", run_id="r")
    assert (done.clean, done.reasons) == (2, {"failed_check": 1})


def test_a_class_is_written_as_yaml_and_a_lambda_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import pandera.polars as pa\n"
        "class Plain(pa.DataFrameModel):\n"
        "    id: str = pa.Field(str_matches='^a')\n"
        "    age: int = pa.Field(ge=0, le=120, nullable=True)\n"
        "class Own(Plain):\n"
        "    @pa.check('age')\n"
        "    def even(cls, data): return data.lazyframe.select(data.key)\n"
    )
    module(tmp_path, monkeypatch, code, name="modelled")
    faults = Faults()
    plain, own = read_contract("modelled:Plain", faults), read_contract("modelled:Own", faults)
    faults.check()
    assert plain is not None and own is not None
    back = again(plain, tmp_path)
    assert [(r.rule_id, r.code, r.sentence) for r in back.rules] == [
        (r.rule_id, r.code, r.sentence) for r in plain.rules
    ]
    with pytest.raises(ConfigError, match=r"age\.even"):
        contract_text(own)


DRAFTED = {
    "id": [f"A{n}" for n in range(200)],
    "mail": [f"p{n}@example.com" for n in range(200)],
    "country": ["DE", "FR"] * 100,
    "age": ["12", "n/a"] * 100,
    "price": ["1.50", "2"] * 100,
    "rate": ["1.5%", "2 %"] * 100,
    "joined": ["2024-01-01"] * 200,
    "seen": ["2024-01-01T00:00:00Z"] * 200,
    "zip_code": ["01234", "99999"] * 100,
    "first_name": ["Ann", "Bob"] * 100,
    "tier": [" gold", "silver"] * 100,
    "active": ["yes", "no"] * 100,
    "amount": [1.5, None] * 100,
    "empty": [None] * 200,
    "blob": [b"x"] * 200,
}


def test_a_draft_reads_the_data_that_it_was_drafted_from(
    warehouse: DuckDBWarehouse, tmp_path: Path, land: Land
) -> None:
    frame = pl.DataFrame(DRAFTED)
    drafted = infer(frame, name="people", key=["id"])
    columns = drafted["columns"]
    kinds = {name: column["dtype"] for name, column in columns.items()}
    assert [name for name, kind in kinds.items() if kind == "Int64"] == ["age"]
    assert {name for name, kind in kinds.items() if kind == "Float64"} == {"price", "rate", "amount"}
    assert (kinds["joined"], kinds["seen"], kinds["active"]) == ("Date", "Datetime", "Boolean")
    assert columns["mail"]["holds"] == "email" and columns["country"]["parse"] == ["country"]
    assert columns["tier"]["checks"] == {"isin": ["gold", "silver"]}
    assert "checks" not in columns["first_name"] and kinds["zip_code"] == "String"
    land(frame)
    made = written(tmp_path, yaml_text(drafted))
    done = validate(warehouse, made, stream="crm__people", primary_key=["id"], mode="append", run_id="r")
    assert (done.clean, done.quarantined) == (200, 0)


def test_a_draft_of_nothing_is_a_contract(tmp_path: Path) -> None:
    made = infer(pl.DataFrame({"a": []}, schema={"a": pl.String}), name="n")
    assert written(tmp_path, yaml_text(made)).columns[0].nullable


def test_a_difference_says_whether_rows_may_fail_now(contract: Make) -> None:
    before = (
        "columns:\n  a: {dtype: Int64, checks: {le: 9}}\n  b: {dtype: String, nullable: true}\n  d: {dtype: String}\n"
    )
    after = "columns:\n  a: {dtype: Int64, nullable: true, checks: {le: 5}, title: x}\n  c: {dtype: String}\n"
    after += "  d: {dtype: String, typos: {}}\n"
    found = {change.where: change.effect for change in contract_diff(contract(before), contract(after))}
    assert found == {
        "columns.a.nullable": "looser",
        "columns.a.checks.le": "stricter",
        "columns.a.title": "none",
        "columns.b": "looser",
        "columns.c": "stricter",
        "columns.d.typos": "stricter",
    }
    assert contract_diff(contract(before), contract(before)) == []


EXAMPLES = """
columns:
  age: {dtype: Int64, nullable: true, checks: {in_range: {min_value: 0, max_value: 120}}}
  since: {dtype: Datetime, nullable: true, parse: [{timestamp: {zone: Europe/Berlin}}]}
tests:
  - {given: {age: 12, since: "2024-07-01 12:00:00"}, expect: {age: 12, since: "2024-07-01T10:00:00Z"}}
  - {given: {age: "200"}, expect: [age.in_range]}
  - {given: {age: x}, expect: [not_a_number]}
  - {given: {age: 5}, expect: clean}
"""


def test_examples_of_a_contract_are_tried(contract: Make) -> None:
    assert [tried.ok for tried in try_examples(contract(EXAMPLES))] == [True] * 4
    wrong = EXAMPLES.replace("max_value: 120", "max_value: 300").replace("expect: {age: 12", "expect: {age: 13")
    tried = try_examples(contract(wrong))
    assert [it.ok for it in tried] == [False, False, True, True]
    assert "read otherwise: age" in tried[0].sentence and "broken: nothing" in tried[1].sentence


def test_examples_change_no_verdict(contract: Make) -> None:
    assert contract(EXAMPLES).digest == contract(EXAMPLES.split("tests:")[0]).digest


ORDERS = """
columns:
  id: {dtype: String}
  customer: {dtype: Int64, nullable: true}
references:
  - {columns: customer, stream: shop.customers, to: number}
"""


def orders(warehouse: DuckDBWarehouse, made: Contract) -> Any:
    return validate(warehouse, made, stream="crm__people", primary_key=["id"], mode="append", run_id="r")


def test_a_row_waits_until_what_it_refers_to_is_there(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    made = contract(ORDERS)
    land({"id": ["a", "b", "c"], "customer": ["1", "2", None]})
    with pytest.raises(StopRun, match="was not checked yet"):
        orders(warehouse, made)
    warehouse.sql("CREATE TABLE clean.shop__customers AS SELECT '1' AS number")
    done = orders(warehouse, made)
    assert (done.clean, done.reasons) == (2, {"unknown_reference": 1})
    warehouse.sql("INSERT INTO clean.shop__customers VALUES ('2')")
    late = {"stream": "crm__people", "primary_key": ["id"], "mode": "append", "run_id": "r"}
    assert replay(warehouse, made, code="unknown_reference", **late).clean == 1  # type: ignore[arg-type]
    assert warehouse.count("clean.crm__people") == 3


def test_rules_about_all_rows_leave_clean_as_it_was(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    text = "columns:\n  id: {dtype: String}\n  age: {dtype: Int64, nullable: true}\nexpect:\n"
    made = contract(text + "  - {aggregate: mean, column: age, max: 50}\n  - {aggregate: rows, min: 1}\n")
    land({"id": ["a", "b"], "age": ["10", "20"]})
    assert orders(warehouse, made).clean == 2
    land({"id": ["c"], "age": ["1000"]}, first=3)
    with pytest.raises(StopRun, match=r"age\.mean: The mean of age must be at most 50"):
        orders(warehouse, made)
    assert warehouse.count("clean.crm__people") == 2
    warned = contract(text + "  - {aggregate: mean, column: age, max: 50, severity: warn}\n")
    assert orders(warehouse, warned).clean == 1


@pytest.mark.parametrize(
    "rule, told",
    [
        ("{aggregate: mean, column: name, max: 1}", "needs a number"),
        ("{aggregate: mean, max: 1}", "needs a 'column'"),
        ("{aggregate: rows}", "needs 'min', 'max' or both"),
        ("{aggregate: share, min: 0.5}", "share needs 'when'"),
        ("{aggregate: rows, min: 5, max: 1}", "above 5 and below 1"),
        ("{aggregate: max, column: agee, max: 1}", "did you mean 'age'"),
    ],
)
def test_a_rule_about_all_rows_that_makes_no_sense_is_a_fault(faults_of: FaultsOf, rule: str, told: str) -> None:
    (fault,) = faults_of(f"columns:\n  age: {{dtype: Int64}}\n  name: {{dtype: String}}\nexpect:\n  - {rule}\n")
    assert told in fault and "bad.yaml:5" in fault


def test_a_currency_is_a_code_or_a_declared_sign(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    made = contract(
        'columns:\n  id: {dtype: String}\n  paid: {dtype: String, parse: [{currency: {names: {"€": EUR}}}]}\n'
    )
    land({"id": ["a", "b", "c"], "paid": ["eur", "€", "XXX"]})
    assert orders(warehouse, made).reasons == {"not_a_currency": 1}
    assert set(warehouse.sql("SELECT paid FROM clean.crm__people")["paid"].to_pylist()) == {"EUR"}


def test_the_commands_draft_compare_and_try(tiny: TinyJob) -> None:
    out = tiny.folder / "contracts" / "drafted.yaml"
    (tiny.folder / "contracts" / "people.yaml").unlink()
    found = CliRunner().invoke(app, ["contract", "infer", str(tiny.path), "crm.people", "--out", str(out)])
    assert found.exit_code == 0, found.output
    assert "canary" not in out.read_text().lower()
    other = tiny.folder / "other.yaml"
    other.write_text(out.read_text() + "tests:\n- {given: {age: x}, expect: [not_a_number]}\n")
    changes = json.loads(CliRunner().invoke(app, ["contract", "diff", str(out), str(other), "-o", "json"]).stdout)
    assert [(change["where"], change["effect"]) for change in changes["changes"]] == [("tests", "none")]
    assert CliRunner().invoke(app, ["contract", "test", str(other)]).exit_code in (0, 1)
