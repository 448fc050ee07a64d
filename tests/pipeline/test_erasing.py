"""Somebody who is erased is gone from every store of the job, does not come back, and leaves the destination."""

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
from consentry.pipeline.stewarding import stewarding
from consentry.testing.memory import Audiences
from tests.conftest import TinyJob, email

WHERE_DATA_LIES = ("raw", "clean", "quarantine", "identity", "profile", "ops")


def erase(tiny: TinyJob, *words: str, stdin: str = "") -> dict[str, object]:
    call = ["erase", str(tiny.path), "--approved-by", "Dana", *words, "-o", "json"]
    result = CliRunner().invoke(app, call, input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def again(tiny: TinyJob) -> dict[str, Any]:
    return run(make_plan(load_job(tiny.path)), Silent())


def tables_with(tiny: TinyJob, text: str) -> list[str]:
    with stewarding(load_job(tiny.path)) as context:
        warehouse = context.warehouse
        tables = [table for zone in WHERE_DATA_LIES for table in warehouse.tables(zone)]
        return [table for table in tables if any(text in str(batch.to_pylist()) for batch in warehouse.read(table))]


def members(tiny: TinyJob) -> set[str]:
    return set(Audiences.read(tiny.members_file).values("adults", "email"))


def files_with(tiny: TinyJob, text: str) -> list[str]:
    files = [path for path in (tiny.folder / "state").rglob("*") if path.is_file()]
    return [path.name for path in files if text.encode() in path.read_bytes().lower()]


def test_privacy_by_design_an_erased_person_is_in_no_table_nor_file_and_leaves_the_destination(tiny: TinyJob) -> None:
    tiny.write_people(range(8))
    contract = tiny.folder / "contracts" / "people.yaml"
    spec = yaml.safe_load(contract.read_text())
    spec["columns"]["phone"]["parse"] = [{"phone": {"region": "GB"}}]
    contract.write_text(yaml.safe_dump(spec))
    again(tiny)
    assert tables_with(tiny, email(3))
    done = erase(tiny, "--by", "email", "--value", "-", stdin=f"{email(3).upper()}\n")
    assert (done["records"], done["events"]) == (1, {"erased": 1})
    assert tables_with(tiny, email(3)) == []
    assert tables_with(tiny, str(done["person_id"])) == ["identity.identity_event", "identity.person"]
    assert files_with(tiny, email(3)) == [] and files_with(tiny, email(4)) != []

    # The sources send everybody again; one line is broken, and one number is readable by the contract alone.
    tiny.write_people(range(9))
    people = tiny.folder / "people.csv"
    late = "98,late.canary@example.com,07700 900003,Zoe,33,2026-01-01T00:00:00Z\n"
    broken = f'99,"{email(3)}" <x>,a,b,c,d,e,f\n'
    people.write_text(people.read_text().replace(email(3), email(3).upper()) + late + broken)
    tiny.write_consents({3: "granted"}, day=1)
    summary = again(tiny)
    assert summary["rows"]["erased"] == 3
    assert members(tiny) == {email(number) for number in range(9)} - {email(3)}
    assert tables_with(tiny, email(3)) == tables_with(tiny, email(3).upper()) == []
    assert tables_with(tiny, "late.canary@example.com") == []
    assert files_with(tiny, email(3)) == []
    with stewarding(load_job(tiny.path)) as context:
        assert context.warehouse.count("identity.golden") == 8
    log = "".join(path.read_text() for path in (tiny.folder / "state" / "audit").glob("*.jsonl"))
    assert '"action":"identity.erased"' in log and '"by":"Dana"' in log and email(3) not in log


def test_an_erased_person_leaves_where_nobody_else_would_whatever_the_guards(tiny: TinyJob) -> None:
    tiny.spec["syncs"]["adults"] |= {"mode": "upsert", "guards": {"max_deletes": 0}}
    tiny.write()
    tiny.write_people(range(4))
    again(tiny)
    erase(tiny, "--by", "email", "--value", email(3))
    again(tiny)
    assert members(tiny) == {email(number) for number in range(3)}


def test_a_phone_that_others_share_is_not_suppressed_with_one_of_them(tiny: TinyJob) -> None:
    tiny.write_people(range(4))
    people = tiny.folder / "people.csv"
    people.write_text(people.read_text().replace("+447700900002", "+447700900001").replace("CanaryCato", "Zoe"))
    again(tiny)
    done = erase(tiny, "--by", "email", "--value", email(1))
    assert (done["records"], done["suppressed"]) == (1, 1)
    again(tiny)
    assert members(tiny) == {email(number) for number in (0, 2, 3)}


def test_whom_to_erase_must_be_clear(tiny: TinyJob) -> None:
    tiny.write_people(range(3))
    people = tiny.folder / "people.csv"
    people.write_text(people.read_text().replace("+447700900002", "+447700900001").replace("CanaryCato", "Zoe"))
    again(tiny)
    with pytest.raises(ConfigError, match="nobody to erase"):
        erase(tiny, "--person", "x")
    with pytest.raises(ConfigError, match="--person ID, or --by TYPE"):
        erase(tiny)
    with pytest.raises(ConfigError, match=r"2 people .* Name one of them with --person"):
        erase(tiny, "--by", "phone", "--value", "+447700900001")


def test_who_withdraws_the_consent_to_linking_is_taken_out_of_the_person(tiny: TinyJob) -> None:
    tiny.spec["identity"] = {"linking": {"consent": "news"}}
    tiny.write()
    tiny.write_people(range(3))
    people = tiny.folder / "people.csv"
    people.write_text(people.read_text().replace("+447700900002", "+447700900001").replace("CanaryCato", "CanaryBryn"))
    again(tiny)
    assert people_of(tiny) == 2
    tiny.write_consents({2: "withdrawn"}, day=3)
    again(tiny)
    assert people_of(tiny) == 3


def people_of(tiny: TinyJob) -> int:
    with stewarding(load_job(tiny.path)) as context:
        return context.warehouse.count("identity.golden")


def test_linking_names_purposes_of_the_policy_and_sources_of_the_job(tiny: TinyJob) -> None:
    tiny.spec["identity"] = {"linking": {"consent": "newz", "purposes": {"crn": ["news"], "crm": ["adz"]}}}
    tiny.write()
    with pytest.raises(ConfigError) as caught:
        load_job(tiny.path)
    faults = "\n".join(caught.value.faults)
    assert "no purpose 'newz'; did you mean 'news'?" in faults
    assert "no source 'crn'; did you mean 'crm'?" in faults and "no purpose 'adz'" in faults
