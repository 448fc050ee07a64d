"""A job that is killed is taken up where it stopped: exactly the right members, nobody twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from consentry.audit import verify
from consentry.testing.sandbox import Sandbox
from tests.conftest import PEOPLE, TinyJob, email

LIST = "L-ADULTS"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as started:
        started.klaviyo.account.make_list("Adults", LIST)
        yield started


@pytest.fixture
def job(tiny: TinyJob) -> TinyJob:
    """The tiny job with a mailing list as its destination, sent to in four batches."""
    connection = {"base_url": "${KLAVIYO_BASE_URL}", "token": "${KLAVIYO_TOKEN}"}
    tiny.spec["destinations"]["store"] = {"type": "klaviyo", "connection": connection}
    tiny.spec["syncs"]["adults"] |= {"audience": LIST, "fields": {"first_name": "given_name"}}
    tiny.policy["destinations"]["store"]["connector"] = "klaviyo"
    tiny.write()
    return tiny


def start(job: TinyJob, sandbox: Sandbox) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "consentry.cli", "run", str(job.path), "--output", "json"]
    environment = {**os.environ, **sandbox.environment()}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(job: TinyJob, sandbox: Sandbox) -> dict[str, Any]:
    process = start(job, sandbox)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()
    return dict(json.loads(out))


def kill_when(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    end = time.monotonic() + 150
    while not reached() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def assert_exactly_the_right_members(sandbox: Sandbox, wanted: set[str]) -> None:
    assert sandbox.klaviyo.member_values("Adults") == wanted
    emails = [profile.value("email") for profile in sandbox.klaviyo.account.profiles.values()]
    assert len(emails) == len(set(emails))


@pytest.mark.parametrize("request_number", [5, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 2, 9))])
def test_a_job_killed_in_the_middle_of_delivery_ends_right(job: TinyJob, sandbox: Sandbox, request_number: int) -> None:
    sandbox.fault("delay", match="/klaviyo/*", times=1000, seconds=0.15)
    process = start(job, sandbox)
    kill_when(process, lambda: len(sandbox.requests) >= request_number)
    assert process.returncode == -signal.SIGKILL
    sandbox.clear_faults()
    summary = finish(job, sandbox)
    assert summary["resumed"] is True
    assert_exactly_the_right_members(sandbox, {email(n) for n in range(PEOPLE)})
    again = finish(job, sandbox)["syncs"]["adults"]
    assert (again["adds"], again["updates"], again["removes"], again["api_calls"]) == (0, 0, 0, 0)
    assert verify(job.folder / "state" / "audit").ok


def test_who_withdraws_while_the_job_lies_dead_is_not_in_the_list_in_the_end(job: TinyJob, sandbox: Sandbox) -> None:
    sandbox.fault("delay", match="/klaviyo/*", times=1000, seconds=0.15)
    process = start(job, sandbox)
    kill_when(process, lambda: len(sandbox.requests) >= 5)
    sandbox.clear_faults()
    job.write_consents(dict.fromkeys(range(0, PEOPLE, 4), "withdrawn"), day=2)
    summary = finish(job, sandbox)
    assert summary["resumed"] is True
    assert summary["rows"]["extracted"] == 2 * PEOPLE + PEOPLE // 4
    assert_exactly_the_right_members(sandbox, {email(n) for n in range(PEOPLE) if n % 4})


@pytest.mark.parametrize("stage", ["extract", pytest.param("merge", marks=pytest.mark.slow)])
def test_a_job_killed_in_an_earlier_stage_ends_right(job: TinyJob, sandbox: Sandbox, stage: str) -> None:
    # A stage is recognised by what it leaves behind: the folder of the loader, or the end of the consent stage.
    mark = {"extract": job.folder / "state" / "dlt" / "crm", "merge": job.folder / "state" / "audit" / "000001.jsonl"}
    process = start(job, sandbox)
    kill_when(
        process, lambda: mark[stage].exists() and (stage == "extract" or b"consent.r" in mark[stage].read_bytes())
    )
    finish(job, sandbox)
    assert_exactly_the_right_members(sandbox, {email(n) for n in range(PEOPLE)})
