"""Every command, on good input and on bad: a clear sentence, the right exit code, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from consentry.cli.reference import pages
from consentry.testing.sandbox import Sandbox
from tests.cli.conftest import Cli, told
from tests.conftest import PEOPLE, TinyJob, email

ROOT = Path(__file__).parents[2]


def test_the_page_of_commands_is_the_one_the_commands_make() -> None:
    assert (ROOT / "docs" / "commands.md").read_text() == "\n".join(pages()) + "\n", "run `make docs`"


def test_every_command_has_help(cli: Cli) -> None:
    for command in ("init", "validate", "check", "discover", "plan", "run", "status", "explain", "sandbox", "demo"):
        code, out, _ = cli(command, "--help")
        assert code == 0
        assert "Usage" in out


def test_a_command_line_begins_without_what_only_models_need() -> None:
    heavy = {"pint", "scipy.sparse", "scipy.special", "scipy.stats", "scipy.optimize", "splink", "sklearn", "skops"}
    code = "import sys, consentry.cli; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "consentry.pipeline.run" in found and heavy & set(found) == set()


def test_version(cli: Cli) -> None:
    assert cli("--version")[1].startswith("consentry 0.")


def test_run_status_explain_and_verify_agree(cli: Cli, tiny: TinyJob) -> None:
    summary = told(cli("run", tiny.path, "--output", "json"))
    assert summary["syncs"]["adults"]["acknowledged"] == PEOPLE
    status = told(cli("status", tiny.path, "--output", "json"))
    assert status["runs"][0]["run_id"] == summary["run_id"]
    assert status["syncs"]["adults"]["acknowledged"] == PEOPLE
    code, out, _ = cli("audit", "verify", tiny.path, "--output=json")
    verdict = json.loads(out)
    assert (code, verdict["ok"]) == (0, True)
    code, out, _ = cli("audit", "verify", tiny.folder / "state", "--expect", f"{verdict['events']}:{verdict['head']}")
    assert code == 0


def test_explain_says_why_one_person_is_where_they_are(cli: Cli, ran: TinyJob) -> None:
    found = told(cli("explain", ran.path, "--by", "email", "--value", email(3), "--output", "json"))
    assert found["segments"] == ["adults"]
    assert {"target": "adults", "allow": True, "reason": "allow"} in found["decisions"]
    assert email(3) not in json.dumps(found)
    code, _, err = cli("explain", ran.path, "--person", "nobody")
    assert (code, "no such person" in err) == (1, True)


def test_explain_prints_the_plan(cli: Cli, tiny: TinyJob) -> None:
    code, out, _ = cli("explain", tiny.path)
    assert code == 0
    assert "age >= 18" in out
    assert "max_delete_pct" in out


def test_plan_tells_changes_by_its_exit_code(cli: Cli, tiny: TinyJob) -> None:
    assert cli("plan", tiny.path, "--detailed-exitcode")[0] == 2
    cli("run", tiny.path)
    assert cli("plan", tiny.path, "--detailed-exitcode")[0] == 0


def test_validate_and_its_schema(cli: Cli, tiny: TinyJob) -> None:
    assert told(cli("validate", tiny.path, "-o", "json"))["ok"] is True
    schema = json.loads(cli("validate", "--schema")[1])
    assert schema["title"] == "consentry job"
    assert "connection_hubspot" in schema["$defs"]


@pytest.mark.parametrize("template", ["quickstart", "tracking"])
def test_init_writes_a_job_that_is_valid(cli: Cli, tmp_path: Path, template: str) -> None:
    assert cli("init", tmp_path / "mine", "--template", template)[0] == 0
    assert cli("validate", tmp_path / "mine" / "job.yaml")[0] == 0
    code, _, err = cli("init", tmp_path / "mine")
    assert (code, "is not empty" in err) == (1, True)


def test_connectors_are_listed(cli: Cli) -> None:
    listed = {row["type"]: row["roles"] for row in told(cli("connectors", "list", "-o", "json"))["connectors"]}
    assert listed["files"] == ["source", "destination"]
    assert "source" in listed["hubspot"]
    assert listed["fullcontact"] == ["enrichment"]


def test_check_and_discover(cli: Cli, tiny: TinyJob) -> None:
    found = told(cli("check", tiny.path, "-o", "json"))
    assert found["ok"] is True
    assert {row["name"] for row in found["connections"]} == {"crm", "form", "store"}
    streams = told(cli("discover", tiny.path, "-o", "json"))["streams"]
    assert {row["stream"] for row in streams} == {"people", "consents"}


def test_audit_of_sources_tells_columns_key_missing_values_and_freshness(cli: Cli, tiny: TinyJob) -> None:
    contract = tiny.folder / "contracts" / "people.yaml"
    content = contract.read_text() + "watch: {freshness: {column: updated_at, max_hours: 10000}}\n"
    contract.write_text(content)
    people = tiny.folder / "people.csv"
    people.write_text(people.read_text().replace(",24,2026", ",,2026"))
    assert cli("contract", "infer", tiny.path, "crm.people", "--out", tiny.folder / "draft.yaml")[0] == 0
    drafted = yaml.safe_load((tiny.folder / "draft.yaml").read_text())["columns"]
    assert (drafted["age"]["dtype"], drafted["age"]["nullable"]) == ("Int64", True)
    rows = told(cli("discover", tiny.path, "-o", "json"))["streams"]
    assert {row["stream"]: row["primary_key"] for row in rows} == {"people": ["id"], "consents": ["source", "event_id"]}
    assert cli("run", tiny.path)[0] == 0
    streams = told(cli("quality", "report", tiny.path, "-o", "json"))["streams"]
    (found,) = (stream for stream in streams if stream["stream"] == "crm.people")
    assert {row["column"]: row["null_rate"] for row in found["columns"]}["age"] == 1 / PEOPLE
    assert found["scores"][0]["freshness"] == 100


def test_a_wrong_token_is_a_sentence(cli: Cli, tiny: TinyJob, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox() as sandbox:
        monkeypatch.setenv("CRM_TOKEN", "canary-wrong-token")
        connection = {"base_url": sandbox.url("hubspot"), "token": "${CRM_TOKEN}"}
        streams = {"contacts": tiny.spec["sources"]["crm"]["streams"]["people"] | {"options": {}, "mode": "append"}}
        tiny.spec["sources"]["crm"] = {"type": "hubspot", "connection": connection, "streams": streams}
        tiny.write()
        code, out, err = cli("run", tiny.path)
        assert code == 1
        assert "401" in err
        assert "canary-wrong-token" not in out + err
        found = told(cli("check", tiny.path, "-o", "json"), 1)
        assert found["ok"] is False


@pytest.mark.parametrize("command", ["validate", "run", "plan", "check", "status", "explain", "discover"])
def test_a_missing_job_file_is_a_sentence(cli: Cli, command: str) -> None:
    code, _, err = cli(command, "nowhere/job.yaml")
    assert (code, "cannot be read" in err) == (1, True)


def test_bad_yaml_names_file_and_line_as_text_and_as_json(cli: Cli, tiny: TinyJob) -> None:
    tiny.path.write_text(tiny.path.read_text().replace("version: 1\n", "version: 1\nversion: 1\nstat: no\n"))
    code, _, err = cli("validate", tiny.path)
    assert code == 1
    assert "job.yaml:2: The key 'version' stands here and on line 1" in err
    code, out, err = cli("validate", tiny.path, "--output", "json")
    assert (code, out) == (1, "")
    assert len(json.loads(err)["faults"]) >= 2


def test_an_unknown_option_is_a_sentence(cli: Cli) -> None:
    code, _, err = cli("run", "--no-such-option")
    assert (code, "No such option" in err) == (1, True)


def test_an_audit_log_that_is_not_there_is_unreadable(cli: Cli, tmp_path: Path) -> None:
    assert cli("audit", "verify", tmp_path)[0] == 5
    assert cli("audit", "verify", tmp_path, "--expect", "nonsense")[0] == 5


def test_the_flows_of_data_are_told_by_purpose(cli: Cli, ran: TinyJob) -> None:
    found = told(cli("audit", "flows", ran.folder / "state", "--output", "json"))["flows"]
    read = {(flow["purpose"], flow["of"]) for flow in found if flow["action"] == "source.read"}
    assert read == {(purpose, source) for purpose in ("news", "profiling") for source in ("crm", "form")}
    profiling = told(cli("audit", "flows", ran.path, "--purpose", "profiling", "--output", "json"))["flows"]
    actions = {flow["action"] for flow in profiling}
    assert "segment.evaluated" in actions and "egress.sent" not in actions
    assert cli("audit", "flows", ran.path)[0] == 0
    assert cli("audit", "flows", ran.folder / "contracts")[0] == 5


def test_a_tampered_log_exits_with_two(cli: Cli, ran: TinyJob) -> None:
    log = ran.folder / "state" / "audit" / "000001.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"deny":0', b'"deny":9', 1))
    assert cli("audit", "verify", ran.folder / "state")[0] == 2


def test_a_blocked_run_exits_with_five(cli: Cli, ran: TinyJob) -> None:
    ran.write_people(range(5))
    code, _, err = cli("run", ran.path)
    assert (code, "--allow crm.people" in err) == (5, True)


def test_a_second_run_at_the_same_time_is_refused(cli: Cli, tiny: TinyJob) -> None:
    from consentry.audit import AuditLog

    held = AuditLog(tiny.folder / "state" / "audit")
    code, _, err = cli("run", tiny.path)
    held.close()
    assert (code, "another run" in err) == (1, True)
