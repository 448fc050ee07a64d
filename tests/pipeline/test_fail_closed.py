"""A policy, ledger or key that is missing, unreadable or another one stops the run before anything leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consentry.errors import ConfigError, ConsentryError, StopRun
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from tests.conftest import TinyJob

Break = Callable[[TinyJob], object]
POLICIES: dict[str, Break] = {
    "gone": lambda job: (job.folder / "policy.yaml").unlink(),
    "a folder": lambda job: ((job.folder / "policy.yaml").unlink(), (job.folder / "policy.yaml").mkdir()),
    "no text": lambda job: (job.folder / "policy.yaml").write_bytes(b"\xff\xfe\x00"),
    "empty": lambda job: (job.folder / "policy.yaml").write_text(""),
    "cut off": lambda job: (job.folder / "policy.yaml").write_text("version: 1\npurposes: {news: {basis"),
}


@pytest.mark.parametrize("broken", POLICIES)
def test_t61_a_policy_that_cannot_be_read_is_an_error_with_its_file(tiny: TinyJob, broken: str) -> None:
    POLICIES[broken](tiny)
    with pytest.raises(ConfigError, match=r"policy\.yaml"):
        load_job(tiny.path)
    assert not tiny.members_file.exists()


def test_a_ledger_that_is_no_database_stops_the_run(tiny: TinyJob) -> None:
    loaded = load_job(tiny.path)
    loaded.state.mkdir()
    (loaded.state / "control.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(ConsentryError):
        run(make_plan(loaded), Silent())
    assert not tiny.members_file.exists()


def test_t46_a_lost_key_is_not_replaced_behind_the_suppression_lists_back(tiny: TinyJob) -> None:
    loaded = load_job(tiny.path)
    run(make_plan(loaded), Silent())
    before = tiny.members_file.read_text()
    (loaded.state / "keys.json").unlink()
    with pytest.raises(StopRun, match="Put the old key back"):
        run(make_plan(loaded), Silent())
    assert tiny.members_file.read_text() == before
