"""A load that gives an alarm reaches no segment, and what reads its stream is stale."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from consentry.errors import ConfigError
from consentry.pipeline.freshness import stale_inputs
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import PEOPLE, TinyJob


def go(job: TinyJob, *allow: str) -> dict[str, Any]:
    return run(make_plan(load_job(job.path)), Silent(), allow=frozenset(allow))


def test_a_failing_alarm_holds_the_stream_and_what_reads_it(ran: TinyJob) -> None:
    path = ran.folder / "contracts" / "people.yaml"
    contract = yaml.safe_load(path.read_text())
    contract["watch"] = {"freshness": {"column": "updated_at", "max_hours": 1, "severity": "fail"}}
    path.write_text(yaml.safe_dump(contract))
    ran.write_people(range(PEOPLE + 5))
    ran.write_consents(dict.fromkeys(range(PEOPLE, PEOPLE + 5), "granted"), day=2)
    held = go(ran)
    assert held["persons"] == PEOPLE
    assert held["syncs"]["adults"]["adds"] == 0
    warehouse = DuckDBWarehouse(ran.folder / "state" / "warehouse.duckdb")
    assert warehouse.sql("SELECT stream FROM ops.held_stream")["stream"].to_pylist() == ["crm__people"]
    stale = warehouse.sql("SELECT DISTINCT kind FROM ops.finding WHERE severity = 'fail'")["kind"].to_pylist()
    assert stale == ["freshness"]
    warehouse.close()
    accepted = go(ran, "watch:crm.people")
    assert (accepted["persons"], accepted["syncs"]["adults"]["adds"]) == (PEOPLE + 5, 5)


def test_sources_that_disagree_about_a_person_are_counted(ran: TinyJob) -> None:
    warehouse = DuckDBWarehouse(ran.folder / "state" / "warehouse.duckdb")
    # One source alone cannot disagree with itself.
    assert warehouse.count("ops.agreement") == 0
    warehouse.close()


def watch_profile(job: TinyJob, **watch: Any) -> None:
    path = job.folder / "contracts" / "profile.yaml"
    contract = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(contract | {"watch": watch}))


def test_the_merged_profile_is_watched_and_an_alarm_keeps_the_one_before(tiny: TinyJob) -> None:
    tiny.spec["sources"]["crm"]["streams"]["people"]["map"]["seen_at"] = "updated_at"
    tiny.write()
    path = tiny.folder / "contracts" / "profile.yaml"
    contract = yaml.safe_load(path.read_text())
    contract["columns"]["seen_at"] = {"dtype": "Datetime", "nullable": True}
    path.write_text(yaml.safe_dump(contract))
    go(tiny)
    watch_profile(tiny, freshness={"column": "seen_at", "max_hours": 1, "severity": "fail"})
    tiny.write_people(range(PEOPLE + 5))
    tiny.write_consents(dict.fromkeys(range(PEOPLE, PEOPLE + 5), "granted") | {0: "denied"}, day=2)
    held = go(tiny)
    assert (held["persons"], held["profiles"]) == (PEOPLE + 5, PEOPLE)
    assert held["syncs"]["adults"]["adds"] == 0
    (remark,) = held["remarks"]
    assert "--allow watch:golden" in remark
    warehouse = DuckDBWarehouse(tiny.folder / "state" / "warehouse.duckdb")
    stale = stale_inputs(warehouse, load_job(tiny.path).job, now=datetime(2026, 2, 1, tzinfo=UTC))
    assert ("attribute", "age") in stale
    warehouse.close()
    accepted = go(tiny, "watch:golden")
    assert (accepted["profiles"], accepted["remarks"]) == (PEOPLE + 5, [])


def test_an_attribute_about_which_sources_disagree_is_stale_until_somebody_accepts_it(tiny: TinyJob) -> None:
    tiny.spec["sources"]["shop"] = {
        "type": "files",
        "connection": {"folder": "."},
        "streams": {
            "buyers": {
                "entity": "customer",
                "contract": "contracts/people.yaml",
                "primary_key": "id",
                "options": {"path": "buyers.csv"},
                "identifiers": {"email": "email"},
                "map": {"age": "age"},
            }
        },
    }
    tiny.write()
    text = (tiny.folder / "people.csv").read_text()
    (tiny.folder / "buyers.csv").write_text(text.replace(",2", ",3"))
    watch_profile(tiny, agreement="fail", max_disagree={"age": 0.1})
    (remark,) = go(tiny)["remarks"]
    assert remark.startswith("Sources disagree about age") and "--allow watch:sources.age" in remark
    warehouse = DuckDBWarehouse(tiny.folder / "state" / "warehouse.duckdb")
    stale = stale_inputs(warehouse, load_job(tiny.path).job, now=datetime(2026, 2, 1, tzinfo=UTC))
    assert stale == {("attribute", "age"): remark}
    assert warehouse.count("segment.history") == 1
    assert warehouse.sql("SELECT stale FROM segment.history")["stale"].to_pylist() == [True]
    warehouse.close()
    accepted = go(tiny, "watch:sources.age")
    assert len(accepted["remarks"]) == 1 and "--allow" not in accepted["remarks"][0]


def test_a_snapshot_that_changed_too_much_is_held_and_only_a_snapshot_can_be(ran: TinyJob) -> None:
    path = ran.folder / "contracts" / "people.yaml"
    contract = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(contract | {"watch": {"changes": {"max_share": 0.2}}}))
    ran.write_people(range(20, 20 + PEOPLE))
    ran.write_consents(dict.fromkeys(range(PEOPLE, 20 + PEOPLE), "granted"), day=2)
    held = go(ran)
    assert (held["persons"], held["syncs"]["adults"]["adds"], held["syncs"]["adults"]["removes"]) == (PEOPLE, 0, 0)
    assert "66.7% of the rows are other than before (20 new, 20 gone, 0 changed)" in held["remarks"][0]
    ran.spec["sources"]["crm"]["streams"]["people"]["mode"] = "append"
    with pytest.raises(ConfigError, match=r"job\.yaml:\d+: .*only a stream of 'mode: snapshot'"):
        load_job(ran.write())
