"""A segment that is stale or too small does not reach a destination; whoever withdrew is taken out all the same."""

from __future__ import annotations

from typing import Any

import pytest

from consentry.errors import ConfigError
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.testing.memory import Audiences
from tests.conftest import PEOPLE, TinyJob, email


def go(job: TinyJob, *allow: str) -> dict[str, Any]:
    return run(make_plan(load_job(job.path)), Silent(), allow=frozenset(allow))


def test_a_stale_segment_waits_and_a_withdrawal_does_not(ran: TinyJob) -> None:
    ran.spec["sources"]["crm"]["streams"]["people"]["freshness"] = "7 days"  # the newest record is 31 days old
    ran.write()
    ran.write_people(range(PEOPLE - 5))
    ran.write_consents({7: "withdrawn"}, day=2)
    sync = go(ran)["syncs"]["adults"]
    assert (sync["status"], "is stale" in sync["sentence"]) == ("blocked", True)
    members = Audiences.read(ran.members_file).values("adults", "email")
    assert members == {email(n) for n in range(PEOPLE) if n != 7}
    assert go(ran, "adults.stale")["syncs"]["adults"]["status"] == "ok"


def test_more_than_fifteen_syncs_of_one_destination_are_refused(tiny: TinyJob) -> None:
    sync = tiny.spec["syncs"]["adults"]
    tiny.spec["syncs"] = {f"adults{n}": {**sync, "audience": f"a{n}"} for n in range(16)}
    tiny.write()
    with pytest.raises(ConfigError, match="has 16 syncs; max_syncs is 15"):
        load_job(tiny.path)
