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
from consentry.testing.memory import Audiences
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import PEOPLE, TinyJob, copy_of, email, make_tiny, person

AS_OF = "2026-02-01T00:00:00Z"
PROFILE_ID = "7d444840-9dc0-11d1-b245-5ffdce74fad2"


def event(number: int, name: str, hour: int, **properties: Any) -> dict[str, Any]:
    """Return what a collector wrote down: one call of a website, at an hour of the last day."""
    return {
        "message_id": f"m{number}-{name}-{hour}",
        "name": name,
        "at": f"2026-01-31T{hour:02d}:00:00Z",
        "email": properties.pop("email", email(number)),
        "anonymous_id": properties.pop("anonymous_id", None),
        "ip": f"203.0.113.{number}",
        "fingerprint": f"canvas-{number:04d}",
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
    # Two on a telephone that nobody has signed in on yet, one at a desk by somebody who has.
    *(event(40, "video_played", hour, email=None, anonymous_id="phone-1") for hour in (6, 7)),
    event(30, "video_played", 8, anonymous_id="desk-1", device="desktop"),
]
SIGNED_IN = event(30, "scrolled", 9, anonymous_id="phone-1")
CALL_TEXTS = ("message_id", "name", "email", "anonymous_id", "ip", "fingerprint", "device", "properties")
RULES = {
    "viewers": "count(video_played, last 1 day) >= 3",
    "readers": "count(scrolled where depth >= 50, last 1 day) >= 1",
    "evenings": "count(scrolled where device == 'mobile' and hour_local between 18 and 22, last 1 day) >= 1",
    "scored": "behavioral_score >= 50",
    "engaged": "band.engagement == 'hot'",
    "film_lovers": "score.film_affinity >= 2",
}
FOUND = {
    "adults": PEOPLE, "viewers": 10, "readers": 6, "evenings": 10, "scored": 15,
    "engaged": 10, "film_lovers": 11, "viewer": 12, "prospect": PEOPLE - 11,
}  # fmt: skip
COMPUTED = """\
scores:
  - score: engagement
    description: Ten for a film, one for a page that was read
    points: [{value: count(video_played), points: 10}, {value: count(scrolled), points: 1}]
    bands: {cold: 0, warm: 10, hot: 30}
  - score: film_affinity
    description: Films of the last week
    points: [{value: "count(video_played, last 7 days)", points: 1}]
groups: [{name: stage, fallback: prospect}]
segments:
  - segment: viewer
    description: Has watched something
    purpose: news
    rule: count(video_played) >= 1
    group: {name: stage, priority: 1}
  - {segment: prospect, description: Has not, purpose: news}
"""


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
                "identifiers": {"email": "email", "anonymous_id": "anonymous_id"},
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
        **{name: column("String") for name in CALL_TEXTS},
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
    (folder / "segments" / "computed.yaml").write_text(COMPUTED)
    write_profiles(job, [profile(n) for n in range(PEOPLE)])
    write_calls(job, CALLS)
    job.write()
    return job


def profile(number: int, **more: str) -> dict[str, str]:
    """Return a person as a profile database keeps them: a UUID, attributes as JSON, a score."""
    known = {
        "user_id": PROFILE_ID[:-2] + f"{number:02d}",
        "behavioral_score": str(number * 2),
        "interests": json.dumps({"sport": number % 2 == 0}),
    }
    return {**person(number), **known, **more}


def write_profiles(job: TinyJob, rows: list[dict[str, str]]) -> None:
    header = ",".join(rows[0])
    lines = [",".join('"' + str(value).replace('"', '""') + '"' for value in row.values()) for row in rows]
    (job.folder / "people.csv").write_text("\n".join([header, *lines]) + "\n")


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


def store_of(job: TinyJob) -> DuckDBWarehouse:
    return DuckDBWarehouse(load_job(job.path).state / "warehouse.duckdb")


def done(job: TinyJob) -> dict[str, int]:
    """Run a job and return how many people each segment has."""
    run(make_plan(load_job(job.path)), Silent())
    warehouse = DuckDBWarehouse(load_job(job.path).state / "warehouse.duckdb")
    found = members(warehouse)
    warehouse.close()
    return found


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> tuple[TinyJob, TinyJob]:
    """The job after its first run, and a copy to go on with."""
    job = collecting(tmp_path_factory.mktemp("collected"))
    assert done(job) == FOUND
    return job, copy_of(job, tmp_path_factory.mktemp("later"))


@pytest.fixture(scope="module")
def collected(jobs: tuple[TinyJob, TinyJob]) -> Iterator[DuckDBWarehouse]:
    """What the first run left."""
    warehouse = store_of(jobs[0])
    yield warehouse
    warehouse.close()


