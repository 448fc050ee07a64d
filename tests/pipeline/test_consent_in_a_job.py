"""What the consent gate holds back in a whole job: the erased, other connectors, older policies."""

from __future__ import annotations

import pytest

from consentry.consent.ledger import Ledger
from consentry.errors import Blocked, ConfigError
from consentry.pipeline.keyrings import read_keys
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.store import Store
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import PEOPLE, TinyJob, email


def go(job: TinyJob) -> dict[str, object]:
    return run(make_plan(load_job(job.path)), Silent())


def test_t33_an_erased_person_who_is_in_the_crm_again_is_in_no_count_segment_or_audience(tiny: TinyJob) -> None:
    loaded = load_job(tiny.path)
    store = Store.in_file(loaded.state / "control.db")
    Ledger(store, read_keys(loaded.job.keys, loaded.state)).suppress("email", email(7).upper(), reason="erasure")
    store.close()
    summary = go(tiny)
    assert summary["persons"] == PEOPLE - 1
    assert email(7) not in tiny.members_file.read_text()
    warehouse = DuckDBWarehouse(loaded.state / "warehouse.duckdb")
    assert warehouse.count("profile.person") == PEOPLE - 1
    assert warehouse.sql("SELECT stream, code, rows FROM ops.kept_out").to_pylist() == [
        {"stream": "crm.people", "code": "erased", "rows": 1}
    ]
    raw = [batch.to_pylist() for table in warehouse.tables("raw") for batch in warehouse.read(table)]
    assert email(6) in str(raw) and email(7) not in str(raw)
    warehouse.close()


def test_a_destination_of_another_type_than_the_policy_says_is_an_error(tiny: TinyJob) -> None:
    tiny.policy["destinations"]["store"]["connector"] = "klaviyo"
    tiny.write()
    with pytest.raises(ConfigError, match="be of type 'klaviyo', not 'memory'"):
        load_job(tiny.path)


def test_t64_a_job_does_not_run_under_an_older_policy(tiny: TinyJob) -> None:
    tiny.policy["revision"] = 2
    tiny.write()
    go(tiny)
    tiny.policy["revision"] = 1
    tiny.write()
    with pytest.raises(Blocked, match="revision 2 was in force"):
        go(tiny)


def test_t52_a_job_whose_audience_is_too_small_sends_nothing(tiny: TinyJob) -> None:
    tiny.policy["destinations"]["store"]["min_segment"] = PEOPLE + 1
    tiny.write()
    summary = go(tiny)
    assert summary["status"] == "ok"
    assert not tiny.members_file.exists()
