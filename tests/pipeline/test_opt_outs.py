"""What people told a destination itself is in the ledger before anything is pushed there."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import pending, run
from consentry.testing.memory import Audiences
from tests.conftest import PEOPLE, TinyJob, email


@pytest.fixture
def job(tiny: TinyJob) -> TinyJob:
    """The tiny job, whose destination has a file of opt-outs."""
    tiny.spec["destinations"]["store"]["connection"]["opt_outs"] = str(tiny.folder / "opt-outs.jsonl")
    tiny.write()
    return tiny


def opt_out(job: TinyJob, *lines: Any) -> None:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (job.folder / "opt-outs.jsonl").write_text(text)


def word(number: int, reason: str = "unsubscribed", at: str = "2026-01-20T00:00:00+00:00") -> dict[str, str]:
    about = {"identifier_type": "email", "value": email(number), "reason": reason, "at": at}
    return {**about, "event_id": f"{reason}-{number}-{at}"}


def go(job: TinyJob) -> dict[str, Any]:
    return run(make_plan(load_job(job.path)), Silent())


def members(job: TinyJob) -> set[str]:
    return Audiences.read(job.members_file).values("adults", "email")


def test_nobody_who_unsubscribed_there_is_ever_added(job: TinyJob) -> None:
    opt_out(job, word(3), word(4, "complained"), word(5, "bounced"), word(6, "suppressed"))
    summary = go(job)
    assert members(job) == {email(n) for n in range(PEOPLE) if n not in (3, 4, 5, 6)}
    assert summary["syncs"]["adults"]["refused"] == {"withdrawn": 2, "objected": 1, "denied": 1}
    assert not any(effect.identifiers.get("email") == email(3) for effect in Audiences.read(job.members_file).effects)


def test_who_unsubscribes_there_is_taken_out_and_not_subscribed_again(job: TinyJob) -> None:
    go(job)
    opt_out(job, word(7, at=datetime.now(UTC).isoformat()))
    assert go(job)["syncs"]["adults"]["removes"] == 1
    assert go(job)["syncs"]["adults"]["adds"] == 0
    assert members(job) == {email(n) for n in range(PEOPLE) if n != 7}


def test_a_later_yes_counts_again(job: TinyJob) -> None:
    opt_out(job, word(7, at="2026-01-02T00:00:00+00:00"))
    go(job)
    assert email(7) not in members(job)
    job.write_consents({7: "granted"}, day=25)
    go(job)
    assert email(7) in members(job)


def test_an_opt_out_is_recorded_once_and_the_log_names_nobody(job: TinyJob) -> None:
    opt_out(job, word(7))
    go(job)
    go(job)
    log = (job.folder / "state" / "audit" / "000001.jsonl").read_text()
    pulled = [json.loads(line) for line in log.splitlines() if "suppression.pulled" in line]
    assert [event["counts"] for event in pulled] == [{"duplicate": 0, "new": 1}, {"duplicate": 0, "new": 0}]
    assert "canary" not in log


def test_where_opt_outs_cannot_be_read_nothing_is_sent_and_other_syncs_go_on(job: TinyJob) -> None:
    opt_out(job, word(1), "nonsense canary@example.com")
    job.spec["destinations"]["other"] = {"type": "memory", "connection": {"path": str(job.folder / "other.json")}}
    job.spec["syncs"]["others"] = deepcopy(job.spec["syncs"]["adults"]) | {"destination": "other"}
    job.policy["destinations"]["other"] = deepcopy(job.policy["destinations"]["store"])
    job.write()
    summary = go(job)
    assert (summary["status"], summary["syncs"]["adults"]["status"]) == ("failed", "failed")
    assert "could not be read" in summary["syncs"]["adults"]["sentence"]
    assert "canary" not in json.dumps(summary)
    assert not job.members_file.exists()
    # What was read before the bad line counts everywhere.
    assert Audiences.read(job.folder / "other.json").values("adults", "email") == {
        email(n) for n in range(PEOPLE) if n != 1
    }


def test_a_plan_asks_no_destination_for_its_opt_outs(job: TinyJob) -> None:
    opt_out(job, "this would fail")
    assert pending(make_plan(load_job(job.path)), Silent())["syncs"]["adults"]["adds"] == PEOPLE
