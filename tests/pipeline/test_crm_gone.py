"""A contact that HubSpot deleted leaves the destination; one that it merged goes on as the other (trap 9)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import yaml

from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.testing.memory import Audiences
from consentry.testing.sandbox import Sandbox
from tests.conftest import PEOPLE, TinyJob, email, person


@pytest.fixture
def hubspot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    folder = tmp_path / "hubspot"
    folder.mkdir()
    with (folder / "crm_contacts.jsonl").open("w") as file:
        for number in range(PEOPLE):
            one = person(number)
            named = {name: one[name] for name in ("email", "phone", "age")} | {"firstname": one["given_name"]}
            times = dict.fromkeys(("createdAt", "updatedAt"), one["updated_at"])
            file.write(json.dumps({"id": str(number + 1), "archived": False, **times, "properties": named}) + "\n")
    with Sandbox(data_folder=folder) as sandbox:
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        yield sandbox


@pytest.fixture
def job(tiny: TinyJob, hubspot: Sandbox) -> TinyJob:
    """The tiny job, with its people in HubSpot."""
    tiny.spec["sources"]["crm"] = {
        "type": "hubspot",
        "connection": {"base_url": "${HUBSPOT_BASE_URL}", "token": "${HUBSPOT_TOKEN}"},
        "streams": {
            "contacts": {
                "entity": "customer",
                "contract": "contracts/contacts.yaml",
                "primary_key": "id",
                "updated_at": "lastmodifieddate",
                "identifiers": {"email": "email", "phone": "phone"},
                "map": {"given_name": "firstname", "age": "age"},
            }
        },
    }
    columns = {name: {"dtype": "String", "nullable": True} for name in ("id", "email", "phone", "firstname")}
    columns |= {
        "age": {"dtype": "Int32", "nullable": True},
        "lastmodifieddate": {"dtype": "Datetime", "nullable": True},
    }
    contract = {"name": "contacts", "version": 1, "columns": columns}
    (tiny.folder / "contracts" / "contacts.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))
    tiny.write()
    return tiny


def test_trap_9_what_hubspot_deleted_or_merged_is_so_at_the_destination(job: TinyJob, hubspot: Sandbox) -> None:
    def members() -> set[str]:
        return Audiences.read(job.members_file).values("adults", "email")

    first = run(make_plan(load_job(job.path)), Silent())
    assert first["persons"] == PEOPLE
    assert members() == {email(number) for number in range(PEOPLE)}
    hubspot.hubspot._start = datetime.now(UTC)
    headers = {"Authorization": "Bearer sandbox-hubspot"}
    with httpx.Client(base_url=hubspot.url("hubspot"), headers=headers) as client:
        client.delete("/crm/objects/2026-09/contacts/8").raise_for_status()
        body = {"primaryObjectId": "3", "objectIdToMerge": "4"}
        client.post("/crm/objects/2026-09/contacts/merge", json=body).raise_for_status()
    second = run(make_plan(load_job(job.path)), Silent())
    assert second["syncs"]["adults"]["removes"] == 2
    gone = {email(7), email(2), email(3)} - members()
    # Contacts 3 and 4 are one person now, who stays with one of both addresses.
    assert email(7) in gone and len(gone) == 2 and len(members()) == PEOPLE - 2
