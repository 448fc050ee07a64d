"""Contracts written from what columns mean, tried on tables of which every wrong cell is known."""

from __future__ import annotations

import json
from collections.abc import Callable

import polars as pl
import pytest

from consentry.errors import StopRun
from consentry.validation.contract import Contract
from consentry.validation.run import Checked, validate
from consentry.warehouse import DuckDBWarehouse
from tests.validation.dirty import Cell, Dirty, arrivals, brews, clinics, quality_of

Make = Callable[[str], Contract]
Land = Callable[..., None]
FaultsOf = Callable[[str], list[str]]

CLINICS = r"""
columns:
  provider: {dtype: String, checks: {str_matches: '^\d{5}$'}}
  name: {dtype: String, depends_on: provider}
  zip: {dtype: String, checks: {str_matches: '^\d{5}$'}, depends_on: provider}
  city: {dtype: String, checks: {str_matches: '^\S(.*\S)?$'}, depends_on: [{on: provider}, {on: zip}], typos: {}}
  state: {dtype: String, checks: {isin: [na, nb, nc]}, depends_on: provider}
  phone: {dtype: String, parse: [{null_tokens: [empty]}], checks: {str_matches: '^\d{10}$'}, depends_on: provider}
  code: {dtype: String, checks: {isin: [hf-1, hf-2, pn-2, pn-6, scip-1]}}
  measure: {dtype: String, depends_on: code, typos: {}}
  average: {dtype: String, depends_on: [state, code]}
  score: {dtype: Float64, parse: [percent], checks: {in_range: {min_value: 0, max_value: 1}}}
"""
ARRIVALS = r"""
columns:
  page: {dtype: String}
  flight: {dtype: String}
  leaves: {dtype: String, checks: {str_matches: '^\d{1,2}:\d{2} [ap]\.m\.$'}, depends_on: flight}
  lands: {dtype: String, checks: {str_matches: '^\d{1,2}:\d{2} [ap]\.m\.$'}, depends_on: flight}
"""
BREWS = r"""
columns:
  id: {dtype: Int64}
  style: {dtype: String, typos: {}}
  ounces: {dtype: Float64, checks: {in_range: {min_value: 1, max_value: 40}}}
  abv: {dtype: Float64, checks: {in_range: {min_value: 0, max_value: 0.2}}}
  ibu: {dtype: Int64, parse: [{null_tokens: [N/A]}], checks: {in_range: {min_value: 0, max_value: 200}}}
  brewery: {dtype: String}
  city: {dtype: String, checks: {str_matches: '^\D+\d$'}, depends_on: brewery}
  state: {dtype: String, checks: {isin: [NA, NB]}, depends_on: brewery}
"""


def check(warehouse: DuckDBWarehouse, contract: Contract, run: str = "run", key: str = "") -> Checked:
    names = [key] if key else []
    return validate(warehouse, contract, stream="crm__people", primary_key=names, mode="append", run_id=run)


def found_cells(warehouse: DuckDBWarehouse) -> set[Cell]:
    rows = warehouse.sql("SELECT _rid, reasons FROM quarantine.crm__people WHERE status = 'open'").to_pylist()
    return {(row["_rid"] - 1, reason["column"]) for row in rows for reason in json.loads(row["reasons"])}


@pytest.mark.parametrize(
    ("made", "text", "precision", "recall"),
    [(clinics(), CLINICS, 0.94, 0.93), (arrivals(), ARRIVALS, 0.99, 0.94), (brews(), BREWS, 0.99, 0.97)],
    ids=["clinics", "arrivals", "brews"],
)
def test_wrong_cells_are_found_and_sound_ones_left_alone(
    warehouse: DuckDBWarehouse,
    contract: Make,
    land: Land,
    made: Dirty,
    text: str,
    precision: float,
    recall: float,
) -> None:
    land(pl.DataFrame(made.rows))
    checked = check(warehouse, contract(text))
    assert checked.rows_in == checked.clean + checked.quarantined == len(made.rows)
    told = quality_of(found_cells(warehouse), made.wrong)
    assert told["precision"] >= precision and told["recall"] >= recall, told


TOWN = """
columns:
  id: {dtype: String}
  zip: {dtype: String, nullable: true}
  city: {dtype: String, nullable: true, %s}
"""


def bad(warehouse: DuckDBWarehouse) -> list[int]:
    found = warehouse.sql("SELECT _rid FROM quarantine.crm__people WHERE status = 'open' ORDER BY 1")
    rids: list[int] = found["_rid"].to_pylist()
    return rids


