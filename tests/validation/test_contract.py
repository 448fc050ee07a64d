"""Reading a contract: every fault has its line, and Pandera can read the file too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as arrow
import pytest
from pandera.io import polars_io

from consentry.config import Faults
from consentry.validation.check import Judge
from consentry.validation.contract import Contract, read_contract, served_columns
from consentry.validation.rules import CODES
from consentry.validation.spec import ColumnSpec, ContractSpec, Step

Make = Callable[[str], Contract]
FaultsOf = Callable[[str], list[str]]
ALL_KEYS = """
name: people
columns:
  id: {dtype: String, nullable: false, unique: true, rule_id: person}
  age:
    dtype: Int64
    nullable: true
    checks: {in_range: {min_value: 0, max_value: 120}, ne: 99}
    parse: [trim, {null_tokens: ["N/A"]}, {number: {thousands: "."  , decimal: ","}}]
    severity: warn
    rules: {in_range: {rule_id: adult, severity: quarantine}}
    impute: {method: median, by: [tier]}
    serve: imputed
  tier: {dtype: String, nullable: true, checks: {isin: [gold, silver], str_length: {max_value: 6}}, typos: {times: 5}}
  share: {dtype: Float64, nullable: true, parse: [percent]}
  amount: {dtype: "Decimal(12, 2)", nullable: true}
  joined: {dtype: Date, depends_on: [{on: id}, {on: [tier, age], rows: 4}], parse: [{date_formats: ["%d.%m.%Y"]}]}
  seen: {dtype: Datetime, nullable: true, parse: [{timestamp: {zone: Europe/Berlin}}]}
  active: {dtype: Boolean, parse: [{boolean: {true: ["ja"], false: ["nein"]}}], when: {tier: gold}}
unique: [id, tier]
rules:
  - {compare: [id, "!=", tier], rule_id: differs}
  - {expression: "share * 2 < amount", when: {active: true}, sentence: The share is too large.}
