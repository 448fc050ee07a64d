"""What happens to rows as they come in: what is wrong is counted and kept, two spellings become one value."""

from __future__ import annotations

import polars as pl

from consentry.validation.run import Checked
from consentry.warehouse import DuckDBWarehouse
from tests.validation.test_run import PEOPLE, Land, Make, check, codes


def test_missing_values_formats_and_outliers_are_counted_and_their_rows_kept(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    text = PEOPLE.replace("nullable: true, parse: [trim, email]", "parse: [trim, email]")
    land(
        {
            "id": ["a", "b", "c", "d"],
            "age": ["12", "12", "999", "12"],
            "email": [None, "nobody", *["x@example.com"] * 2],
        }
    )
    assert check(warehouse, contract(text)) == Checked(4, 1, 3, {"missing": 1, "not_an_email": 1, "out_of_range": 1})
    assert codes(warehouse) == {1: ["missing"], 2: ["not_an_email"], 3: ["out_of_range"]}


def test_real_time_rules_reject_repair_or_flag_each_row_as_it_comes_in(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    text = """
columns:
  id: {dtype: String}
  email: {dtype: String, parse: [trim, email]}
  age: {dtype: Int64, checks: {in_range: {min_value: 0, max_value: 120}}, severity: warn}
  begins: {dtype: Date}
  ends: {dtype: Date}
rules: [{compare: [begins, "<=", ends]}]
"""
    days = {"begins": ["2026-01-01"] * 4, "ends": ["2026-01-31"] * 3 + ["2025-12-31"]}
    emails = [" ann@EXAMPLE.com ", "bob@example.com", "nobody", "dan@example.com"]
    land(
        {"id": ["repaired", "flagged", "rejected", "reversed"], "email": emails, "age": ["30", "999", "1", "1"], **days}
    )
    found = check(warehouse, contract(text))
    assert (found.clean, codes(warehouse)) == (2, {3: ["not_an_email"], 4: ["inconsistent"]})
    clean = warehouse.sql("SELECT id, email, age FROM clean.crm__people ORDER BY id DESC").to_pylist()
    assert clean[0] == {"id": "repaired", "email": "ann@example.com", "age": 30}
    assert (clean[1]["id"], clean[1]["age"]) == ("flagged", 999)
    failed = "SELECT rule_id FROM ops.rule_result WHERE failed > 0 ORDER BY rule_id"
    assert "age.in_range" in warehouse.sql(failed)["rule_id"].to_pylist()


ONE_SHAPE = """
columns:
  id: {dtype: String}
  day: {dtype: Date, parse: [{date_formats: ["%s"]}]}
  country: {dtype: String, parse: [trim, {country: {names: {Deutschland: DE, Germany: DE}}}]}
  tier: {dtype: String, parse: [trim, lower, {map: {goldkunde: gold}}]}
  phone: {dtype: String, parse: [{phone: {region: GB}}]}
  currency: {dtype: String, parse: [{currency: {names: {"€": EUR}}}]}
  member: {dtype: Boolean, parse: [{boolean: {"true": ["ja", "yes"], "false": ["nein", "no"]}}]}
"""


def test_standardise_across_sources_two_spellings_are_one_value_and_reading_it_again_changes_nothing(
    warehouse: DuckDBWarehouse, contract: Make, land: Land
) -> None:
    german = {
        "id": ["a"], "day": ["31.01.2026"], "country": [" Deutschland"], "tier": ["Goldkunde "],
        "phone": ["07700 900123"], "currency": ["€"], "member": ["Ja"],
    }  # fmt: skip
    english = {
        "id": ["a"], "day": ["01/31/2026"], "country": ["Germany"], "tier": ["GOLD"],
        "phone": ["+44 7700 900123"], "currency": ["eur"], "member": ["yes"],
    }  # fmt: skip
    found = []
    for rows, form in ((german, "%d.%m.%Y"), (english, "%m/%d/%Y")):
        made = contract(ONE_SHAPE % form)
        land(rows, replace=True)
        assert check(warehouse, made, mode="snapshot").quarantined == 0
        once = pl.DataFrame(warehouse.sql("SELECT * EXCLUDE (_rid) FROM clean.crm__people"))
        land(once, replace=True)
        assert check(warehouse, made, mode="snapshot").quarantined == 0
        found += [once.to_dicts(), warehouse.sql("SELECT * EXCLUDE (_rid) FROM clean.crm__people").to_pylist()]
    assert found[0] == found[1] == found[2] == found[3]
    assert [*found[0][0].values()][2:] == ["DE", "gold", "+447700900123", "EUR", True]
