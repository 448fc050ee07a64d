"""No e-mail, phone, name or key stands in any log, error, audit file or table below the restricted zone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consentry.pipeline.load import load_job
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import PEOPLE, TinyJob, person

OPEN_ZONES = ("profile", "segment", "delivery", "ops")


def canaries() -> list[bytes]:
    """Return every personal value of the tiny job, as it is and as systems spell it."""
    values = [str(person(n)[key]) for n in range(PEOPLE) for key in ("email", "phone", "given_name")]
    return sorted({value.encode() for value in values} | {value.lstrip("+").encode() for value in values})


def run_job(job: TinyJob) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "default", "-m", "consentry.cli", "run", str(job.path), "--output", "json"]
    return subprocess.run(command, capture_output=True, env={**os.environ, "CONSENTRY_DEBUG": "1"}, check=False)


def texts_of(job: TinyJob, done: subprocess.CompletedProcess[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield everything that a run leaves behind outside the restricted zone, and what it printed."""
    yield "stdout", done.stdout
    yield "stderr", done.stderr
    state = job.folder / "state"
    for path in state.rglob("*"):
        # The warehouse file holds the restricted zone too, and is read table by table below; what the files
        # destination writes is what may leave.
        if path.is_file() and path.name not in ("warehouse.duckdb", "warehouse.duckdb.wal"):
            yield str(path.relative_to(state)), path.read_bytes()
    warehouse = DuckDBWarehouse(state / "warehouse.duckdb")
    for zone in OPEN_ZONES:
        for table in warehouse.tables(zone):
            rows = [batch.to_pylist() for batch in warehouse.read(table)]
            yield table, json.dumps(rows, default=str).encode()
    warehouse.close()


def leaks(job: TinyJob, done: subprocess.CompletedProcess[bytes]) -> list[str]:
    key = (job.folder / "state" / "keys.json").read_text()
    secrets = [part.encode() for part in json.dumps(json.loads(key)).replace('"', " ").split() if len(part) > 24]
    assert secrets
    found = []
    for place, text in texts_of(job, done):
        needles = canaries() + (secrets if place != "keys.json" else [])
        found += [f"{needle!r} in {place}" for needle in needles if needle in text]
    return found


def test_anonymise_a_run_leaves_no_personal_value_outside_the_restricted_zone(tiny: TinyJob) -> None:
    done = run_job(tiny)
    assert done.returncode == 0, done.stderr
    assert leaks(tiny, done) == []


FAILURES = {
    "rejects": [{"call": 1, "kind": "reject", "rows": [0, 1]}],
    "dies": [{"call": 2, "kind": "raise", "rows": [3]}],
    "forgets": [{"call": 1, "kind": "unknown", "took_effect": True}],
    "refuses": [{"kind": "refuse_batch"}],
    "postpones": [{"call": 1, "kind": "later", "after": 3600}],
}


@pytest.mark.parametrize(
    "name",
    ["rejects", "dies", *(pytest.param(name, marks=pytest.mark.slow) for name in ("forgets", "refuses", "postpones"))],
)
def test_a_destination_that_fails_leaks_nothing(tiny: TinyJob, name: str) -> None:
    connection = {"path": str(tiny.members_file), "schedule": FAILURES[name]}
    tiny.spec["destinations"]["store"] = {"type": "failing", "connection": connection}
    tiny.write()
    done = run_job(tiny)
    assert leaks(tiny, done) == []


def test_dirty_data_leaks_nothing(tiny: TinyJob) -> None:
    people = tiny.folder / "people.csv"
    lines = people.read_text().splitlines()
    lines[4] = lines[4].replace(",23,", ",not a number " + person(3)["email"] + ",")
    lines[6] += ",and,much,more"
    people.write_text("\n".join([*lines, lines[9], "\ufffd\x00" + lines[10]]) + "\n")
    done = run_job(tiny)
    assert leaks(tiny, done) == []


def test_faults_of_the_configuration_quote_no_secret(tiny: TinyJob) -> None:
    tiny.spec["sources"]["crm"] = {
        "type": "hubspot",
        "connection": {"base_url": "http://127.0.0.1:9", "token": "canary-literal-token"},
        "streams": tiny.spec["sources"]["crm"]["streams"],
    }
    tiny.write()
    done = run_job(tiny)
    assert done.returncode == 1
    assert b"canary-literal-token" not in done.stdout + done.stderr
    assert b"job.yaml:" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_scan_finds_a_value_that_is_there(tiny: TinyJob) -> None:
    done = run_job(tiny)
    (tiny.folder / "state" / "note.txt").write_text(person(3)["email"])
    assert leaks(tiny, done) == [f"{person(3)['email'].encode()!r} in note.txt"]


def test_the_restricted_zone_is_where_the_values_are(tiny: TinyJob) -> None:
    run_job(tiny)
    warehouse = DuckDBWarehouse(load_job(tiny.path).state / "warehouse.duckdb")
    assert warehouse.count("identity.golden") == PEOPLE
    assert "email" in warehouse.columns("identity.golden")
    assert "email" not in warehouse.columns("profile.person")
    assert Path(warehouse.tables("profile")[0]).name.startswith("profile.")
    warehouse.close()