@pytest.fixture(scope="module")
def later(jobs: tuple[TinyJob, TinyJob]) -> Iterator[DuckDBWarehouse]:
    """What a second run left: every call came again, somebody signed in on a telephone, somebody has two records."""
    job = jobs[1]
    write_calls(job, [*CALLS, SIGNED_IN], "calls-later")
    write_profiles(job, [*(profile(n) for n in range(PEOPLE)), profile(3, id="103")])
    run(make_plan(load_job(job.path)), Silent())
    warehouse = store_of(job)
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
    assert collected.count("quarantine.crm__people") == 0
    known = "SELECT count(*) AS n FROM identity.identifier WHERE type = 'user_id' AND status = 'ok'"
    assert collected.sql(known)["n"][0].as_py() == PEOPLE
    kept = collected.sql("SELECT interests FROM clean.customer WHERE record_id = 'crm:4'")["interests"][0].as_py()
    assert json.loads(kept) == {"sport": True}


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
    assert found["people"] == PEOPLE + 1  # and whoever has not signed in on the telephone
    assert found["records"] > PEOPLE
    assert collected.sql("SELECT count(*) AS n FROM identity.identity_event")["n"][0].as_py() >= PEOPLE


def test_journey_across_sessions_and_devices_is_one_person_once_they_sign_in(later: DuckDBWarehouse) -> None:
    query = (
        "SELECT count(*) AS films, count(DISTINCT device) AS devices FROM profile.event__video_played e"
        " JOIN identity.membership m ON m.person_id = e.person_id AND m.valid_to_run IS NULL"
        " JOIN segment.membership s ON s.person_id = e.person_id AND s.segment = 'viewers'"
        " WHERE m.record_id = 'crm:30'"
    )
    # Three films make a viewer: two of the telephone and one of the desk, of one person now.
    assert later.sql(query).to_pylist() == [{"films": 3, "devices": 2}]
    assert members(later)["viewers"] == 11


def test_resolve_duplicates_a_person_with_two_records_is_one_row_of_the_audience(
    jobs: tuple[TinyJob, TinyJob], later: DuckDBWarehouse
) -> None:
    assert later.count("clean.customer") == PEOPLE + 1
    assert later.count("delivery.ack") == PEOPLE
    effects = Audiences.read(jobs[1].members_file).effects
    assert sum(effect.kind == "add" for effect in effects) == PEOPLE


def test_affinity_tags_lifecycle_stage_and_engagement_score_are_attributes_of_versioned_files(
    jobs: tuple[TinyJob, TinyJob], collected: DuckDBWarehouse, tmp_path: Path
) -> None:
    ran = jobs[0]
    found = members(collected)
    assert (found["engaged"], found["film_lovers"]) == (10, 11)
    assert found["viewer"] + found["prospect"] == collected.count("profile.person")
    started = json.loads((ran.folder / "state" / "audit" / "000001.jsonl").read_text().splitlines()[0])
    assert started["plan_sha256"] == load_job(ran.path).sha256
    changed = copy_of(ran, tmp_path / "changed")
    (changed.folder / "segments" / "computed.yaml").write_text(COMPUTED.replace("hot: 30", "hot: 31"))
    assert load_job(changed.path).sha256 != started["plan_sha256"]


def test_id_mapping_goes_both_ways(collected: DuckDBWarehouse) -> None:
    one = collected.sql("SELECT person_id FROM identity.membership WHERE record_id = 'crm:3'")["person_id"][0].as_py()
    back = collected.sql("SELECT record_id FROM identity.membership WHERE person_id = $one", one=one)["record_id"]
    assert "crm:3" in back.to_pylist()


def test_server_side_tracking_counts_an_event_delivered_twice_once(later: DuckDBWarehouse) -> None:
    assert later.count("clean.web__calls") == len(CALLS)  # all but the one with a misspelt tag, and the new one
    assert later.count("profile.event__video_played") == 33
    assert members(later) == {**FOUND, "viewers": 11, "engaged": 11, "viewer": 11}


def test_batch_input_from_files_is_incremental(later: DuckDBWarehouse) -> None:
    # The file that was read by the first run is not read again.
    assert later.count("raw.web__calls") == 2 * len(CALLS) + 1


@pytest.mark.slow
@pytest.mark.parametrize("offset", [0, 17, 40])
def test_stream_input_replayed_from_any_offset_gives_identical_memberships(tmp_path: Path, offset: int) -> None:
    job = collecting(tmp_path / "job")
    first = done(job)
    write_calls(job, CALLS[offset:], "calls-replayed")
    assert done(job) == first


def test_ip_geolocation_and_fingerprint_reach_nothing_that_does_not_name_them(collected: DuckDBWarehouse) -> None:
    assert {"ip", "fingerprint"} <= set(collected.columns("clean.web__calls"))
    for zone in ("identity", "profile", "segment", "delivery"):
        for table in collected.tables(zone):
            rows = str([batch.to_pylist() for batch in collected.read(table)])
            assert "203.0.113." not in rows and "canvas-" not in rows, table


def test_ip_geolocation_and_fingerprint_are_off_without_a_consent_purpose(tmp_path: Path) -> None:
    job = collecting(tmp_path / "job")
    job.spec["syncs"]["adults"]["fields"] = {"city": "geo_city"}
    job.write()
    with pytest.raises(ConfigError, match="geo_city"):
        load_job(job.path)


def test_unified_schema_refuses_two_types_for_one_name(tmp_path: Path) -> None:
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
