"""A job on a quota: one account is one quota, and what does not fit today goes on tomorrow."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from typer.testing import CliRunner

from consentry.cli.main import app
from consentry.pipeline.accounts import account_of
from consentry.pipeline.load import load_job
from consentry.testing.memory import Audiences
from tests.conftest import PEOPLE, TinyJob, email


def pausing(job: TinyJob, *calls: int) -> None:
    schedule = [{"call": call, "kind": "later", "after": 900} for call in calls]
    connection = {"path": str(job.members_file), "schedule": schedule}
    job.spec["destinations"]["store"] = {"type": "failing", "connection": connection}
    job.write()


def go(job: TinyJob) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["run", str(job.path), "-o", "json"])
    return result.exit_code, json.loads(result.stdout)


def test_a_wait_beyond_the_budget_pauses_the_run_and_the_next_goes_on_where_it_stopped(tiny: TinyJob) -> None:
    pausing(tiny, 3)
    code, summary = go(tiny)
    sync = summary["syncs"]["adults"]
    assert (code, summary["status"], sync["status"], sync["after"]) == (4, "paused", "paused", 900)
    assert sync["acknowledged"] == 20
    code, summary = go(tiny)
    sync = summary["syncs"]["adults"]
    assert (code, summary["resumed"], sync["adds"], sync["acknowledged"]) == (0, True, 20, 20)
    found = Audiences.read(tiny.members_file)
    assert found.values("adults", "email") == {email(n) for n in range(PEOPLE)}
    assert not found.repeated()


def test_a_withdrawal_during_the_pause_is_not_sent_when_the_run_goes_on(tiny: TinyJob) -> None:
    pausing(tiny, 2)
    assert go(tiny)[0] == 4
    tiny.write_consents(dict.fromkeys(range(PEOPLE), "withdrawn"), day=2)
    code, summary = go(tiny)
    assert (code, summary["syncs"]["adults"]["adds"]) == (0, 0)
    assert Audiences.read(tiny.members_file).values("adults", "email") == set()


@pytest.fixture
def two_blocks(tiny: TinyJob) -> TinyJob:
    """The tiny job with HubSpot as a source and as a destination, which nobody calls."""
    stream = deepcopy(tiny.spec["sources"]["crm"]["streams"]["people"]) | {"options": {}, "mode": "append"}
    hubspot = {"type": "hubspot", "connection": {"base_url": "http://127.0.0.1:9", "token": "${HUBSPOT_TEST_TOKEN}"}}
    tiny.spec["sources"]["hub"] = {**deepcopy(hubspot), "streams": {"contacts": stream}}
    tiny.spec["destinations"]["lists"] = deepcopy(hubspot)
    return tiny


def test_a_source_and_a_destination_with_one_token_share_one_quota(
    two_blocks: TinyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBSPOT_TEST_TOKEN", "pat-1")
    loaded = load_job(two_blocks.write())
    assert account_of(loaded.job, loaded.settings, "destinations.lists") == "hub"


def test_another_token_is_another_account_and_a_block_without_one_stands_alone(
    two_blocks: TinyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBSPOT_TEST_TOKEN", "pat-1")
    monkeypatch.setenv("HUBSPOT_OTHER_TOKEN", "pat-2")
    two_blocks.spec["destinations"]["lists"]["connection"]["token"] = "${HUBSPOT_OTHER_TOKEN}"
    loaded = load_job(two_blocks.write())
    names = ("sources.crm", "sources.hub", "destinations.lists", "destinations.store")
    found = [account_of(loaded.job, loaded.settings, key) for key in names]
    assert found == ["crm", "hub", "lists", "store"]
