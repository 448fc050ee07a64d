"""A destination that goes wrong: a sentence, a reason code; the other syncs go on, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import pending, run
from consentry.testing.memory import Audiences
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.hubspot_lists import ContactList
from tests.conftest import TinyJob, email, person

PEOPLE = 6


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    running.clear_faults()
    return running


def both(tiny: TinyJob, sandbox: Sandbox, vendor: str, audience: str, **connection: Any) -> TinyJob:
    """The tiny job with a second sync: `adults` goes to the vendor, `others` into a file."""
    there = {"base_url": sandbox.url(vendor), "token": f"${{TOKEN:-{sandbox.vendors[vendor].token}}}", **connection}
    tiny.spec["destinations"]["store"] = {"type": vendor, "connection": there}
    tiny.spec["destinations"]["file"] = {"type": "memory", "connection": {"path": str(tiny.members_file)}}
    tiny.policy["destinations"]["file"] = deepcopy(tiny.policy["destinations"]["store"])
    tiny.spec["syncs"]["others"] = {**deepcopy(tiny.spec["syncs"]["adults"]), "destination": "file"}
    tiny.spec["syncs"]["adults"] |= {"audience": audience, "fields": {"firstname": "given_name"}}
    tiny.write_people(range(PEOPLE))
    tiny.write()
    return tiny


def go(job: TinyJob) -> dict[str, Any]:
    """Run the job; the sync to the file must have done its work."""
    summary = run(make_plan(load_job(job.path)), Silent())
    assert summary["syncs"]["others"]["status"] == "ok"
    assert len(Audiences.read(job.members_file).members("adults")) == PEOPLE
    told: dict[str, Any] = summary["syncs"]["adults"]
    assert "canary" not in json.dumps(summary)
    return told


def a_list(sandbox: Sandbox) -> None:
    sandbox.hubspot.lists._lists["77"] = ContactList("77", "Insiders", "MANUAL", "2026-01-01T00:00:00Z")


def test_an_audience_that_is_not_there(tiny: TinyJob, sandbox: Sandbox) -> None:
    job = both(tiny, sandbox, "hubspot", "77")
    told = go(job)
    assert told["status"] == "failed", told
    assert "404" in told["sentence"] and "Check the names and ids in the job" in told["sentence"]
    a_list(sandbox)
    assert go(job)["acknowledged"] == PEOPLE


def test_credentials_that_are_wrong(tiny: TinyJob, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    job = both(tiny, sandbox, "hubspot", "77")
    a_list(sandbox)
    monkeypatch.setenv("TOKEN", "canary-token")
    told = go(job)
    assert told["status"] == "failed" and "refuses the credentials (401)" in told["sentence"]
    monkeypatch.delenv("TOKEN")
    assert go(job)["acknowledged"] == PEOPLE


def test_a_scope_that_was_revoked(tiny: TinyJob, sandbox: Sandbox) -> None:
    job = both(tiny, sandbox, "braze", "vips", identifier="email", create=True)
    sandbox.fault("revoked_scope", match="/users/track", times=1)
    told = go(job)
    assert told["status"] == "failed" and "Give them the scope it needs" in told["sentence"]
    assert told["dead_letters"] == 0, "it is about the key, and no row is at fault"
    assert go(job)["acknowledged"] == PEOPLE


def test_an_audience_below_the_platforms_minimum(tiny: TinyJob, sandbox: Sandbox) -> None:
    job = both(tiny, sandbox, "meta", "4711")
    sandbox.vendors["meta"].make("4711")  # type: ignore[attr-defined]
    rules = {"transform": "match_sha256", "rules": "meta@2026-08"}
    job.policy["destinations"]["store"] |= {"identifiers": {"email": rules}, "fields": {}}
    job.spec["syncs"]["adults"]["fields"] = {}
    job.write()
    told = go(job)
    assert (told["status"], told["adds"], told["api_calls"]) == ("ok", 0, 0)
    assert "fewer than 100 people" in told["sentence"] and "below_platform_minimum" in told["sentence"]
    planned = pending(make_plan(load_job(job.path)), Silent())["syncs"]["adults"]
    assert planned["withheld"] == "below_platform_minimum"
    assert planned["sentence"] == told["sentence"], "a plan says why it would send nothing"


def test_a_payload_of_10_mb_is_one_persons_dead_letter(tiny: TinyJob, sandbox: Sandbox) -> None:
    job = both(tiny, sandbox, "klaviyo", "L1")
    with sandbox.klaviyo.lock:
        sandbox.klaviyo.account.make_list("Insiders", "L1")
        sandbox.klaviyo.polls_to_complete = 1
    people = job.folder / "people.csv"
    name = person(2)["given_name"]
    lines = people.read_text().splitlines()
    lines[3] = lines[3].replace(name, "x" * 10_000_000)
    people.write_text("\n".join(lines) + "\n")
    told = go(job)
    assert (told["status"], told["acknowledged"], told["rejected"]) == ("ok", PEOPLE - 1, 1)
    assert sandbox.klaviyo.member_values("Insiders") == {email(n) for n in range(PEOPLE) if n != 2}
    assert go(job)["dead_letters"] == 1
    people.write_text(people.read_text().replace("x" * 10_000_000, name))
    assert go(job)["acknowledged"] == 1


@pytest.mark.slow
def test_answers_that_are_garbage(tiny: TinyJob, sandbox: Sandbox) -> None:
    job = both(tiny, sandbox, "iterable", "7")
    sandbox.vendors["iterable"].make("7")  # type: ignore[attr-defined]
    sandbox.fault("garbage", match="/lists/subscribe", times=6)
    told = go(job)
    assert (told["status"], told["unknown"]) == ("failed", PEOPLE)
    assert "whether it took effect is not known" in told["sentence"]
    assert go(job)["acknowledged"] == PEOPLE
    assert len(sandbox.vendors["iterable"].members()["7"]) == PEOPLE
