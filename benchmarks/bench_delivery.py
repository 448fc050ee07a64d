"""Calls per changed person, rows per second and memory of delivery, and what comparing with the ledger costs.

    python benchmarks/bench_delivery.py [--quick] [--json] [--drt PYTHON | --no-drt]

100,000 members go to Klaviyo, HubSpot and a webhook, each to a simulator of this process with the vendor's limits
enforced; then 1,000 of them change (a quarter join, a quarter leave, half get another field), then nothing. Each
delivery runs in a process of its own, whose peak memory the kernel reports. drt-core 1.2.1 writes to the same HubSpot
simulator, under the same limits, one request a row; its environment is made once in the temporary folder. The
comparison is that of 10 million memberships, 1 per cent of them changed.

`--quick` sends 4,000 members of whom 1,000 change, and compares 1 million memberships; `diff_cpu_s` is then ten
times what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from consentry.testing.sandbox.server import Sandbox

HERE = Path(__file__).parent
CHANGED = 1_000
DRT = "drt-core==1.2.1"
GOALS = "goals: at most 0.012 calls per changed person, 0 calls without change, 50 times drt, 10 CPU s and 2 GB"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, at most 45 s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--drt", help="a Python that has drt-core; made when absent")
    parser.add_argument("--no-drt", action="store_true", help="leave drt out")
    arguments = parser.parse_args()
    members, compared, drt_rows = (4_000, 1_000_000, 45) if arguments.quick else (100_000, 10_000_000, 450)
    syncs = {name: measure(name, members) for name in ("klaviyo", "hubspot", "webhook")}
    drt = None if arguments.no_drt else beside(arguments.drt or drt_python(), drt_rows)
    diff = comparison(compared)
    result = told(syncs, drt, diff, members, compared)
    print(json.dumps(result)) if arguments.json else show(result)


def told(
    syncs: dict[str, dict[str, Any]], drt: dict[str, Any] | None, diff: dict[str, Any], members: int, compared: int
) -> dict[str, Any]:
    """Put everything that was measured together."""
    ratio = syncs["hubspot"]["rows_per_s"] / drt["rows_per_s"] if drt else None
    return {
        "members": members,
        "changed": CHANGED,
        "syncs": syncs,
        "drt_hubspot": drt,
        "diff": {**diff, "memberships": compared},
        "calls_per_changed_person_max": max(sync["calls_per_changed_person"] for sync in syncs.values()),
        "no_change_calls": sum(sync["no_change_calls"] for sync in syncs.values()),
        "rows_per_s_ratio_to_drt": ratio and round(ratio, 1),
        "diff_cpu_s": round(diff["cpu_s"] * 10_000_000 / compared, 1),
        "diff_peak_mb": diff["peak_mb"],
    }


def measure(name: str, members: int) -> dict[str, Any]:
    """Deliver to one simulator: all, what changed, nothing."""
    with playing(name) as (connection, audience):
        found, peak = worker("delivery", name, json.dumps(connection), audience, str(members), str(CHANGED))
    first, second, third = (found[run] for run in ("first", "second", "third"))
    for run, rows in ((first, members), (second, CHANGED)):
        if run["status"] != "ok" or run["acknowledged"] != rows:
            sys.exit(
                f"{name}: {run['acknowledged']} of {rows} rows were acknowledged: {run['status']} {run['message']}"
            )
    return {
        "first_calls": first["api_calls"],
        "first_s": round(first["seconds"], 1),
        "rows_per_s": round(members / first["seconds"]),
        "changed_calls": second["api_calls"],
        "changed_s": round(second["seconds"], 1),
        "calls_per_changed_person": round(max(first["api_calls"] / members, second["api_calls"] / CHANGED), 4),
        "no_change_calls": third["api_calls"],
        "peak_mb": round(peak),
    }


@contextmanager
def playing(name: str) -> Iterator[tuple[dict[str, str], str]]:
    """Play a destination; yields its connection and an audience."""
    if name == "webhook":
        with webhook() as url:
            yield {"base_url": url, "secret": "a-secret-of-the-benchmark"}, "bench"
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "crm_contacts.jsonl").touch()
        with Sandbox(data_folder=Path(folder), enforce_limits=True) as sandbox:
            yield {"base_url": sandbox.url(name), "token": f"sandbox-{name}"}, make_list(sandbox, name)


def make_list(sandbox: Sandbox, name: str) -> str:
    """Make an empty list and return its id."""
    if name == "klaviyo":
        with sandbox.klaviyo.lock:
            return sandbox.klaviyo.account.make_list("Bench").id
    body = {"name": "Bench", "objectTypeId": "0-1", "processingType": "MANUAL"}
    login = {"Authorization": "Bearer sandbox-hubspot"}
    answer = httpx.post(f"{sandbox.url('hubspot')}/crm/lists/2026-09", json=body, headers=login)
    return str(answer.json()["list"]["listId"])


@contextmanager
def webhook() -> Iterator[str]:
    """Take everything that is posted."""

    class Taking(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def worker(*words: str) -> tuple[dict[str, Any], float]:
    """Run one measurement in a process of its own; return what it found and its peak MB."""
    process = subprocess.Popen([sys.executable, str(HERE / "delivery_worlds.py"), *words], stdout=subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{words[0]} ended with exit code {os.waitstatus_to_exitcode(status)}.")
    return json.loads(output), usage.ru_maxrss / 1024


def comparison(memberships: int) -> dict[str, Any]:
    """Compare memberships with the ledger, in a process that compared nothing but ten people before."""
    with tempfile.TemporaryDirectory() as folder:
        worker("ledger", folder, str(memberships))
        found, peak = worker("comparison", folder)
    return {"cpu_s": round(found["cpu_s"], 2), "peak_mb": round(peak), "found": found["found"]}


def drt_python() -> str:
    """Return the Python of an environment with drt-core, made when there is none."""
    folder = Path(tempfile.gettempdir()) / f"consentry-bench-{DRT.replace('==', '-')}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", DRT, "httpx"], check=True, stderr=subprocess.DEVNULL)
        (folder / "ready").touch()
    return str(python)


def beside(python: str, rows: int) -> dict[str, Any]:
    """Let drt write contacts to the same simulator under the same limits."""
    with playing("hubspot") as (connection, _):
        command = [python, str(HERE / "delivery_drt.py"), connection["base_url"], str(rows)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["success"] != rows:
        sys.exit(f"drt wrote {found['success']} of {rows} rows.")
    return {"rows": rows, "seconds": round(found["seconds"], 1), "rows_per_s": round(rows / found["seconds"], 1)}


def show(result: dict[str, Any]) -> None:
    """Print the tables for people."""
    table = Table(title=f"{result['members']:,} members, {CHANGED:,} changed", title_justify="left")
    columns = list(next(iter(result["syncs"].values())))
    for title in ("destination", *columns):
        table.add_column(title.replace("_", " "), justify="left" if title == "destination" else "right")
    for name, sync in result["syncs"].items():
        table.add_row(name, *(f"{value:,}" for value in sync.values()))
    console = Console(width=170)
    console.print(table)
    if result["drt_hubspot"]:
        rate = result["drt_hubspot"]["rows_per_s"]
        console.print(
            f"drt-core on HubSpot: {rate} rows/s; consentry is {result['rows_per_s_ratio_to_drt']} times that"
        )
    diff = result["diff"]
    console.print(
        f"{diff['memberships']:,} memberships compared in {diff['cpu_s']} CPU s, {diff['peak_mb']:,} MB at most;"
        f" 10 million: {result['diff_cpu_s']} CPU s"
    )
    console.print(GOALS)


if __name__ == "__main__":
    main()
