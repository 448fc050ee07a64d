"""Records that are gone at their source leave every destination; merged ones live on in those they became."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.testing.memory import Audiences
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import TinyJob, copy_of, email, make_tiny, person


def _append(tiny: TinyJob, *records: dict[str, Any]) -> None:
    number = len(list(tiny.folder.glob("people-*.jsonl")))
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tiny.folder / f"people-{number}.jsonl").write_text(lines)


def _run(tiny: TinyJob) -> dict[str, Any]:
    summary = run(make_plan(load_job(tiny.path)), Silent())
    assert summary["status"] == "ok", summary
    return summary


def _members(tiny: TinyJob) -> set[str]:
    return Audiences.read(tiny.members_file).values("adults", "email")


def _links(tiny: TinyJob) -> list[tuple[str, str]]:
    (path,) = (tiny.folder / "state").glob("*.duckdb")
    warehouse = DuckDBWarehouse(path)
    found = warehouse.sql("SELECT record_id, value FROM clean.link WHERE type = 'email'").to_pylist()
    warehouse.close()
    return [(row["record_id"], row["value"]) for row in found]


def _feed(tiny: TinyJob) -> TinyJob:
    """Let the people of the tiny job come in a feed of changes."""
    people = tiny.spec["sources"]["crm"]["streams"]["people"]
    people |= {"mode": "append", "options": {"path": "people-*.jsonl"}}
    tiny.write()
    _append(tiny, *(person(number) for number in range(10)))
    return tiny


@pytest.fixture(scope="module")
def fed_before(tmp_path_factory: pytest.TempPathFactory) -> TinyJob:
    job = _feed(make_tiny(tmp_path_factory.mktemp("fed")))
    _run(job)
    assert _members(job) == {email(number) for number in range(10)}
    return job


@pytest.fixture
def fed(fed_before: TinyJob, tmp_path: Path) -> TinyJob:
    """The job after the first ten people came."""
    return copy_of(fed_before, tmp_path)


def test_a_deleted_person_is_removed_from_destinations_and_comes_back_when_restored(fed: TinyJob) -> None:
    _append(fed, {"id": "3", "_deleted": True})
    summary = _run(fed)
    assert _members(fed) == {email(number) for number in range(10) if number != 3}
    assert summary["rows"].get("quarantined", 0) == 0
    _append(fed, person(3))
    _run(fed)
    assert email(3) in _members(fed)


def test_a_merged_record_identifies_the_one_that_took_its_place(fed: TinyJob) -> None:
    _append(fed, {"id": "4", "_deleted": True, "_merged_into": "5"}, {"id": "5", "_deleted": True, "_merged_into": "6"})
    summary = _run(fed)
    links = _links(fed)
    assert ("crm:6", email(4)) in links and ("crm:6", email(5)) in links and ("crm:6", email(6)) in links
    assert not {"crm:4", "crm:5"} & {record for record, _ in links}
    assert summary["persons"] == 8


def test_a_record_merged_into_one_that_is_gone_is_gone_too(fed: TinyJob) -> None:
    _append(fed, {"id": "4", "_deleted": True, "_merged_into": "5"}, {"id": "5", "_deleted": True})
    _run(fed)
    assert _members(fed) == {email(number) for number in range(10) if number not in (4, 5)}


def test_records_merged_in_a_circle_end_nothing(fed: TinyJob) -> None:
    _append(fed, {"id": "4", "_deleted": True, "_merged_into": "5"}, {"id": "5", "_deleted": True, "_merged_into": "4"})
    _run(fed)
    assert _members(fed) == {email(number) for number in range(10) if number not in (4, 5)}


def test_a_column_of_the_sources_own_says_that_a_record_is_gone(tiny: TinyJob) -> None:
    feed = _feed(tiny)
    stream = feed.spec["sources"]["crm"]["streams"]["people"]
    stream["deleted"] = "archived"
    contract = feed.folder / "contracts" / "people.yaml"
    contract.write_text(contract.read_text() + "  archived: {dtype: String, nullable: true}\n")
    feed.write()
    gone = {**person(6), "archived": "2026-01-01T00:00:00Z"}
    _append(feed, gone, {**person(7), "archived": True}, {**person(8), "archived": False})
    _run(feed)
    assert _members(feed) == {email(number) for number in range(10) if number not in (6, 7)}