def test_a_tie_and_a_missing_value_decide_nothing(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    zips = ["1"] * 4 + ["2"] * 4 + [None] * 3
    cities = ["a", "a", "b", "b", "a", "a", "b", None, "a", "a", "b"]
    land({"id": [str(n) for n in range(11)], "zip": zips, "city": cities})
    check(warehouse, contract(TOWN % "depends_on: zip"), key="id")
    assert bad(warehouse) == [7]


def test_a_lesser_majority_can_be_declared_to_be_enough(warehouse: DuckDBWarehouse, contract: Make, land: Land) -> None:
    land({"id": list("abcde"), "zip": ["1"] * 5, "city": ["x", "x", "p", "q", "r"]})
    check(warehouse, contract(TOWN % "depends_on: {on: zip, share: 0.3}"), key="id")
    assert bad(warehouse) == [3, 4, 5]


def test_rows_of_earlier_loads_have_a_vote_unless_they_are_replaced(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    made = contract(TOWN % "depends_on: zip")
    land({"id": list("abc"), "zip": ["1"] * 3, "city": ["x"] * 3})
    check(warehouse, made, "one", key="id")
    land({"id": ["d"], "zip": ["1"], "city": ["y"]}, first=4)
    check(warehouse, made, "two", key="id")
    assert bad(warehouse) == [4]
    land({"id": list("abc"), "zip": ["1"] * 3, "city": ["y"] * 3}, first=5)
    check(warehouse, made, "three", key="id")
    assert bad(warehouse) == [4]
    assert set(warehouse.sql("SELECT city FROM clean.crm__people")["city"].to_pylist()) == {"y"}


def test_a_rare_word_that_is_nearly_a_frequent_one_is_a_slip(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    words = ["aldermoor"] * 20 + ["aldexmoor", "castlewick", "alder"] + ["oak"] * 20 + ["oat"]
    land({"id": [str(n) for n in range(len(words))], "zip": [None] * len(words), "city": words})
    found = check(warehouse, contract(TOWN % "typos: {}"), key="id")
    assert bad(warehouse) == [21]
    assert found.reasons == {"near_miss": 1}


def test_a_column_of_names_is_no_column_for_slips(
    warehouse: DuckDBWarehouse, contract: Make, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consentry.validation.majority.MOST_PAIRS", 3)
    words = ["aldermoor"] * 20 + ["one", "two", "three"]
    land({"id": [str(n) for n in range(len(words))], "zip": [None] * len(words), "city": words})
    with pytest.raises(StopRun, match=r"city.typos would compare 4 words with 1"):
        check(warehouse, contract(TOWN % "typos: {}"), key="id")


ORDERS = """
columns:
  id: {dtype: String}
  amount: {dtype: Float64, nullable: true}
  price: {dtype: Float64, nullable: true}
  text: {dtype: String, nullable: true}
rules:
  - {expression: "%s", rule_id: agree, sentence: The amount is three times the price.}
"""


def test_any_expression_over_a_row_is_a_rule_and_a_missing_value_breaks_none(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    land({"id": list("abc"), "amount": ["6", "7", None], "price": ["2", "2", "2"], "text": ["", "", ""]})
    check(warehouse, contract(ORDERS % "abs(amount - 3 * price) < 0.01"), key="id")
    row = warehouse.sql("SELECT _rid, reasons FROM quarantine.crm__people").to_pylist()[0]
    told = {"rule_id": "agree", "column": "amount, price", "code": "inconsistent"}
    assert (row["_rid"], json.loads(row["reasons"])) == (
        2,
        [told | {"sentence": "The amount is three times the price."}],
    )


def test_an_expression_that_fails_on_a_row_stops_the_run_and_shows_no_value(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    land({"id": ["a"], "amount": ["6"], "price": ["2"], "text": ["canary"]})
    with pytest.raises(StopRun, match="The rule agree of contract cannot be worked out") as refusal:
        check(warehouse, contract(ORDERS % "cast(text as int) > 3"), key="id")
    assert "canary" not in str(refusal.value) and refusal.value.__context__ is None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("rules: [{expression: 'amount >'}]", "is no expression that can be worked out"),
        ("rules: [{expression: 'amountt > 1'}]", "no column 'amountt'; did you mean 'amount'?"),
        ("rules: [{expression: 'amount + 1'}]", "is not true or false"),
        ("rules: [{expression: 'sum(amount) > 1'}]", "does not speak of one row"),
        ("rules: [{expression: 'amount > avg(amount) over (partition by id)'}]", "does not speak of one row"),
        ("rules: [{expression: '1 = 1'}]", "does not speak of one row"),
        ("rules: [{expression: 'amount > 1', compare: [id, '<', id]}]", "either 'compare' or 'expression'"),
        ("rules: [{rule_id: nothing}]", "either 'compare' or 'expression'"),
    ],
)
def test_an_expression_that_is_no_rule_about_one_row_is_a_fault(faults_of: FaultsOf, line: str, told: str) -> None:
    faults = faults_of(f"columns:\n  id: {{dtype: String}}\n  amount: {{dtype: Float64}}\n{line}\n")
    assert len(faults) == 1 and told in faults[0]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("depends_on: zipp", "no column 'zipp'; did you mean 'zip'?"),
        ("depends_on: city", "city cannot depend on itself"),
        ("depends_on: {on: zip, share: 1}", "less than 1"),
        ("rules: {by.zap: {severity: warn}}, depends_on: zip", "city has no rule 'by.zap'; did you mean 'by.zip'?"),
    ],
)
def test_a_dependency_that_makes_no_sense_is_a_fault(faults_of: FaultsOf, settings: str, told: str) -> None:
    (fault,) = faults_of(TOWN % settings)
    assert told in fault


def test_slips_are_looked_for_in_text_alone(faults_of: FaultsOf) -> None:
    (fault,) = faults_of("columns:\n  age: {dtype: Int64, typos: {}}\n")
    assert "typos needs a column of text" in fault
