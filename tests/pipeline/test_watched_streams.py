"""A load that gives an alarm reaches no segment, and what reads its stream is stale."""

from __future__ import annotations

from typing import Any

import yaml

from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import PEOPLE, TinyJob


def go(job: TinyJob, *allow: str) -> dict[str, Any]:
    return run(make_plan(load_job(job.path)), Silent(), allow=frozenset(allow))


def test_a_failing_alarm_holds_the_stream_and_what_reads_it(tiny: TinyJob) -> None:
    go(tiny)
    path = tiny.folder / "contracts" / "people.yaml"
    contract = yaml.safe_load(path.read_text())
    contract["watch"] = {"freshness": {"column": "updated_at", "max_hours": 1, "severity": "fail"}}
    path.write_text(yaml.safe_dump(contract))
    tiny.write_people(range(PEOPLE + 5))
    tiny.write_consents(dict.fromkeys(range(PEOPLE, PEOPLE + 5), "granted"), day=2)
    held = go(tiny)
    assert held["persons"] == PEOPLE
    assert held["syncs"]["adults"]["adds"] == 0
    warehouse = DuckDBWarehouse(tiny.folder / "state" / "warehouse.duckdb")
    assert warehouse.sql("SELECT stream FROM ops.held_stream")["stream"].to_pylist() == ["crm__people"]
    stale = warehouse.sql("SELECT DISTINCT kind FROM ops.finding WHERE severity = 'fail'")["kind"].to_pylist()
    assert stale == ["freshness"]
    warehouse.close()
    accepted = go(tiny, "watch:crm.people")
    assert (accepted["persons"], accepted["syncs"]["adults"]["adds"]) == (PEOPLE + 5, 5)


def test_sources_that_disagree_about_a_person_are_counted(tiny: TinyJob) -> None:
    go(tiny)
    warehouse = DuckDBWarehouse(tiny.folder / "state" / "warehouse.duckdb")
    # One source alone cannot disagree with itself.
    assert warehouse.count("ops.agreement") == 0
    warehouse.close()
