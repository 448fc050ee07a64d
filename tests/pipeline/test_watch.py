"""Keeping a job in step with time: who enters and leaves without any news, and when the job is run again."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from typer.testing import CliRunner

from consentry.cli.main import app
from consentry.errors import ConfigError
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.pipeline.watch import in_between, interval, next_due
from consentry.testing.memory import Audiences
from tests.conftest import TinyJob, person

SEEN = {"dtype": "Datetime", "nullable": True}


@pytest.fixture
def watched(tiny: TinyJob) -> TinyJob:
    """A job on the real clock whose segment holds who was seen within the last hour: all even people, one for long."""
    tiny.spec["as_of"] = None
    now = datetime.now(UTC)
    ago = [1 if n == 0 else 30 if n % 2 == 0 else 300 for n in range(40)]
    rows = [{**person(n), "seen": (now - timedelta(minutes=minutes)).isoformat()} for n, minutes in enumerate(ago)]
    with (tiny.folder / "people.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for name in ("people", "profile"):
        path = tiny.folder / "contracts" / f"{name}.yaml"
        contract = yaml.safe_load(path.read_text())
        contract["columns"]["seen"] = SEEN
        path.write_text(yaml.safe_dump(contract))
    tiny.spec["sources"]["crm"]["streams"]["people"]["map"]["seen"] = "seen"
    rule = "segment: adults\ndescription: t\npurpose: news\nrule: seen within last 1 hour\nrefresh: 15 minutes\n"
    (tiny.folder / "segments" / "adults.yaml").write_text(rule)
    tiny.spec["syncs"]["adults"]["guards"] = {"max_delete_pct": 100}
    tiny.write()
    return tiny


def members(job: TinyJob) -> int:
    return len(Audiences.read(job.members_file).members("adults"))


def test_people_leave_the_destination_by_time_alone(watched: TinyJob) -> None:
    plan = make_plan(load_job(watched.path))
    run(plan, Silent())
    assert members(watched) == 20
    told = in_between(plan, Silent(), now=datetime.now(UTC) + timedelta(minutes=31))
    assert told["left"] == {"adults": 19}
    assert told["syncs"]["adults"]["removes"] == 19
    assert members(watched) == 1


def test_where_nobody_moves_no_destination_is_called(watched: TinyJob) -> None:
    plan = make_plan(load_job(watched.path))
    run(plan, Silent())
    told = in_between(plan, Silent(), now=datetime.now(UTC) + timedelta(minutes=5))
    assert told["syncs"] == {}


def test_the_next_turn_is_a_run_when_the_promise_comes_before_the_edge(watched: TinyJob) -> None:
    plan = make_plan(load_job(watched.path))
    assert next_due(plan, timedelta(minutes=15), Silent()).work == "run"
    run(plan, Silent())
    now = datetime.now(UTC)
    first = next_due(plan, timedelta(minutes=15), Silent())
    assert first.work == "run"
    assert timedelta(minutes=14) < first.at - now <= timedelta(minutes=15)
    second = next_due(plan, timedelta(hours=2), Silent())
    assert second.work == "refresh"
    assert timedelta(minutes=28) < second.at - now <= timedelta(minutes=31)


def test_a_job_whose_clock_stands_still_cannot_be_watched(tiny: TinyJob) -> None:
    with pytest.raises(ConfigError, match="as_of"):
        interval(load_job(tiny.write()))


def test_a_job_without_any_promise_cannot_be_watched(watched: TinyJob) -> None:
    path = watched.folder / "segments" / "adults.yaml"
    path.write_text(path.read_text().replace("refresh: 15 minutes\n", ""))
    with pytest.raises(ConfigError, match="refresh: 15 minutes"):
        interval(load_job(watched.path))


@pytest.mark.parametrize(
    ("promises", "every"),
    [
        (("1 hour",), timedelta(hours=1)),
        (("1 day", "1 week"), timedelta(days=1)),
        (("1 week",), timedelta(weeks=1)),
        (("15 minutes", "1 day"), timedelta(minutes=15)),
    ],
)
def test_hourly_daily_weekly_and_nightly_a_job_is_run_as_often_as_its_segments_promise(
    watched: TinyJob, promises: tuple[str, ...], every: timedelta
) -> None:
    text = (watched.folder / "segments" / "adults.yaml").read_text()
    for n, promise in enumerate(promises):
        name = f"s{n}" if n else "adults"
        one = text.replace("15 minutes", promise).replace("segment: adults", f"segment: {name}")
        (watched.folder / "segments" / f"{name}.yaml").write_text(one)
    assert interval(load_job(watched.path)) == every


def test_watch_once_does_what_is_due_and_stops(watched: TinyJob) -> None:
    ran = CliRunner().invoke(app, ["watch", str(watched.path), "--once", "--output", "json"])
    assert json.loads(ran.stdout)["syncs"]["adults"]["adds"] == 20
    waits = CliRunner().invoke(app, ["watch", str(watched.path), "--once", "--output", "json"])
    assert json.loads(waits.stdout)["next"] == "run"
