"""dlq: what a destination refused can be seen, sent again, and left."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from consentry.cli.main import app
from consentry.errors import ConfigError
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.testing.memory import Audiences
from tests.conftest import PEOPLE, TinyJob, email, make_tiny


@pytest.fixture
def refused(tiny: TinyJob) -> TinyJob:
    """A job of which the destination refused the first two rows of its first call."""
    return refuse(tiny)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> TinyJob:
    """The same, for tests that only look."""
    return refuse(make_tiny(tmp_path_factory.mktemp("refused")))


def refuse(tiny: TinyJob) -> TinyJob:
    schedule = [{"call": 1, "kind": "reject", "rows": [0, 1], "code": "invalid_email"}]
    connection = {"path": str(tiny.members_file), "schedule": schedule}
    tiny.spec["destinations"]["store"] = {"type": "failing", "connection": connection}
    tiny.write()
    go(tiny)
    return tiny


def go(job: TinyJob) -> dict[str, Any]:
    return run(make_plan(load_job(job.path)), Silent())


def dlq(*words: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["dlq", *map(str, words), "-o", "json"])
    if result.exception:
        raise result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def missing(job: TinyJob) -> list[int]:
    there = Audiences.read(job.members_file).values("adults", "email")
    return [n for n in range(PEOPLE) if email(n) not in there]


def test_every_refused_row_is_listed_with_its_code_and_no_personal_value(seen: TinyJob) -> None:
    letters = dlq("list", seen.path)["letters"]
    assert [(x["operation"], x["code"], x["state"]) for x in letters] == [("add", "invalid_email", "open")] * 2
    text = CliRunner().invoke(app, ["dlq", "list", str(seen.path)]).stdout
    assert "canary" not in (text + json.dumps(letters)).lower()


def test_one_letter_is_shown_with_what_will_become_of_it(seen: TinyJob) -> None:
    person = dlq("list", seen.path)["letters"][0]["person_id"]
    shown = dlq("show", seen.path, "--sync", "adults", "--person", person)
    assert shown["person_id"] == person
    assert "held back" in shown["sentences"][1]
    text = CliRunner().invoke(app, ["dlq", "show", str(seen.path), "--sync", "adults", "--person", person]).stdout
    assert "invalid_email" in text


def test_a_replayed_row_goes_out_with_the_next_run_and_a_held_one_does_not(refused: TinyJob) -> None:
    first, second = (x["person_id"] for x in dlq("list", refused.path)["letters"])
    assert go(refused)["syncs"]["adults"]["adds"] == 0
    assert dlq("replay", refused.path, "--sync", "adults", "--person", first)["replayed"] == 1
    go(refused)
    assert [x["person_id"] for x in dlq("list", refused.path)["letters"]] == [second]
    assert len(missing(refused)) == 1


def test_a_replay_decides_consent_again(refused: TinyJob) -> None:
    refused.write_consents(dict.fromkeys(missing(refused), "withdrawn"), day=2)
    assert dlq("replay", refused.path, "--sync", "adults")["replayed"] == 2
    summary = go(refused)
    assert summary["syncs"]["adults"]["refused"] == {"withdrawn": 2}
    assert len(missing(refused)) == 2


def test_a_discarded_row_is_not_sent_and_listed_only_when_asked_for(refused: TinyJob) -> None:
    assert dlq("discard", refused.path, "--sync", "adults")["discarded"] == 2
    assert dlq("list", refused.path)["letters"] == []
    assert len(dlq("list", refused.path, "--discarded")["letters"]) == 2
    assert go(refused)["syncs"]["adults"]["adds"] == 0


def test_what_somebody_decided_about_letters_is_in_the_log(refused: TinyJob) -> None:
    dlq("replay", refused.path, "--sync", "adults")
    log = (refused.folder / "state" / "audit" / "000001.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["action"] == "dead_letters.replayed"
    assert json.loads(log[-1])["counts"] == {"letters": 2}


def test_a_sync_that_is_not_there_is_named_with_the_nearest_one(seen: TinyJob) -> None:
    with pytest.raises(ConfigError, match="did you mean 'adults'"):
        dlq("list", seen.path, "--sync", "adult")


def test_a_person_without_a_letter_is_a_sentence(seen: TinyJob) -> None:
    with pytest.raises(ConfigError, match="no dead letter"):
        dlq("show", seen.path, "--sync", "adults", "--person", "nobody")


def test_a_job_that_never_ran_has_no_letters(tiny: TinyJob) -> None:
    assert dlq("list", tiny.path)["letters"] == []
    assert dlq("replay", tiny.path, "--sync", "adults")["replayed"] == 0
