"""A JSON Schema becomes a contract that judges records as the schema does, or is refused with every reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from consentry.cli.main import app
from consentry.config import Faults
from consentry.errors import ConfigError
from consentry.validation.contract import read_contract
from consentry.validation.json_schema import from_json_schema
from consentry.validation.run import validate
from consentry.validation.write import yaml_text
from consentry.warehouse import DuckDBWarehouse

Land = Callable[..., None]
PURCHASE = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "A purchase",
    "type": "object",
    "required": ["order_id", "value", "currency"],
    "properties": {
        "order_id": {"type": "string", "pattern": "^O-", "maxLength": 8},
        "value": {"type": "number", "minimum": 0, "exclusiveMaximum": 10000},
        "currency": {"type": "string", "enum": ["EUR", "USD"]},
        "items": {"type": ["integer", "null"], "minimum": 1},
        "paid_at": {"type": "string", "format": "date-time"},
        "gift": {"type": "boolean"},
    },
}


def drafted(folder: Path, schema: Any) -> dict[str, Any] | None:
    path = folder / "schema.json"
    path.write_text(json.dumps(schema))
    faults = Faults()
    found = from_json_schema(path, faults, name="purchases")
    faults.check()
    return found


def test_json_schema_validation_of_events_puts_bad_rows_in_quarantine(
    tmp_path: Path, warehouse: DuckDBWarehouse, land: Land
) -> None:
    content = drafted(tmp_path, PURCHASE) or {}
    content["columns"]["number"] = {"dtype": "String"}
    contract_file = tmp_path / "contract.yaml"
    contract_file.write_text(yaml_text(content))
    faults = Faults()
    contract = read_contract(contract_file, faults)
    faults.check()
    assert contract is not None
    good = {
        "order_id": "O-1", "value": "12.5", "currency": "EUR", "items": "2", "paid_at": "2026-01-01T00:00:00Z",
        "gift": "true",
    }  # fmt: skip
    bad = [
        {"order_id": "X-1"}, {"order_id": "O-1234567"}, {"order_id": None}, {"value": "-1"}, {"value": "10000"},
        {"value": "much"}, {"currency": "GBP"}, {"items": "0"}, {"items": "1.5"}, {"paid_at": "yesterday"},
        {"gift": "perhaps"},
    ]  # fmt: skip
    rows = [good, {**good, "items": None, "paid_at": None, "gift": None}, *({**good, **wrong} for wrong in bad)]
    land(pl.DataFrame([{**row, "number": str(n)} for n, row in enumerate(rows)]))
    found = validate(warehouse, contract, stream="crm__people", primary_key=["number"], mode="append", run_id="r")
    assert (found.clean, found.quarantined) == (2, len(bad))


def test_a_property_that_is_not_required_may_be_absent_from_the_stream(tmp_path: Path) -> None:
    columns = (drafted(tmp_path, PURCHASE) or {})["columns"]
    assert {name for name, column in columns.items() if column.get("required") is False} == {"items", "paid_at", "gift"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"value": {"type": "number", "multipleOf": 0.01}}, "/properties/value/multipleOf cannot be said"),
        ({"who": {"type": "object", "properties": {}}}, "/properties/who/type has to be one of"),
        ({"who": {"$ref": "#/$defs/person"}}, "/properties/who/$ref cannot be said"),
        ({"who": {"type": "string", "format": "iri"}}, "/properties/who/format is none of"),
        ({"Who Is": {"type": "string"}}, "not a plain lower-case name"),
        ({"who": True}, "/properties/who is no object"),
        ({"who": {"type": ["string", "number"]}}, "/properties/who/type has to be one of"),
    ],
)
def test_what_a_contract_cannot_say_is_a_fault_with_its_place(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        drafted(tmp_path, {**PURCHASE, "properties": {**PURCHASE["properties"], **change}})  # type: ignore[dict-item]
    assert any(sentence in fault for fault in refused.value.faults)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', '{"type": "array"}', "[" * 100_000])
def test_a_file_that_is_no_schema_of_records_is_a_fault(tmp_path: Path, text: str) -> None:
    path = tmp_path / "schema.json"
    path.write_text(text)
    faults = Faults()
    assert from_json_schema(path, faults, name="x") is None
    with pytest.raises(ConfigError):
        faults.check()


def test_the_command_writes_a_contract_that_can_be_read(tmp_path: Path) -> None:
    path, out = tmp_path / "schema.json", tmp_path / "contract.yaml"
    path.write_text(json.dumps(PURCHASE))
    told = CliRunner().invoke(app, ["contract", "from-schema", str(path), "--out", str(out)])
    assert told.exit_code == 0
    faults = Faults()
    assert read_contract(out, faults) is not None
    faults.check()
