"""Trap 13: whoever runs a job hears in time that a version of a vendor's API ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from consentry.connectors.versions import ApiVersion
from consentry.pipeline.inspect import check_job
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.testing.memory import Memory
from tests.conftest import TinyJob


def test_trap_13_a_version_that_ends_is_told_by_check_and_by_each_run(
    tiny: TinyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = datetime.now(UTC).date()
    version = ApiVersion("Vendor", "2026-09", today + timedelta(days=30), "Vendor, Versioning")
    monkeypatch.setattr(Memory, "api_version", version, raising=False)
    loaded = load_job(tiny.write())
    said = version.remark(today)
    assert said and any(said in row["sentence"] and row["ok"] for row in check_job(loaded))
    assert said in run(make_plan(loaded), Silent())["remarks"]
