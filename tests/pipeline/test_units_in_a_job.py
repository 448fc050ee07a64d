"""Units in a whole job: sources that mean one name agree, or are converted into the unit that the job wants."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import yaml

from consentry.errors import ConfigError
from consentry.pipeline.canonical import write_canonical
from consentry.pipeline.explain import explain_plan
from consentry.pipeline.inspect import discover_job
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import PEOPLE, TinyJob, email

GRAMS = ((1, 1500), (2, 250))
KILOS = ((3, 2.5), (4, 0.7))


def weighing(job: TinyJob, *, crm: str | None, shop: str | None, **more: Any) -> TinyJob:
    """Let the CRM say what parcels weigh, and a shop, and the shop how long calls took."""
    job.spec["sources"]["crm"]["streams"]["people"]["map"]["weight"] = "weight"
    stream = deepcopy(job.spec["sources"]["crm"]["streams"]["people"])
    stream |= {"contract": "contracts/parcels.yaml", "options": {"path": "parcels.csv"}, "updated_at": None}
    stream |= {"identifiers": {"email": "email"}, "map": {"weight": "kilos"}}
    job.spec["sources"]["shop"] = {"type": "files", "connection": {"folder": "."}, "streams": {"parcels": stream}}
    job.spec |= more
    texts = {name: {"dtype": "String"} for name in ("id", "email")}
    contract(job, "people", weight=number(crm))
    contract(job, "parcels", **texts, kilos=number(shop))
    contract(job, "profile", weight=number(None))
    rows = [f"{n},{email(n)},{kilos}" for n, kilos in KILOS]
    (job.folder / "parcels.csv").write_text("\n".join(["id,email,kilos", *rows]) + "\n")
    header, *people = (job.folder / "people.csv").read_text().splitlines()
    grams = dict(GRAMS)
    lines = [f"{line},{grams.get(n, '')}" for n, line in enumerate(people)]
    (job.folder / "people.csv").write_text("\n".join([f"{header},weight", *lines]) + "\n")
    job.write()
    return job


def number(unit: str | None, dtype: str = "Float64") -> dict[str, Any]:
    return {"dtype": dtype, "nullable": True, **({"unit": unit} if unit else {})}


def contract(job: TinyJob, name: str, **columns: Any) -> None:
    path = job.folder / "contracts" / f"{name}.yaml"
    content = yaml.safe_load(path.read_text()) if path.exists() else {"name": name, "version": 1, "columns": {}}
    content["columns"] |= columns
    path.write_text(yaml.safe_dump(content))


def refused(job: TinyJob) -> str:
    with pytest.raises(ConfigError) as told:
        load_job(job.path)
    return str(told.value)


def test_sources_of_one_unit_are_one_name_in_whatever_spelling(tiny: TinyJob) -> None:
    loaded = load_job(weighing(tiny, crm="kg", shop="kilogram").path)
    assert (loaded.unified.units, loaded.unified.conversions) == ({"weight": "kg"}, {})


def test_two_units_are_refused_with_what_to_write(tiny: TinyJob) -> None:
    told = refused(weighing(tiny, crm="g", shop="kg"))
    assert "'weight' is in kg in shop.parcels, and in crm.people it is in g." in told
    assert "Say under 'units' which it shall be, such as weight: g; the others are converted." in told
    line = int(told.partition("job.yaml:")[2].partition(":")[0])
    assert tiny.path.read_text().splitlines()[line - 1].strip() == "weight: kilos"


def test_a_source_that_says_no_unit_is_refused_beside_one_that_does(tiny: TinyJob) -> None:
    told = refused(weighing(tiny, crm=None, shop="kg"))
    assert "'weight' has no unit in crm.people, and in shop.parcels it is in kg." in told
    assert "Add 'unit' to contracts/people.yaml." in told


def test_a_name_that_the_job_wants_in_a_unit_needs_one_in_every_source(tiny: TinyJob) -> None:
    told = refused(weighing(tiny, crm=None, shop=None, units={"weight": "kg"}))
    assert told.count("has no unit in") == 2 and "'units' wants it in kg" in told


def test_unified_schema_refuses_two_currencies_under_one_name(tiny: TinyJob) -> None:
    told = refused(weighing(tiny, crm="EUR", shop="USD", units={"weight": "EUR"}))
    assert "'weight' is in USD in shop.parcels, and 'units' wants it in EUR." in told
    assert "One currency never becomes another here: give each a name of its own." in told


def test_what_measures_something_else_is_refused_under_one_name(tiny: TinyJob) -> None:
    assert "measures something else" in refused(weighing(tiny, crm="kg", shop="cm"))


def test_a_unit_and_a_name_that_nobody_knows_are_told_with_the_nearest(tiny: TinyJob) -> None:
    told = refused(weighing(tiny, crm="kg", shop="kg", units={"wieght": "kg", "age": "yearr"}))
    assert "No source brings 'wieght'; did you mean 'weight'?" in told
    assert "The unit 'yearr' is not known; did you mean 'year'?" in told


def test_a_converted_whole_number_is_no_whole_number_any_more(tiny: TinyJob) -> None:
    weighing(tiny, crm="g", shop="kg", units={"weight": "kg"})
    contract(tiny, "parcels", kilos=number("kg", "Int32"))
    assert "'weight' is integer here and number in crm.people" in refused(tiny)


def test_a_profile_that_has_another_unit_than_its_sources_is_refused(tiny: TinyJob) -> None:
    weighing(tiny, crm="kg", shop="kg")
    contract(tiny, "profile", weight=number("g"))
    assert "The profile contract has 'weight' in g, and its sources give it in kg." in refused(tiny)
    contract(tiny, "people", weight=number(None))
    contract(tiny, "parcels", kilos=number(None))
    assert "and no source says its unit" in refused(tiny)


def timing(job: TinyJob, kind: str, **units: str) -> TinyJob:
    """Let two streams of calls say how long they took, each in a unit of its own."""
    job.spec["events"] = {"call": {"took": kind}}
    streams = {}
    for name, (column, value) in {"desk": ("minutes", 1.5), "mobile": ("seconds", 45)}.items():
        stream = {"entity": "event", "contract": f"contracts/{name}.yaml", "primary_key": "id", "occurred_at": "at"}
        stream |= {"options": {"path": f"{name}.csv"}, "identifiers": {"email": "email"}, "event": {"name": "call"}}
        streams[name] = stream | {"properties": {"took": column}}
        texts = {each: {"dtype": "String"} for each in ("id", "email")}
        contract(job, name, **texts, at={"dtype": "Datetime"}, **{column: number(units.get(name))})
        row = f"{name},{email(1)},2026-01-31T10:00:00Z,{value}"
        (job.folder / f"{name}.csv").write_text(f"id,email,at,{column}\n{row}\n")
    job.spec["sources"]["phones"] = {"type": "files", "connection": {"folder": "."}, "streams": streams}
    job.spec["units"] = {"call.took": "s"}
    segment(job, "talkers", "sum(call.took) == 135")
    job.write()
    return job


def segment(job: TinyJob, name: str, rule: str) -> None:
    text = yaml.safe_dump({"segment": name, "description": "t", "purpose": "news", "rule": rule})
    (job.folder / "segments" / f"{name}.yaml").write_text(text)


def test_unified_schema_converts_into_the_unit_that_the_job_wants_whatever_the_order(tiny: TinyJob) -> None:
    timing(weighing(tiny, crm="g", shop="kg"), "number", desk="min", mobile="second")
    tiny.spec["units"]["weight"] = "kg"
    contract(tiny, "profile", weight=number("kg"))
    segment(tiny, "heavy", "weight >= 0.7")
    tiny.write()
    plan = make_plan(load_job(tiny.path))
    said = "\n".join(explain_plan(plan)["sentences"])
    assert "crm.people: converts weight into kg" in said and "measured in: weight kg, call.took s" in said

    assert run(plan, Silent())["segments"] == {"adults": PEOPLE, "heavy": 3, "talkers": 1}
    warehouse = DuckDBWarehouse(tiny.folder / "state" / "warehouse.duckdb")
    query = "SELECT record_id, weight FROM clean.customer WHERE weight IS NOT NULL ORDER BY weight"
    found = warehouse.sql(query)
    assert found["weight"].to_pylist() == [0.25, 0.7, 1.5, 2.5]
    tiny.spec["sources"] = dict(reversed(tiny.spec["sources"].items()))
    loaded = load_job(tiny.write())
    write_canonical(warehouse, loaded.job, loaded.unified.conversions)
    assert warehouse.sql(query) == found
    warehouse.close()


def test_discover_shows_the_units_that_contracts_state(tiny: TinyJob) -> None:
    found = discover_job(load_job(weighing(tiny, crm="kg", shop="kg").path))
    assert {row["stream"]: row["units"] for row in found if row["units"]} == {
        "people": {"weight": "kg"},
        "parcels": {"kilos": "kg"},
    }


def test_a_property_that_is_converted_or_measured_has_to_be_a_number(tiny: TinyJob) -> None:
    told = refused(timing(tiny, "integer", desk="min", mobile="s"))
    assert "'call.took' is converted into s, which gives fractions. Make it a number." in told
    tiny.spec["events"] = {"call": {"took": "text"}}
    (tiny.folder / "segments" / "talkers.yaml").unlink()
    tiny.write()
    assert "'call.took' has a unit and is text. Make it a number." in refused(tiny)


def test_a_property_in_json_needs_a_column_to_have_a_unit(tiny: TinyJob) -> None:
    timing(tiny, "number", desk="min", mobile="s")
    stream = tiny.spec["sources"]["phones"]["streams"]["mobile"]
    del stream["properties"]
    stream["properties_json"] = "more"
    contract(tiny, "mobile", more={"dtype": "String", "nullable": True})
    tiny.write()
    assert "Add a column to contracts/mobile.yaml, with its 'unit'." in refused(tiny)
