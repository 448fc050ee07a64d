"""tasks: what no call can do is shown with its deadline, and ends when somebody did it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from consentry.cli.main import app
from consentry.errors import ConfigError
from tests.conftest import TinyJob


def told(*words: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, words), "-o", "json"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return dict(json.loads(result.stdout))


def test_a_withdrawal_that_nobody_can_carry_out_by_a_call_is_a_task_until_somebody_did_it(tiny: TinyJob) -> None:
    tiny.policy["destinations"]["store"]["on_withdraw"] = ["manual"]
    tiny.write()
    assert told("tasks", "list", tiny.path)["tasks"] == []
    told("run", tiny.path)
    tiny.write_consents({3: "withdrawn"}, day=2)
    told("run", tiny.path)
    [task] = told("tasks", "list", tiny.path)["tasks"]
    assert (task["destination"], task["audience"], task["overdue"]) == ("store", "adults", False)
    assert [one["task_id"] for one in told("status", tiny.path)["tasks"]] == [task["task_id"]]
    text = CliRunner().invoke(app, ["status", str(tiny.path)]).stdout
    assert task["due_at"][:10] in text
    assert "canary" not in text
    assert told("tasks", "done", tiny.path, task["task_id"], "--by", "operator")["state"] == "done"
    assert told("tasks", "list", tiny.path)["tasks"] == []
    assert told("run", tiny.path)["syncs"]["adults"]["removes"] == 0
    last = [json.loads(line) for line in (tiny.folder / "state/audit/000001.jsonl").read_text().splitlines()]
    assert [event["by"] for event in last if event["action"] == "task.done"] == ["operator"]


def test_a_task_that_is_not_there_is_a_sentence(tiny: TinyJob) -> None:
    with pytest.raises(ConfigError, match="no open task"):
        told("tasks", "done", tiny.path, "nothing")
