"""Nothing is lost: whatever goes wrong in whatever order, the reads that follow end in the same table."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from consentry.connectors.hubspot import HubSpot, HubSpotConfig, HubSpotStream
from consentry.connectors.landing import StreamSpec, land
from consentry.errors import ConsentryError
from consentry.testing.sandbox import Sandbox
from consentry.warehouse import DuckDBWarehouse

_accounts = count()
FAULTS: list[dict[str, Any]] = [
    {"kind": "rate_limited", "retry_after": "1"},
    {"kind": "rate_limited", "retry_after": "3600"},
    {"kind": "rate_limited", "retry_after": None, "times": 20},
    {"kind": "daily_limit", "times": 20},
    {"kind": "server_error", "status": 503, "times": 20},
    {"kind": "server_error", "status": 500},
    {"kind": "reset", "times": 20},
    {"kind": "truncated"},
    {"kind": "garbage", "times": 20},
    {"kind": "expired_token"},
    {"kind": "repeated_cursor", "times": 20},
]
Fault = tuple[dict[str, Any], int]


def _run(sandbox: Sandbox, warehouse: DuckDBWarehouse, folder: Any, number: int) -> str:
    """Read once; return the code of the error that ended it, nothing when it went through."""
    source = HubSpot(
        HubSpotConfig(base_url=sandbox.url("hubspot"), token=SecretStr("sandbox-hubspot")),
        streams={"contacts": HubSpotStream(properties=("email",))},
        account=f"schedule-{next(_accounts)}",
        sleep=lambda seconds: None,
    )
    specs = [StreamSpec("contacts")]
    try:
        land(source, name="crm", streams=specs, warehouse=warehouse, folder=folder, run_id=f"run-{number}")
    except ConsentryError as error:
        return error.code
    return ""


def _table(warehouse: DuckDBWarehouse) -> list[tuple[str, str, bool]]:
    found = warehouse.sql(
        "SELECT id, email, archived FROM raw.crm__contacts"
        " QUALIFY row_number() OVER (PARTITION BY id ORDER BY _rid DESC) = 1"
    )
    return sorted((row["id"], row["email"], row["archived"]) for row in found.to_pylist())


@pytest.fixture(scope="module")
def uninterrupted(running: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, bool]]:
    running.reset()
    folder = tmp_path_factory.mktemp("whole")
    warehouse = DuckDBWarehouse(folder / "w.duckdb")
    assert _run(running, warehouse, folder / "dlt", 0) == ""
    found = _table(warehouse)
    warehouse.close()
    return found


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(0, 4)), min_size=1, max_size=3))
def test_an_interrupted_failed_or_paused_read_run_again_gives_the_same_table(
    schedule: list[Fault],
    sandbox: Sandbox,
    uninterrupted: list[tuple[str, str, bool]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    sandbox.reset()
    folder = tmp_path_factory.mktemp("schedule")
    warehouse = DuckDBWarehouse(folder / "w.duckdb")
    for number, (fault, after) in enumerate(schedule):
        sandbox.fault(match="/hubspot/crm/objects/*", after=after, **fault)
        _run(sandbox, warehouse, folder / "dlt", number)
        sandbox.clear_faults()
    assert _run(sandbox, warehouse, folder / "dlt", 99) == ""
    assert _table(warehouse) == uninterrupted
    raw = warehouse.sql("SELECT count(*) AS n, count(DISTINCT _rid) AS rids FROM raw.crm__contacts").to_pylist()
    assert raw[0]["n"] == raw[0]["rids"] == len(uninterrupted)
    warehouse.close()
