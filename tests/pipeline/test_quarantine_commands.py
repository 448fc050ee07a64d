"""consentry quarantine: from a bad row to a clean one, on the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from consentry.cli.main import app
from consentry.errors import ConfigError
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from tests.conftest import TinyJob, choice


def call(*words: str) -> dict[str, Any]:
    found = CliRunner().invoke(app, [*words, "--output", "json"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


@pytest.fixture
def bad(tiny: TinyJob) -> TinyJob:
    """A job with one row in quarantine: a contract wants the age of person 3 below 23."""
    path = tiny.folder / "contracts" / "people.yaml"
    contract = yaml.safe_load(path.read_text())
    contract["columns"]["age"]["checks"] = {"ne": 23}
    path.write_text(yaml.safe_dump(contract))
    run(make_plan(load_job(tiny.path)), Silent())
    return tiny


def test_content_is_shown_only_when_it_is_asked_for(bad: TinyJob) -> None:
    job = str(bad.path)
    (stream,) = call("quarantine", "list", job, "--stream", "crm.people")["quarantine"]
    assert (stream["stream"], stream["open"], stream["reasons"]) == ("crm.people", 1, {"not_allowed": 1})
    assert "canary" not in json.dumps(call("quarantine", "show", job)).lower()
    assert "canary" in json.dumps(call("quarantine", "show", job, "--raw")).lower()
    text = CliRunner().invoke(app, ["quarantine", "show", job]).stdout
    assert "age must not be 23." in text and "canary" not in text.lower()


def test_an_export_is_corrected_replayed_and_synced(bad: TinyJob) -> None:
    job, out = str(bad.path), bad.folder / "held.jsonl"
    call("quarantine", "export", job, "--raw", "--stream", "crm.people", "--out", str(out))
    assert out.stat().st_mode & 0o077 == 0
    row = json.loads(out.read_text())
    row["payload"]["age"] = "24"
    out.write_text(json.dumps(row))
    (done,) = call("quarantine", "replay", job, "--stream", "crm.people", "--fixes", str(out))["streams"]
    assert (done["judged"], done["mended"], done["clean"]) == (1, 1, 1)
    assert run(make_plan(load_job(bad.path)), Silent())["syncs"]["adults"]["adds"] == 1


def test_rows_are_discarded_only_by_choice_and_reason(bad: TinyJob) -> None:
    job = str(bad.path)
    refused = CliRunner().invoke(app, ["quarantine", "discard", job, "--stream", "crm.people", "--why", "test"])
    assert refused.exit_code != 0
    assert call("quarantine", "discard", job, "--stream", "crm.people", "--why", "test", "--all")["discarded"] == 1
    (stream,) = call("quarantine", "list", job, "--stream", "crm.people")["quarantine"]
    assert (stream["open"], stream["discarded"]) == (0, 1)
    log = "".join(path.read_text() for path in (bad.folder / "state" / "audit").glob("*.jsonl"))
    assert '"quarantine.discarded"' in log and "canary" not in log.lower()


def test_a_stream_that_is_not_there_is_named_with_the_nearest(bad: TinyJob) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'crm.people'"):
        CliRunner().invoke(app, ["quarantine", "show", str(bad.path), "--stream", "crm.peple"], catch_exceptions=False)


def test_erasure_reaches_the_quarantine(bad: TinyJob) -> None:
    whose = bad.folder / "whose.json"
    whose.write_text(json.dumps({"email": ["canary.person3@example.com"]}))
    assert call("quarantine", "erase", str(bad.path), "--identifiers", str(whose))["erased"] == 1


def test_a_replayed_answer_reaches_the_ledger(tiny: TinyJob) -> None:
    path = tiny.folder / "contracts" / "consents.yaml"
    contract = yaml.safe_load(path.read_text())
    contract["columns"]["state"]["checks"] = {"isin": ["granted"]}
    path.write_text(yaml.safe_dump(contract))
    lines = [choice(n, "denied" if n == 0 else "granted", 1) for n in range(40)]
    (tiny.folder / "consents-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(make_plan(load_job(tiny.path)), Silent())["consent"]["new"] == 39
    contract["columns"]["state"]["checks"] = {"isin": ["granted", "denied"]}
    path.write_text(yaml.safe_dump(contract))
    assert run(make_plan(load_job(tiny.path)), Silent())["consent"]["new"] == 1
