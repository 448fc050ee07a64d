"""Rows per second and peak memory of the whole quickstart job, at 10 thousand and 100 thousand customers.

    python benchmarks/bench_end_to_end.py [--quick] [--json] [--customers N ...]

The data is the demo's generator, scaled to 20 events a customer. The job runs in a process of its own, against the
simulators in this one; its peak memory is what the kernel reports for it. The first run sends everything, the
second is the same job again with nothing new. `--quick` takes 2,000 and 6,000 customers instead.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from consentry.testing.sandbox.server import Sandbox

QUICKSTART = Path(str(resources.files("consentry.configs"))) / "quickstart"
EVENTS = 20
SIZES = (10_000, 100_000)
QUICK_SIZES = (2_000, 6_000)


def main() -> None:
    """Measure each size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, at most 45 s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--customers", type=int, nargs="*", help="sizes to measure")
    arguments = parser.parse_args()
    sizes = arguments.customers or (QUICK_SIZES if arguments.quick else SIZES)
    results = [measure(size) for size in sizes]
    result = {"sizes": results, "memory_growth": growth(results)}
    if arguments.json:
        print(json.dumps(result))
    else:
        show(results, result["memory_growth"])


def measure(customers: int) -> dict[str, Any]:
    """Generate the data, run the job twice, and return what both runs took."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job"
        shutil.copytree(QUICKSTART, job, ignore=shutil.ignore_patterns("data"))
        generate(job / "data", customers)
        with Sandbox(data_folder=job / "data") as sandbox:
            environment = {**os.environ, **sandbox.environment(), "CONSENTRY_HOME": f"{folder}/home"}
            first, seconds, cpu, peak = run(job / "job.yaml", environment)
            again, seconds_again, cpu_again, _ = run(job / "job.yaml", environment)
    rows = first["rows"]["extracted"]
    return {
        "customers": customers,
        "rows": rows,
        "persons": first["persons"],
        "sent": sum(sync["adds"] for sync in first["syncs"].values()),
        "seconds": round(seconds, 1),
        "cpu_s": round(cpu, 1),
        "rows_per_s": round(rows / seconds),
        "peak_mb": round(peak),
        "again_s": round(seconds_again, 1),
        "again_cpu_s": round(cpu_again, 1),
        "again_calls": sum(sync["api_calls"] for sync in again["syncs"].values()),
    }


def generate(folder: Path, customers: int) -> None:
    """Write the scaled data of the demo."""
    command = [sys.executable, "-m", "consentry.testing.quickstart_data", str(folder)]
    command += ["--customers", str(customers), "--events-per-customer", str(EVENTS)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def run(job: Path, environment: dict[str, str]) -> tuple[dict[str, Any], float, float, float]:
    """Run the job in a process of its own; return its summary, wall seconds, CPU seconds and peak MB."""
    started = time.monotonic()
    command = [sys.executable, "-m", "consentry.cli", "run", str(job), "--output", "json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 3):
        sys.exit(f"The job ended with exit code {os.waitstatus_to_exitcode(status)}.")
    return json.loads(output), time.monotonic() - started, cpu_seconds(usage), usage.ru_maxrss / 1024


def cpu_seconds(usage: resource.struct_rusage) -> float:
    """Return user and system time of a finished process."""
    return usage.ru_utime + usage.ru_stime


def growth(results: list[dict[str, Any]]) -> float:
    """Return how much faster rows grew than memory, from the smallest size to the largest: above 1 is good."""
    first, last = results[0], results[-1]
    return round((last["rows"] / first["rows"]) / (last["peak_mb"] / first["peak_mb"]), 2)


def show(results: list[dict[str, Any]], grown: float) -> None:
    """Print the table for people."""
    table = Table(title="The whole job, end to end", title_justify="left")
    for title in (
        "customers", "rows", "people", "sent", "seconds", "CPU s", "rows/s", "peak MB",
        "again s", "again CPU s", "again API calls",
    ):  # fmt: skip
        table.add_column(title, justify="right")
    for row in results:
        table.add_row(*(f"{value:,}" for value in row.values()))
    console = Console(width=140)
    console.print(table)
    console.print(f"rows grew {grown} times as fast as memory")


if __name__ == "__main__":
    main()
