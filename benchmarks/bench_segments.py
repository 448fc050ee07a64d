"""What do 300 segments cost? Full evaluation, refresh, one person and overlap, against one query a segment.

    python benchmarks/bench_segments.py [--quick] [--json] [--people N] [--events N]

2 million people and 20 million events, made anew from fixed numbers; `--quick` leaves out what has no goal. Every way
reads the same tables, sorted and numbered as the profile stage writes them, in a process of its own; CPU seconds are
those of the whole process from opening the warehouse on, peak memory is what the kernel reports. Of the 300 queries of
the naive way 30 are run and counted ten times. Sizes of the sampled segments are compared: they have to be equal.

What segments cost a run is two things: to evaluate and publish them, and to write the events sorted and numbered in the
first place, which nothing else needs (`prepared`: what that takes more than to write them as they came). The ratios
count both, and stand beside those of evaluating alone; the naive way and a refresh do without the writing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import segment_workload as workload
from rich.console import Console
from rich.table import Table

from consentry.segments.clock import Clock
from consentry.segments.evaluate import evaluate
from consentry.segments.membership import rosters
from consentry.segments.memberships import Deciding
from consentry.segments.overlap import pairs
from consentry.segments.person import Event, Person
from consentry.segments.refresh import refresh
from consentry.warehouse import DuckDBWarehouse

RULES, FEW, SAMPLE = 300, 30, 30
QUARTERS = [workload.NOW + timedelta(minutes=15 * n) for n in range(1, 5)]
KEPT = ("roster", "cohort", "gone", "change_set", "people_set", "history", "evaluated", "due")
# Plain JSON.
Measured = dict[str, Any]


def main() -> None:
    """Measure each way in its own process and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave out what has no goal")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--people", type=int)
    parser.add_argument("--events", type=int)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    people = arguments.people or 2_000_000
    events = arguments.events or people * 10
    if arguments.measure:
        print(json.dumps(WAYS[arguments.measure](arguments.file, people, events)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "warehouse.duckdb"
        ways = [way for way in WAYS if way not in WITHOUT_GOAL or not arguments.quick]
        found = {way: measured(way, file, people, events) for way in ways}
    result = concluded(found, people, events)
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)


def measured(way: str, file: Path, people: int, events: int) -> Measured:
    """Measure one way in a process of its own."""
    command = [sys.executable, __file__, "--measure", way, "--file", str(file)]
    command += ["--people", str(people), "--events", str(events)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"Measuring {way!r} failed.")
    return {**json.loads(output), "peak_mb": round(usage.ru_maxrss / 1024)}


def cpu() -> float:
    """Return the CPU seconds of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def build(file: Path, people: int, events: int) -> Measured:
    """Write the people and their events."""
    workload.build(DuckDBWarehouse(file, threads=2), people, events)
    return {"cpu_s": cpu()}


def naive(file: Path, people: int, events: int) -> Measured:
    """Run one query a segment, of a sample of them."""
    warehouse = DuckDBWarehouse(file, threads=2)
    made, before = workload.sentences(RULES), cpu()
    chosen = range(0, RULES, RULES // SAMPLE)
    sizes = {
        f"s{n:03d}": int(warehouse.sql(workload.statement(made[n : n + 1]), now=workload.NOW)["n0"][0].as_py())
        for n in chosen
    }
    return {"cpu_s": (cpu() - before) * RULES / len(chosen), "sizes": sizes}


def wide(file: Path, people: int, events: int) -> Measured:
    """Run one statement for all segments."""
    warehouse = DuckDBWarehouse(file, threads=2)
    before = cpu()
    warehouse.sql(workload.statement(workload.sentences(RULES)), now=workload.NOW)
    return {"cpu_s": cpu() - before}


def prepared(file: Path, people: int, events: int) -> Measured:
    """Write all events as the profile stage does for segments; what that takes more than to write them as they came."""
    warehouse, taken = DuckDBWarehouse(file, threads=2), {True: 0.0, False: 0.0}
    for event in workload.SHARES:
        for for_segments in taken:
            before = cpu()
            warehouse.sql(workload.written(event, for_segments=for_segments))
            taken[for_segments] += cpu() - before
    warehouse.drop("profile.tried")
    return {"cpu_s": taken[True] - taken[False], "whole_cpu_s": taken[True]}


def opened(file: Path) -> DuckDBWarehouse:
    """Open the warehouse, and have Arrow import what it does at a first instant (time zones) and array (pandas).

    Imports are not what is measured, and `consentry` has done these before it begins.
    """
    warehouse = DuckDBWarehouse(file, threads=2)
    first = warehouse.sql("SELECT now() AS instant, 1 AS number")
    first.to_pylist()
    first["number"].to_numpy()
    return warehouse


def ours(count: int) -> Callable[[Path, int, int], Measured]:
    """Evaluate and publish the first `count` segments, as a first run does."""

    def measure(file: Path, people: int, events: int) -> Measured:
        warehouse = opened(file)
        for table in KEPT:
            warehouse.sql(f"DROP TABLE IF EXISTS segment.{table}")
        segments, before, started = workload.segments(workload.sentences(count)), cpu(), time.monotonic()
        found = evaluate(warehouse, segments, workload.CATALOG, now=workload.NOW, run_id="first")
        taken = cpu() - before
        return {"cpu_s": taken, "wall_s": time.monotonic() - started, "sizes": dict(found.members)}

    return measure


def refreshed(file: Path, people: int, events: int) -> Measured:
    """Bring 300 segments up to date every quarter of an hour, each time after one person in a thousand did something.

    The cost is that of the mean of an hour, with whatever the first refresh of a process pays.
    """
    warehouse, segments = opened(file), workload.segments(workload.sentences(RULES))
    costs, touched, moved = [], 0, 0
    for n, now in enumerate(QUARTERS, 1):
        who = happens(warehouse, now, rest=7 * n)
        before = cpu()
        found = refresh(warehouse, segments, workload.CATALOG, now=now, run_id=f"later {n}", touched=who)
        costs.append(cpu() - before)
        touched += len(who)
        moved += sum(found.entered.values()) + sum(found.left.values())
    full = evaluate(warehouse, segments, workload.CATALOG, now=QUARTERS[-1], run_id="check")
    assert not full.entered and not full.left, "The refreshes and a full evaluation disagree."
    return {"cpu_s": sum(costs) / len(costs), "first_cpu_s": costs[0], "touched": touched, "changes": moved}


def happens(warehouse: DuckDBWarehouse, now: datetime, *, rest: int) -> list[str]:
    """Let one person in a thousand look at a page five minutes ago; return who."""
    chosen = f"FROM segment.person_ordinal WHERE ordinal % 1000 = {rest:d}"
    warehouse.sql(
        "INSERT INTO profile.event__page_view BY NAME SELECT ordinal AS _ordinal, person_id,"
        f" CAST($now AS TIMESTAMPTZ) - INTERVAL 5 MINUTE AS occurred_at, 3.5 AS value {chosen}",
        now=now,
    )
    return [str(person) for person in warehouse.sql(f"SELECT person_id {chosen}")["person_id"].to_pylist()]


def who_changed(file: Path, people: int, events: int) -> Measured:
    """Fold what is known of each person into a number: the least that finding out who changed would take."""
    warehouse = DuckDBWarehouse(file, threads=2)
    before = cpu()
    attributes = ", ".join(workload.ATTRIBUTES)
    warehouse.sql(f"CREATE TABLE segment.folded AS SELECT _ordinal, hash({attributes}) FROM profile.person")
    for event in workload.SHARES:
        warehouse.sql(
            f"INSERT INTO segment.folded SELECT _ordinal, bit_xor(hash(occurred_at, value))"
            f" FROM profile.event__{event} GROUP BY _ordinal"
        )
    taken = cpu() - before
    warehouse.drop("segment.folded")
    return {"cpu_s": taken}


def one_person(file: Path, people: int, events: int) -> Measured:
    """Decide all 300 segments for one person, in process; the person has 40 events of all names."""
    segments = workload.segments(workload.sentences(RULES))
    names = list(workload.SHARES)
    happened = [
        Event(names[n % len(names)], workload.NOW - timedelta(days=n * 2, hours=n), {"value": 5.0 * n})
        for n in range(40)
    ]
    person = Person({"age": 30, "income": 50_000.0, "country": "DE", "device": "mobile"}, happened)
    clock = Clock(workload.NOW, workload.CATALOG.zone())
    deciding = Deciding(segments)
    deciding.memberships(person, clock)
    before = time.process_time()
    for _ in range(50):
        deciding.memberships(person, clock)
    return {"ms": (time.process_time() - before) * 1000 / 50}


def overlap(file: Path, people: int, events: int) -> Measured:
    """Work out the Jaccard index of every pair of segments."""
    warehouse = opened(file)
    before = cpu()
    found = list(pairs(rosters(warehouse)))
    return {"cpu_s": cpu() - before, "pairs": len(found), "alike": sum(pair.jaccard >= 0.5 for pair in found)}


WAYS: dict[str, Callable[[Path, int, int], Measured]] = {
    "build": build,
    "naive": naive,
    "wide": wide,
    "prepared": prepared,
    "ours_30": ours(FEW),
    "ours_300": ours(RULES),
    "who_changed": who_changed,
    "refresh": refreshed,
    "one_person": one_person,
    "overlap": overlap,
}
WITHOUT_GOAL = ("wide", "who_changed")


def concluded(found: dict[str, Measured], people: int, events: int) -> Measured:
    """Compare the ways; sizes that differ end the benchmark."""
    sizes, checked = found["ours_300"].pop("sizes"), found["naive"].pop("sizes")
    found["ours_30"].pop("sizes")
    wrong = [name for name, size in checked.items() if sizes[name] != size]
    if wrong:
        sys.exit(f"The queries and the segments disagree on {', '.join(wrong)}.")
    naive, full, few = (found[way]["cpu_s"] for way in ("naive", "ours_300", "ours_30"))
    before = found["prepared"]["cpu_s"]
    return {
        "people": people,
        "events": events,
        "rules": RULES,
        "memberships": sum(sizes.values()),
        "cpu_ratio_to_naive": round(naive / (before + full), 1),
        "cpu_ratio_to_naive_evaluating_alone": round(naive / full, 1),
        "cpu_ratio_300_to_30": round((before + full) / (before + few), 2),
        "cpu_ratio_300_to_30_evaluating_alone": round(full / few, 2),
        "refresh_share_of_full": round(found["refresh"]["cpu_s"] / (before + full), 3),
        "refresh_share_of_full_evaluating_alone": round(found["refresh"]["cpu_s"] / full, 3),
        "all_rules_one_person_ms": round(found["one_person"]["ms"], 2),
        "overlap_cpu_s": round(found["overlap"]["cpu_s"], 2),
        "peak_mb": found["ours_300"]["peak_mb"],
        "ways": {way: {key: _short(value) for key, value in taken.items()} for way, taken in found.items()},
    }


def _short(value: float) -> float:
    return round(value, 3) if isinstance(value, float) else value


def show(result: Measured) -> None:
    """Print the tables for people."""
    size = f"{result['rules']} segments, {result['people']:,} people, {result['events']:,} events"
    ways = Table(title=f"{size}, {result['memberships']:,} memberships", title_justify="left")
    for title in ("way", "CPU s", "peak MB"):
        ways.add_column(title, justify="left" if title == "way" else "right")
    for way, taken in result["ways"].items():
        ways.add_row(way, f"{taken['cpu_s']:.2f}" if "cpu_s" in taken else "", f"{taken['peak_mb']:,}")
    goals = Table(title="Against the goals", title_justify="left")
    for title in ("measure", "found", "goal", "evaluating alone"):
        goals.add_column(title, justify="left" if title == "measure" else "right")
    for key, goal in GOALS.items():
        goals.add_row(key, str(result[key]), goal, str(result.get(f"{key}_evaluating_alone", "")))
    console = Console()
    console.print(ways)
    console.print(goals)


GOALS = {
    "cpu_ratio_to_naive": "at least 15",
    "cpu_ratio_300_to_30": "at most 1.5",
    "refresh_share_of_full": "at most 0.2",
    "all_rules_one_person_ms": "below 2",
    "overlap_cpu_s": "at most 5",
    "peak_mb": "below 4096",
}


if __name__ == "__main__":
    main()