watch: {agreement: fail, max_disagree: {tier: 0.1}}
"""


def test_every_key_is_understood(contract: Make) -> None:
    found = contract(ALL_KEYS)
    by_id = {rule.rule_id: rule for rule in found.rules}
    assert by_id["adult"].severity == "quarantine"
    assert by_id["age.not_equal_to" if "age.not_equal_to" in by_id else "age.ne"].severity == "warn"
    assert {"person.missing", "person.unique", "unique(id, tier)", "differs"} <= set(by_id)
    assert {"tier.typos", "joined.by.id", "joined.by.tier,age", "row(share * 2 < amount)"} <= set(by_id)
    assert served_columns(found) == {"age": "imputed"}


def test_pandera_reads_the_same_file_and_writes_it_back(contract: Make, tmp_path: Path) -> None:
    made = contract(ALL_KEYS)
    schema = polars_io.from_yaml(tmp_path / "contract.yaml")
    assert list(schema.columns) == [column.name for column in made.columns]
    assert [check.name for check in schema.columns["age"].checks] == ["in_range", "not_equal_to"]
    again = polars_io.from_yaml(polars_io.to_yaml(schema))
    assert again.columns["tier"].checks == schema.columns["tier"].checks
    assert again.unique == ["id", "tier"]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("columns:\n  a: {dtype: Strng}\n", 2, "The type 'Strng' is not known; did you mean 'String'?"),
        ("columns:\n  a: {dtype: String, chekcs: {}}\n", 2, "did you mean 'checks'?"),
        ("columns:\n  a:\n    dtype: String\n    checks: {isinn: [a]}\n", 4, "did you mean 'isin'?"),
        (
            "columns:\n  a:\n    dtype: Int64\n    checks: {in_range: {min_value: 9, max_value: 1}}\n",
            4,
            "No value can be",
        ),
        ("columns:\n  a:\n    dtype: Int64\n    checks:\n      gt: 5\n      le: 5\n", 5, "No value can be"),
        ("columns:\n  a: {dtype: Int64, checks: {isin: [1, 2], gt: 5}}\n", 2, "None of the values that isin allows"),
        ("columns:\n  a: {dtype: String, checks: {isin: [x], str_length: {min_value: 2}}}\n", 2, "None of the values"),
        ("columns:\n  a: {dtype: String, checks: {isin: [x], str_matches: 'y|z'}}\n", 2, "None of the values"),
        ("columns:\n  a: {dtype: Int64, checks: {ge: x}}\n", 2, "'x' is no value of the type Int64"),
        ("columns:\n  a: {dtype: Int64, checks: {str_matches: x}}\n", 2, "needs a column of text"),
        ("columns:\n  a: {dtype: String, checks: {str_matches: '(?=x)'}}\n", 2, "is no regular expression"),
        ("columns:\n  a: {dtype: String, checks: {unique_values_eq: [x]}}\n", 2, "looks at the whole table"),
        ("columns:\n  a: {dtype: Int64, checks: {gt: {min_value: 1, n_failure_cases: 2}}}\n", 2, "hides failing rows"),
        ("columns:\n  a: {dtype: Int64, checks: {gt: {min_value: 1, raise_warning: true}}}\n", 2, "severity: warn"),
        ("columns:\n  a: {dtype: Int64, coerce: true}\n", 2, "coerce"),
        ("columns:\n  a: {dtype: Int64, parse: [email]}\n", 2, "'email' does not make a number"),
        ("columns:\n  a: {dtype: Int64, parse: [number, trim]}\n", 2, "comes after 'number'"),
        ("columns:\n  a: {dtype: Int64, parse: [trimm]}\n", 2, "'trimm' is not known here; did you mean 'trim'"),
        ("columns:\n  a: {dtype: Datetime, parse: [{timestamp: {zone: Europe/Berln}}]}\n", 2, "Europe/Berlin"),
        ("columns:\n  a: {dtype: Int64}\nrules:\n  - {compare: [a, '<', b]}\n", 4, "has no column 'b'"),
        ("columns:\n  a: {dtype: Int64}\nunique: [aa]\n", 3, "has no column 'aa'; did you mean 'a'?"),
        ("columns:\n  a: {dtype: Int64, when: {b: 1}}\n", 2, "has no column 'b'"),
        ("columns:\n  a: {dtype: Int64, serve: imputed}\n", 2, "serves imputed values and has no 'impute'"),
        ("columns:\n  a: {dtype: String, impute: {method: median}}\n", 2, "median needs a number"),
        ("columns:\n  _a: {dtype: String}\n", 2, "begins with '_'"),
        ("columns:\n  a: {dtype: Int64, rules: {ge: {severity: warn}}}\n", 2, "a has no rule 'ge'"),
    ],
)
def test_a_fault_has_its_line_and_the_nearest_spelling(faults_of: FaultsOf, text: str, line: int, said: str) -> None:
    found = faults_of(text)
    assert any(f"bad.yaml:{line}: " in fault and said in fault for fault in found), found


@pytest.mark.parametrize(
    "column",
    [
        "email: {dtype: String, impute: {method: mode}}",
        "contact: {dtype: String, parse: [email], impute: {method: mode}}",
        "mobile: {dtype: String, parse: [phone], impute: {method: mode}}",
        "phone: {dtype: Int64, impute: {method: median}}",
        "customer_id: {dtype: Int64, impute: {method: median}}",
        "login: {dtype: String, holds: identifier, impute: {method: mode}}",
        "consent_ads: {dtype: Boolean, impute: {method: mode}}",
    ],
)
def test_addresses_identifiers_and_consent_are_never_imputed(faults_of: FaultsOf, column: str) -> None:
    assert any("are never imputed" in fault for fault in faults_of(f"columns:\n  {column}\n"))


def test_all_faults_are_shown_at_once(faults_of: FaultsOf) -> None:
    found = faults_of(
        "columns:\n  a: {dtype: Int64, checks: {ge: x, isinn: 1}}\n  b: {dtype: String, unique: true}\nunique: [c]\n"
    )
    assert len(found) == 3


def test_a_class_that_no_installed_package_brings_is_refused() -> None:
    faults = Faults()
    assert read_contract("contracts_beside_the_job:People", faults) is None
    assert "belongs to no installed package" in faults.found[0]
    assert read_contract("pandera.polars:Check", faults) is None
    assert "is no pandera.polars.DataFrameModel" in faults.found[1]


def test_a_class_of_an_installed_package_is_a_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "acme_contracts"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import pandera.polars as pa\n"
        "import polars as pl\n\n\n"
        "class People(pa.DataFrameModel):\n"
        "    id: str = pa.Field(unique=True)\n"
        "    age: int = pa.Field(le=120, nullable=True,\n"
        "        metadata={'consentry': {'parse': ['trim'], 'severity': 'warn'}})\n\n"
        "    @pa.check('id')\n"
        "    def is_long(cls, data: pa.PolarsData) -> pl.LazyFrame:\n"
        "        return data.lazyframe.select(pl.col('id').str.len_chars() > 3)\n"
    )
    info = tmp_path / "acme_contracts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-contracts\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("acme_contracts\n")
    monkeypatch.syspath_prepend(tmp_path)
    faults = Faults()
    found = read_contract("acme_contracts:People", faults)
    faults.check()
    assert found is not None
    table = arrow.table({"id": ["abcd", "b"], "age": [" 12 ", "130"]})
    rows = Judge(found, found.rules, key=[], carried=[])(table).to_pylist()
    failed = [[found.rules[n].rule_id for n in row["_failed"] or ()] for row in rows]
    assert failed == [[], ["id.is_long", "age.less_than_or_equal_to"]]
    assert [row["_bad"] for row in rows] == [False, True]


def test_every_key_code_and_step_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "validation.md").read_text()
    keys = {*ContractSpec.model_fields, *ColumnSpec.model_fields, *Step.model_fields, *CODES}
    assert not {key for key in keys if f"`{key}" not in text}
