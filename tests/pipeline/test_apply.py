"""A plan that was approved is carried out as it was, once, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consentry.audit import verify
from consentry.cli.main import app
from consentry.consent.keys import Keyring
from consentry.consent.ledger import Ledger
from consentry.errors import Blocked, ConfigError
from consentry.pipeline.apply import apply
from consentry.pipeline.letters import replay_letters
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import pending, run
from consentry.store import Store
from consentry.testing.memory import Audiences
from tests.conftest import GIVEN, PEOPLE, TinyJob, choice, email, make_tiny


def plan(job: TinyJob, **options: Any) -> Path:
    out = job.folder / "plan.json"
    pending(make_plan(load_job(job.path)), Silent(), out=out, **options)
    return out


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> TinyJob:
    """A job with a plan beside it, for tests after which it is as it was."""
    job = make_tiny(tmp_path_factory.mktemp("planned"))
    plan(job)
    return job


def file_of(job: TinyJob) -> Path:
    return job.folder / "plan.json"


def go(job: TinyJob) -> dict[str, Any]:
    return run(make_plan(load_job(job.path)), Silent())


def members(job: TinyJob) -> set[str]:
    return Audiences.read(job.members_file).values("adults", "email")


def refusal(path: Path, **options: Any) -> Blocked:
    with pytest.raises(Blocked, match="Nothing was sent") as caught:
        apply(path, Silent(), **options)
    assert caught.value.exit_code == 5
    return caught.value


def events(job: TinyJob) -> list[dict[str, Any]]:
    lines = (job.folder / "state" / "audit" / "000001.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_plan_file_says_what_would_be_sent_and_calls_nobody(planned: TinyJob) -> None:
    found = json.loads(file_of(planned).read_text())
    assert not planned.members_file.exists()
    assert found["syncs"]["adults"]["adds"] == PEOPLE
    assert len(found["syncs"]["adults"]["samples"]["add"]) == 5
    assert found["policy"]["sha256"] == load_job(planned.path).policy.sha256
    assert found["inputs"]["ledger"]["size"] == PEOPLE
    assert found["inputs"]["streams"]["crm.people"]["in"] == PEOPLE


def test_a_plan_file_holds_no_personal_value(planned: TinyJob) -> None:
    text = file_of(planned).read_text()
    assert "canary" not in text.lower()
    assert "example.com" not in text
    assert "7700900" not in text
    assert not any(name in text for name in GIVEN)


def test_an_approved_plan_is_carried_out_and_the_approval_is_in_the_log(tiny: TinyJob) -> None:
    path = plan(tiny)
    summary = apply(path, Silent(), approved_by="reviewer")
    assert (summary["status"], summary["syncs"]["adults"]["acknowledged"]) == ("ok", PEOPLE)
    assert members(tiny) == {email(n) for n in range(PEOPLE)}
    [applied] = [event for event in events(tiny) if event["action"] == "plan.applied"]
    assert (applied["approved_by"], applied["seal"]) == ("reviewer", json.loads(path.read_text())["seal"])
    assert verify(tiny.folder / "state" / "audit").ok


def test_a_run_after_an_applied_plan_has_nothing_left_to_send(tiny: TinyJob) -> None:
    apply(plan(tiny), Silent())
    again = go(tiny)["syncs"]["adults"]
    assert (again["adds"], again["updates"], again["removes"], again["api_calls"]) == (0, 0, 0, 0)


def test_a_plan_is_applied_once(tiny: TinyJob) -> None:
    path = plan(tiny)
    apply(path, Silent())
    assert refusal(path).code == "plan_applied"


EDITS: list[Callable[[dict[str, Any]], Any]] = [
    lambda body: body["syncs"]["adults"].update(adds=1),
    lambda body: body.update(allow=["adults.max_creates"]),
    lambda body: body.update(made_at="2999-01-01T00:00:00.000000Z"),
    lambda body: body.pop("seal"),
    lambda body: body.update(seal="0" * 64),
    lambda body: body.update(key_version=7),
]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_plan_is_refused(planned: TinyJob, edit: Callable[[dict[str, Any]], Any]) -> None:
    body = json.loads(file_of(planned).read_text())
    edit(body)
    edited = planned.folder / "edited.json"
    edited.write_text(json.dumps(body))
    assert refusal(edited).code == "plan_edited"
    assert not planned.members_file.exists()


def test_a_plan_that_is_too_old_is_refused(planned: TinyJob) -> None:
    assert refusal(file_of(planned), max_age=timedelta()).code == "plan_stale"


def test_a_plan_of_a_job_that_was_changed_is_refused(tiny: TinyJob) -> None:
    path = plan(tiny)
    segment = tiny.folder / "segments" / "adults.yaml"
    segment.write_text(segment.read_text().replace("18", "30"))
    assert refusal(path).code == "plan_stale"


def test_a_plan_that_another_run_overtook_is_refused(tiny: TinyJob) -> None:
    path = plan(tiny)
    go(tiny)
    assert refusal(path).code == "plan_drifted"


def test_a_plan_that_a_newer_plan_overtook_is_refused(tiny: TinyJob) -> None:
    older = plan(tiny).rename(tiny.folder / "older.json")
    plan(tiny)
    assert refusal(older).code == "plan_drifted"


def test_a_plan_is_refused_when_the_difference_is_another_one_now(tiny: TinyJob) -> None:
    connection = {"path": str(tiny.members_file), "schedule": [{"call": 1, "kind": "reject", "rows": [0]}]}
    tiny.spec["destinations"]["store"] = {"type": "failing", "connection": connection}
    tiny.write()
    go(tiny)
    path = plan(tiny)
    replay_letters(load_job(tiny.path), "adults", [])
    assert refusal(path).code == "plan_drifted"


def test_a_withdrawal_after_the_plan_makes_it_another_one(tiny: TinyJob) -> None:
    path = plan(tiny)
    state, loaded = tiny.folder / "state", load_job(tiny.path)
    store = Store.in_file(state / "control.db")
    said = choice(3, "withdrawn", 2)
    row = {**said, "source_system": "form", "source_event_id": "late", "identifier_value": said["identifier"]}
    Ledger(store, Keyring.from_file(state / "keys.json")).record([row], policy=loaded.policy)
    store.close()
    found = refusal(path)
    assert (found.code, "39 adds (planned 40)" in str(found)) == ("plan_drifted", True)


def test_an_apply_that_was_paused_goes_on_with_the_same_plan(tiny: TinyJob) -> None:
    connection = {"path": str(tiny.members_file), "schedule": [{"call": 2, "kind": "later", "after": 900}]}
    tiny.spec["destinations"]["store"] = {"type": "failing", "connection": connection}
    tiny.write()
    path = plan(tiny)
    assert apply(path, Silent())["status"] == "paused"
    assert len(members(tiny)) == 10
    summary = apply(path, Silent(), max_age=timedelta())
    assert (summary["status"], summary["resumed"]) == ("ok", True)
    assert len(members(tiny)) == PEOPLE
    assert not Audiences.read(tiny.members_file).repeated()


def test_validation_checkpoints_a_guard_is_told_in_the_plan_blocks_the_sync_and_is_waived_with_it(
    tiny: TinyJob,
) -> None:
    tiny.spec["syncs"]["adults"]["guards"] = {"max_creates": 5}
    tiny.write()
    [guard] = json.loads(plan(tiny).read_text())["syncs"]["adults"]["guards"]
    assert (guard["guard"], guard["allowed"]) == ("adults.max_creates", False)
    assert apply(tiny.folder / "plan.json", Silent())["status"] == "blocked"
    assert apply(plan(tiny, allow=frozenset({"adults.max_creates"})), Silent())["status"] == "ok"
    assert len(members(tiny)) == PEOPLE


def test_something_that_is_no_plan_is_a_sentence(tmp_path: Path) -> None:
    for text in ("nonsense", "[]", "{}"):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(ConfigError, match="no plan"):
            apply(tmp_path / "plan.json", Silent())
    with pytest.raises(ConfigError, match="cannot be read"):
        apply(tmp_path / "nowhere.json", Silent())


def test_the_commands_plan_and_apply_a_job(tiny: TinyJob) -> None:
    out = tiny.folder / "plan.json"
    command = CliRunner()
    planned = command.invoke(app, ["plan", str(tiny.path), "--out", str(out), "--detailed-exitcode", "-o", "json"])
    assert (planned.exit_code, json.loads(planned.stdout)["syncs"]["adults"]["adds"]) == (2, PEOPLE)
    applied = command.invoke(app, ["apply", str(out), "--approved-by", "reviewer", "--max-age", "1h", "-o", "json"])
    assert (applied.exit_code, json.loads(applied.stdout)["approved_by"]) == (0, "reviewer")
    refused = command.invoke(app, ["apply", str(out)])
    assert isinstance(refused.exception, Blocked)
    assert command.invoke(app, ["apply", str(out), "--max-age", "soon"]).exit_code == 2


def test_a_plan_can_be_applied_to_a_job_that_lies_elsewhere(tiny: TinyJob) -> None:
    path = plan(tiny)
    elsewhere = tiny.folder / "elsewhere"
    shutil.copytree(tiny.folder, elsewhere, ignore=shutil.ignore_patterns("elsewhere", "state"))
    tiny.path.unlink()
    with pytest.raises(ConfigError):
        apply(path, Silent())
    assert apply(path, Silent(), job=elsewhere / "job.yaml")["status"] == "ok"
