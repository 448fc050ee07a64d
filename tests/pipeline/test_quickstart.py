"""The demo, as a newcomer runs it: both days, held against what the data's generator wrote down."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from consentry.testing.sandbox import Sandbox
from consentry.warehouse import DuckDBWarehouse

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart"
EXPECTED = yaml.safe_load((QUICKSTART / "data" / "expected.yaml").read_text())
FIELDS = {
    "run_id", "status", "rows", "imputed_cells", "persons", "merged_records", "segments", "syncs", "duration_s",
}  # fmt: skip
SYNC_FIELDS = {"adds", "updates", "removes", "acknowledged", "rejected", "refused", "api_calls"}


@dataclass(frozen=True)
class Demo:
    days: list[dict[str, Any]]
    state: Path
    code: int


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    home = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "consentry.cli", "demo", "--output", "json", "--keep", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return Demo([json.loads(line) for line in done.stdout.splitlines()], home / "quickstart", done.returncode)


@pytest.fixture(scope="module")
def warehouse(demo: Demo) -> Iterator[DuckDBWarehouse]:
    opened = DuckDBWarehouse(demo.state / "warehouse.duckdb")
    yield opened
    opened.close()


def test_both_days_come_as_one_object_a_line(demo: Demo) -> None:
    assert len(demo.days) == 2
    for day in demo.days:
        assert day.keys() >= FIELDS
        assert day["status"] == "ok"
        assert all(sync.keys() >= SYNC_FIELDS for sync in day["syncs"].values())
        assert day["audit"]["ok"] is True


def test_no_row_is_lost(demo: Demo) -> None:
    first = demo.days[0]["rows"]
    rows = EXPECTED["rows"]
    assert first["extracted"] == sum(rows.values()) - rows["consents_day2"]
    assert first["extracted"] == first["clean"] + first["quarantined"]
    assert demo.days[1]["rows"]["extracted"] == rows["consents_day2"]


def test_named_sources_are_mapped_onto_the_same_tables_by_the_job_alone(warehouse: DuckDBWarehouse) -> None:
    sources = yaml.safe_load((QUICKSTART / "job.yaml").read_text())["sources"]
    assert {name: block["type"] for name, block in sources.items()} == {
        "crm": "hubspot", "shop": "files", "web": "files", "preferences": "files",
    }  # fmt: skip
    customers = warehouse.sql("SELECT DISTINCT source FROM clean.customer")["source"].to_pylist()
    linked = warehouse.sql("SELECT DISTINCT source FROM clean.link")["source"].to_pylist()
    assert set(customers) == {"crm", "shop"}
    assert set(linked) == {"crm", "shop", "web"}
    for event in ("order_line", "product_viewed"):
        assert warehouse.count(f"profile.event__{event}") > 100


def test_every_planted_fault_is_in_quarantine_and_nothing_else(warehouse: DuckDBWarehouse) -> None:
    tables = {
        "shop_customers": "quarantine.shop__customers",
        "crm_contacts": "quarantine.crm__contacts",
        "purchases": "quarantine.shop__purchases",
        "web_events": "quarantine.web__events",
        "consents_day1": "quarantine.preferences__consents",
    }
    assert {name: warehouse.count(table) for name, table in tables.items()} == EXPECTED["quarantined"]


def test_no_two_people_are_merged_into_one(warehouse: DuckDBWarehouse) -> None:
    lines = (QUICKSTART / "data" / "truth.jsonl").read_text().splitlines()
    truth = {entry["record_id"]: entry["person"] for entry in map(json.loads, lines)}
    found = warehouse.sql("SELECT record_id, person_id FROM identity.membership WHERE valid_to_run IS NULL").to_pylist()
    people: dict[str, set[str]] = defaultdict(set)
    ids: dict[str, set[str]] = defaultdict(set)
    for row in found:
        if row["record_id"] in truth:
            people[row["person_id"]].add(truth[row["record_id"]])
            ids[truth[row["record_id"]]].add(row["person_id"])
    assert [person for person, real in people.items() if len(real) > 1] == []
    # Records that share only a mistyped name cannot be joined by identifiers: few real people have two ids.
    assert sum(len(found) > 1 for found in ids.values()) <= 0.05 * len(ids)


def test_the_second_day_removes_exactly_those_who_withdrew(demo: Demo) -> None:
    syncs = demo.days[1]["syncs"]
    mail = syncs["champions_news"]["removes"] + syncs["winback"]["removes"]
    assert mail == EXPECTED["defects"]["day2_withdrawn_email_marketing"]
    assert syncs["ads_browsers"]["removes"] == EXPECTED["defects"]["day2_withdrawn_ads_targeting"]
    assert all(sync["adds"] == sync["updates"] == 0 for sync in syncs.values())


def test_whoever_is_no_member_has_a_reason(demo: Demo) -> None:
    day = demo.days[0]
    segments = {"champions_news": "champions", "winback": "at_risk", "ads_browsers": "active_browsers"}
    for name, segment in segments.items():
        sync = day["syncs"][name]
        assert sync["adds"] + sum(sync["refused"].values()) == day["segments"][segment]
        assert sync["acknowledged"] == sync["adds"]


def test_graceful_degradation_a_group_with_a_fallback_takes_everybody_once(demo: Demo) -> None:
    day = demo.days[0]
    group = ("champions", "at_risk", "loyal", "lapsed", "others")
    assert sum(day["segments"][name] for name in group) == day["profiles"]


def test_ads_get_hashes_and_bands_and_nothing_else(demo: Demo) -> None:
    with (demo.state / "out" / "active_browsers.csv").open() as file:
        rows = list(csv.DictReader(file))
    days = [day["syncs"]["ads_browsers"] for day in demo.days]
    assert len(rows) == days[0]["adds"] - days[1]["removes"]
    assert set(rows[0]) == {"member_id", "email", "country", "birth_year"}
    assert all(len(row["email"]) == 64 and "@" not in row["email"] for row in rows)
    assert all(row["birth_year"] == "" or "-" in row["birth_year"] for row in rows)


def test_an_imputed_cell_is_marked_and_never_covers_an_observed_one(demo: Demo, warehouse: DuckDBWarehouse) -> None:
    counted = warehouse.sql(
        "SELECT count(birth_year__imputed) + count(loyalty_tier__imputed) AS imputed,"
        " count(*) FILTER (birth_year IS NOT NULL AND birth_year__imputed IS NOT NULL) AS covering"
        " FROM identity.golden_imputed"
    ).to_pylist()[0]
    assert counted == {"imputed": demo.days[0]["imputed_cells"], "covering": 0}


@pytest.mark.slow
def test_the_same_job_run_again_sends_nothing(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        environment = {**os.environ, **sandbox.environment(), "CONSENTRY_HOME": str(tmp_path)}
        command = [sys.executable, "-m", "consentry.cli", "run", str(QUICKSTART / "job.yaml"), "--output", "json"]
        runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
        members = sandbox.klaviyo.members()
    first, again = (json.loads(run.stdout) for run in runs)
    assert len(members["Champions"]) == first["syncs"]["champions_news"]["adds"] > 50
    for sync in again["syncs"].values():
        assert (sync["adds"], sync["updates"], sync["removes"], sync["api_calls"]) == (0, 0, 0, 0)
