"""Enrichment in a whole run: only who allowed it is asked for, once, and first-party values stand."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import yaml

from consentry.errors import ConfigError
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.enrichment import PeopleDataLabs
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import PEOPLE, TinyJob, email


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def vendor(running: Sandbox) -> PeopleDataLabs:
    running.reset()
    found = running.vendors["people_data_labs"]
    assert isinstance(found, PeopleDataLabs)
    found.known = {email(n): {"job_title": f"title {n}", "age": 99, "commute_minutes": 90} for n in range(0, PEOPLE, 2)}
    return found


@pytest.fixture
def enriched(tiny: TinyJob, running: Sandbox, vendor: PeopleDataLabs) -> TinyJob:
    """The tiny job, whose vendor knows every second person."""
    tiny.spec["enrichments"] = {
        "work": {
            "type": "people_data_labs",
            "connection": {"api_key": "${PDL_KEY:-sandbox-pdl}", "base_url": running.url("people_data_labs")},
            "purpose": "news",
            "identifiers": ["email"],
            "fields": {"job_title": "job_title", "age": "age", "commute": "commute_minutes"},
            "units": {"commute": "min"},
        }
    }
    tiny.spec["units"] = {"commute": "hour"}
    tiny.policy["destinations"]["work"] = {
        **deepcopy(tiny.policy["destinations"]["store"]),
        "connector": "people_data_labs",
        "fields": {},
    }
    kinds = {"age": "Int32", "job_title": "String", "commute": "Float64"}
    columns = {name: {"dtype": kind, "nullable": True} for name, kind in kinds.items()}
    (tiny.folder / "contracts" / "profile.yaml").write_text(
        yaml.safe_dump({"name": "profile", "version": 1, "columns": columns})
    )
    tiny.write()
    return tiny


def _run(job: TinyJob) -> dict[str, Any]:
    summary = run(make_plan(load_job(job.path)), Silent())
    assert summary["status"] == "ok"
    return summary


def _query(job: TinyJob, query: str) -> list[dict[str, Any]]:
    warehouse = DuckDBWarehouse(job.folder / "state" / "warehouse.duckdb")
    try:
        rows: list[dict[str, Any]] = warehouse.sql(query).to_pylist()
        return rows
    finally:
        warehouse.close()


def _titles(job: TinyJob) -> set[str]:
    found = _query(job, "SELECT job_title FROM profile.person WHERE job_title IS NOT NULL")
    return {row["job_title"] for row in found}


def test_enrichment_fills_gaps_and_never_overwrites_first_party_values(
    enriched: TinyJob, vendor: PeopleDataLabs
) -> None:
    _run(enriched)
    assert _titles(enriched) == {f"title {n}" for n in range(0, PEOPLE, 2)}
    ages = _query(enriched, "SELECT age FROM profile.person ORDER BY age")
    assert [row["age"] for row in ages] == [20 + n for n in range(PEOPLE)]
    assert _query(enriched, "SELECT DISTINCT commute FROM profile.person ORDER BY 1")[0] == {"commute": 1.5}
    sources = _query(enriched, "SELECT field, source, count(*) AS n FROM identity.golden_source GROUP BY ALL")
    assert {"field": "job_title", "source": "work", "n": 20} in sources
    assert not any(row["field"] == "age" and row["source"] == "work" for row in sources)
    log = b"".join(path.read_bytes() for path in (enriched.folder / "state" / "audit").rglob("*") if path.is_file())
    assert b"enrichment.looked_up" in log and b"@example.com" not in log
    kept = _query(enriched, "SELECT source, status, fetched_at FROM identity.enrichment")
    assert {row["source"] for row in kept} == {"people_data_labs"} and all(row["fetched_at"] for row in kept)


def test_only_those_who_allow_it_are_looked_up(enriched: TinyJob, vendor: PeopleDataLabs) -> None:
    enriched.write_consents({n: "granted" if n % 4 == 0 else "denied" for n in range(PEOPLE)})
    _run(enriched)
    assert sorted(vendor.asked) == sorted(email(n) for n in range(0, PEOPLE, 4))


def test_nobody_is_looked_up_twice_within_the_time(enriched: TinyJob, vendor: PeopleDataLabs) -> None:
    _run(enriched)
    _run(enriched)
    assert len(vendor.asked) == PEOPLE
    assert _titles(enriched) == {f"title {n}" for n in range(0, PEOPLE, 2)}


@pytest.mark.slow
def test_a_budget_spreads_the_look_ups_over_runs(enriched: TinyJob, vendor: PeopleDataLabs) -> None:
    enriched.spec["enrichments"]["work"]["connection"]["max_lookups"] = 25
    enriched.write()
    _run(enriched)
    assert len(vendor.asked) == 25
    _run(enriched)
    assert len(vendor.asked) == len(set(vendor.asked)) == PEOPLE


@pytest.mark.slow
def test_what_was_bought_of_a_person_is_gone_with_their_consent(enriched: TinyJob, vendor: PeopleDataLabs) -> None:
    _run(enriched)
    enriched.write_consents({0: "withdrawn"}, day=2)
    _run(enriched)
    assert _titles(enriched) == {f"title {n}" for n in range(2, PEOPLE, 2)}


def test_a_vendor_that_fails_stops_nothing(enriched: TinyJob, vendor: PeopleDataLabs) -> None:
    vendor.credit = 3
    summary = _run(enriched)
    assert summary["syncs"]["adults"]["adds"] == PEOPLE
    assert "no credit" in summary["enriched"]["work"]["sentence"]
    assert len(_titles(enriched)) == 3


def test_a_vendor_states_the_unit_of_what_has_one(enriched: TinyJob) -> None:
    enriched.spec["enrichments"]["work"]["units"] = {"comute": "min"}
    enriched.write()
    with pytest.raises(ConfigError) as told:
        load_job(enriched.path)
    assert "The enrichment has no field 'comute'; did you mean 'commute'?" in str(told.value)
    enriched.spec["enrichments"]["work"]["units"] = {}
    enriched.write()
    with pytest.raises(ConfigError, match=r"'commute' has no unit in enrichment work, .* Add it to its 'units'"):
        load_job(enriched.path)


def test_a_vendor_that_the_policy_does_not_know_is_refused(enriched: TinyJob) -> None:
    del enriched.policy["destinations"]["work"]
    enriched.write()
    with pytest.raises(ConfigError, match="no destination 'work'"):
        load_job(enriched.path)
