"""A job that keeps earlier values of attributes: they explain segments of earlier days, and go when they have to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consentry.model.ids import uuid7s
from consentry.pipeline.access import access
from consentry.pipeline.erasing import erase_person
from consentry.pipeline.leaks import leak_scan
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.reasons import explain_past
from consentry.pipeline.run import run
from consentry.pipeline.stewarding import stewarding
from consentry.segments.earlier import EARLIER
from tests.conftest import TinyJob, copy_of, email, make_tiny, person

RULES = """\
segments:
  - {segment: older, description: t, purpose: news, rule: age >= percentile(50 of age)}
  - {segment: young, description: t, purpose: news, rule: age < 25 and not (age is missing)}
"""


def go(job: TinyJob, day: int, *ages: int) -> None:
    """Run the job as of a day, with people of these ages."""
    lines = [",".join(person(n).values()) for n in range(len(ages))]
    named = [
        line.replace(f",{20 + n},2026", f",{age},2026") for n, (line, age) in enumerate(zip(lines, ages, strict=True))
    ]
    (job.folder / "people.csv").write_text("\n".join([",".join(person(0)), *named]) + "\n")
    job.spec["as_of"] = f"2026-02-{day:02d}T00:00:00Z"
    job.write()
    run(make_plan(load_job(job.path)), Silent())


@pytest.fixture(scope="module")
def changed_before(tmp_path_factory: pytest.TempPathFactory) -> TinyJob:
    """A job that keeps what it knew, after two days: the first of four people was 20, and is 26."""
    job = make_tiny(tmp_path_factory.mktemp("earlier"))
    (job.folder / "segments" / "ages.yaml").write_text(RULES)
    job.spec["profile"]["keep_earlier"] = "90 days"
    job.policy["profiling"] = {"purpose": "news"}
    go(job, 1, 20, 21, 22, 23)
    go(job, 2, 26, 21, 23, 24)
    return job


@pytest.fixture
def changed(changed_before: TinyJob, tmp_path: Path) -> TinyJob:
    return copy_of(changed_before, tmp_path)


def asked(job: TinyJob, number: int) -> dict[str, Any]:
    (found,) = access(load_job(job.path), "email", email(number), None)["people"]
    return dict(found)


def at(job: TinyJob, who: str, day: int) -> dict[str, Any]:
    return explain_past(load_job(job.path), who, datetime(2026, 2, day, 12, tzinfo=UTC))


def kept(job: TinyJob) -> dict[str, list[str]]:
    """Return whose earlier ages the warehouse has, the younger first."""
    with stewarding(load_job(job.path)) as context:
        known = context.warehouse.has(EARLIER)
        query = f"SELECT person_id, list(value ORDER BY value) AS ages FROM {EARLIER} GROUP BY 1"
        rows = context.warehouse.sql(query).to_pylist() if known else []
    return {row["person_id"]: row["ages"] for row in rows}


def test_audit_logs_and_kept_values_tell_why_somebody_was_in_a_segment_with_the_attributes_of_then(
    changed: TinyJob,
) -> None:
    person_id = asked(changed, 0)["person_id"]
    for day, age, inside in ((1, 20, {"adults", "young"}), (2, 26, {"adults", "older"})):
        found = at(changed, person_id, day)
        rows = {row["segment"]: row for row in found["segments"]}
        assert {name for name, row in rows.items() if row["member"]} == inside
        assert {name for name, row in rows.items() if row["holds"]} == inside
        assert rows["older"]["reasons"][0]["values"]["age"] == age
        assert found["notes"][0] == "Attributes, and what models and experiments say, are those of then."
        assert found["of_now"] == []


def test_earlier_values_are_told_to_the_person_and_stand_in_no_open_place_with_a_name(changed: TinyJob) -> None:
    told = asked(changed, 0)["earlier"]
    assert [(one["name"], one["value"]) for one in told] == [("age", "20")]
    assert leak_scan(load_job(changed.path), [], also=[])["findings"] == []


def test_who_is_erased_or_refuses_or_loses_a_record_keeps_no_earlier_value_and_nobody_an_old_one(
    changed: TinyJob,
) -> None:
    erased, refusing, parted, last = (asked(changed, number)["person_id"] for number in (0, 1, 2, 3))
    with stewarding(load_job(changed.path)) as context:
        earlier, now = f"INSERT INTO {EARLIER} VALUES ($who, 'age', '18', $until)", datetime.now(UTC)
        context.warehouse.sql(earlier, who=refusing, until=now)
        context.warehouse.sql(earlier, who=last, until=now - timedelta(days=91))
        # As when another record of the same person went to somebody else by now.
        row = {"who": parted, "run": uuid7s(1)[0]}
        context.warehouse.sql("INSERT INTO identity.membership VALUES ('crm:x', $who, NULL, $run)", **row)
    assert kept(changed) == {erased: ["20"], refusing: ["18"], parted: ["22"], last: ["18", "23"]}
    erase_person(load_job(changed.path), person=erased, kind="", value="", by="Dana")
    assert erased not in kept(changed)
    changed.write_consents({1: "withdrawn"}, day=2)
    go(changed, 3, 26, 21, 25, 25)
    assert kept(changed) == {last: ["23", "24"]}
    found = at(changed, parted, 1)
    assert found["of_now"] == ["age"]
    assert found["notes"][0].endswith("are those of now: what they were then is not kept.")
    remarks = {row["segment"]: row.get("remark") for row in found["segments"]}
    assert "by what is known now: age, or what is known of events of then has changed" in str(remarks["young"])


@pytest.mark.slow
def test_all_earlier_values_go_when_the_job_no_longer_asks_for_them(changed: TinyJob) -> None:
    del changed.spec["profile"]["keep_earlier"]
    go(changed, 3, 28, 21, 23, 24)
    assert kept(changed) == {}
    assert at(changed, asked(changed, 0)["person_id"], 1)["of_now"] == ["age"]
