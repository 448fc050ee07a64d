"""What a job collects, seen through one whole run: a test for each capability, named after it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from consentry.errors import ConfigError
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import PEOPLE, TinyJob, email, make_tiny, person

AS_OF = "2026-02-01T00:00:00Z"
PROFILE_ID = "7d444840-9dc0-11d1-b245-5ffdce74fad2"


def event(number: int, name: str, hour: int, **properties: Any) -> dict[str, Any]:
    """Return what a collector wrote down: one call of a website, at an hour of the last day."""
    return {
        "message_id": f"m{number}-{name}-{hour}",
        "name": name,
        "at": f"2026-01-31T{hour:02d}:00:00Z",
        "email": email(number),
        "device": properties.pop("device", "mobile"),
        "hour_local": str(hour),
        "utm_source": properties.pop("utm_source", "newsletter"),
        "properties": json.dumps(properties),
    }


def column(kind: str, **more: Any) -> dict[str, Any]:
    return {"dtype": kind, "nullable": True, **more}


CALLS = [
    *(event(n, "video_played", hour) for n in range(10) for hour in range(1, 4)),
    *(event(n, "scrolled", 20, depth=n * 10) for n in range(10)),
    event(11, "scrolled", 9, depth=90, device="desktop"),
    event(12, "scrolled", 9, utm_source="newslettr"),
]
RULES = {
    "viewers": "count(video_played, last 1 day) >= 3",
    "readers": "count(scrolled where depth >= 50, last 1 day) >= 1",
    "evenings": "count(scrolled where device == 'mobile' and hour_local between 18 and 22, last 1 day) >= 1",
    "scored": "behavioral_score >= 50",
}


def collecting(folder: Path) -> TinyJob:
    """Write a job that collects people with a score and a profile id, and the calls of a website."""
    folder.mkdir(exist_ok=True)
    job = make_tiny(folder)
    job.spec["sources"]["web"] = {
        "type": "files",
        "connection": {"folder": "."},
        "streams": {
            "calls": {
                "entity": "event",
                "contract": "contracts/calls.yaml",
                "primary_key": "message_id",
                "options": {"path": "calls*.jsonl"},
                "event": {"column": "name"},
                "occurred_at": "at",
                "identifiers": {"email": "email"},
                "properties": {"device": "device", "hour_local": "hour_local"},
                "properties_json": "properties",
            }
        },
    }
    job.spec["events"] = {
        "video_played": {"device": "text", "hour_local": "integer"},
        "scrolled": {"device": "text", "hour_local": "integer", "depth": "number"},
    }
    people = job.spec["sources"]["crm"]["streams"]["people"]
    people["identifiers"]["user_id"] = "user_id"
    people["map"] |= {"behavioral_score": "behavioral_score", "interests": "interests"}
    calls = {
        **{name: column("String") for name in ("message_id", "name", "email", "device", "properties")},
        "at": column("Datetime"),
        "hour_local": column("Int32"),
        "utm_source": column("String", checks={"isin": ["newsletter", "search"]}),
    }
    contract(job, "calls", calls)
    contract(
        job, "people", {"user_id": column("String"), "behavioral_score": column("Int32"), "interests": column("String")}
    )
    contract(job, "profile", {"behavioral_score": column("Int32")})
    for name, rule in RULES.items():
        text = yaml.safe_dump({"segment": name, "description": "t", "purpose": "news", "rule": rule})
        (folder / "segments" / f"{name}.yaml").write_text(text)
    rows = [
        {
            **person(n),
            "user_id": PROFILE_ID[:-2] + f"{n:02d}",
            "behavioral_score": str(n * 2),
            "interests": json.dumps({"sport": n % 2 == 0}),
        }
        for n in range(PEOPLE)
    ]
    header = ",".join(rows[0])
    lines = [",".join('"' + str(value).replace('"', '""') + '"' for value in row.values()) for row in rows]
    (folder / "people.csv").write_text("\n".join([header, *lines]) + "\n")
    write_calls(job, CALLS)
    job.write()
    return job


def contract(job: TinyJob, name: str, columns: dict[str, Any]) -> None:
    path = job.folder / "contracts" / f"{name}.yaml"
    content = yaml.safe_load(path.read_text()) if path.exists() else {"name": name, "version": 1, "columns": {}}
    content["columns"] |= columns
    path.write_text(yaml.safe_dump(content))


def write_calls(job: TinyJob, calls: list[dict[str, Any]], name: str = "calls") -> None:
    (job.folder / f"{name}.jsonl").write_text("".join(json.dumps(call) + "\n" for call in calls))


def members(warehouse: DuckDBWarehouse) -> dict[str, int]:
    rows = warehouse.sql("SELECT segment, count(*) AS n FROM segment.membership GROUP BY segment").to_pylist()
    return {row["segment"]: row["n"] for row in rows}


def done(job: TinyJob) -> dict[str, int]:
    """Run a job and return how many people each segment has."""
    run(make_plan(load_job(job.path)), Silent())
    warehouse = DuckDBWarehouse(load_job(job.path).state / "warehouse.duckdb")
    found = members(warehouse)
    warehouse.close()
    return found


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBWarehouse]:
    job = collecting(tmp_path_factory.mktemp("collected"))
    run(make_plan(load_job(job.path)), Silent())
    warehouse = DuckDBWarehouse(load_job(job.path).state / "warehouse.duckdb")
    yield warehouse
    warehouse.close()


def test_event_tracking_and_custom_events(collected: DuckDBWarehouse) -> None:
    assert members(collected)["viewers"] == 10
    assert members(collected)["readers"] == 6


def test_contextual_factors_can_be_named_in_where(collected: DuckDBWarehouse) -> None:
    assert members(collected)["evenings"] == 10


def test_data_schema_with_user_id_behavioral_score_and_attributes_as_json(collected: DuckDBWarehouse) -> None:
    assert members(collected)["scored"] == 15
    assert collected.count("clean.customer") == PEOPLE


def test_profile_database_of_canonical_tables(collected: DuckDBWarehouse) -> None:
    assert all(collected.count(f"clean.{table}") for table in ("customer", "event__scrolled", "form__consents", "link"))


def test_consistent_utm_and_tags_fail_on_unknown_values(collected: DuckDBWarehouse) -> None:
    reasons = collected.sql("SELECT reasons FROM quarantine.web__calls")["reasons"].to_pylist()
    assert ["utm_source" in reason and "not_allowed" in reason for reason in reasons] == [True]


def test_psychographics_are_no_attribute_unless_the_profile_names_them(collected: DuckDBWarehouse) -> None:
    columns = set(collected.sql("SELECT * FROM profile.person LIMIT 0").column_names)
    assert "behavioral_score" in columns
    assert "interests" not in columns


def test_unified_profile_of_all_source_ids_with_a_log(collected: DuckDBWarehouse) -> None:
    query = "SELECT count(DISTINCT m.person_id) AS people, count(*) AS records FROM identity.membership m"
    found = collected.sql(f"{query} WHERE m.valid_to_run IS NULL").to_pylist()[0]
    assert found["people"] == PEOPLE
    assert found["records"] > PEOPLE
    assert collected.sql("SELECT count(*) AS n FROM identity.identity_event")["n"][0].as_py() >= PEOPLE


def test_journey_across_sessions_and_devices_is_one_person(collected: DuckDBWarehouse) -> None:
    query = "SELECT count(DISTINCT device) AS n FROM profile.event__scrolled"
    assert collected.sql(query)["n"][0].as_py() == 2
    assert collected.sql("SELECT count(DISTINCT person_id) AS n FROM profile.event__scrolled")["n"][0].as_py() == 11


def test_id_mapping_goes_both_ways(collected: DuckDBWarehouse) -> None:
    one = collected.sql("SELECT person_id FROM identity.membership WHERE record_id = 'crm:3'")["person_id"][0].as_py()
    back = collected.sql("SELECT record_id FROM identity.membership WHERE person_id = $one", one=one)["record_id"]
    assert "crm:3" in back.to_pylist()


@pytest.mark.slow
def test_server_side_tracking_counts_an_event_delivered_twice_once(tmp_path: Path) -> None:
    job = collecting(tmp_path / "job")
    write_calls(job, CALLS, "calls-again")
    assert done(job) == {"adults": PEOPLE, "viewers": 10, "readers": 6, "evenings": 10, "scored": 15}
    warehouse = DuckDBWarehouse(load_job(job.path).state / "warehouse.duckdb")
    assert warehouse.count("clean.web__calls") == len(CALLS) - 1
    warehouse.close()


@pytest.mark.slow
@pytest.mark.parametrize("offset", [0, 17, 40])
def test_stream_input_replayed_from_any_offset_gives_identical_memberships(tmp_path: Path, offset: int) -> None:
    job = collecting(tmp_path / "job")
    first = done(job)
    write_calls(job, CALLS[offset:], "calls-replayed")
    assert done(job) == first


def test_ip_geolocation_and_fingerprint_are_off_without_a_consent_purpose(tmp_path: Path) -> None:
    job = collecting(tmp_path / "job")
    job.spec["syncs"]["adults"]["fields"] = {"city": "geo_city"}
    job.write()
    with pytest.raises(ConfigError, match="geo_city"):
        load_job(job.path)


def test_unified_data_schema_refuses_two_types_for_one_name(tmp_path: Path) -> None:
    job = collecting(tmp_path / "job")
    contract(job, "more", {"id": column("String"), "email": column("String"), "age": column("Datetime")})
    streams = job.spec["sources"]["crm"]["streams"]
    streams["more"] = {
        **deepcopy(streams["people"]),
        "contract": "contracts/more.yaml",
        "updated_at": None,
        "identifiers": {"email": "email"},
        "map": {"age": "age"},
    }
    (job.folder / "more.csv").write_text("id,email,age\n")
    job.write()
    with pytest.raises(ConfigError, match="'age' is timestamp here and integer in"):
        load_job(job.path)


@pytest.mark.slow
def test_batch_input_from_files_is_incremental(tmp_path: Path) -> None:
    job = collecting(tmp_path / "job")
    done(job)
    write_calls(job, [event(n, "video_played", 5) for n in range(20, 24) for _ in (1,)], "calls-2")
    write_calls(job, [event(n, "video_played", hour) for n in range(20, 24) for hour in (6, 7)], "calls-3")
    assert done(job)["viewers"] == 14
