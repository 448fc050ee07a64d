"""What recognising people takes: a million records end to end, components, one new record against all; beside Splink.

    python benchmarks/bench_identity.py [--quick] [--json]

Each measurement runs in a process of its own, whose CPU time and peak memory the kernel reports. Splink gets the same
cleaned records, the same weights, and those of our blocking rules that stay within our bound of pairs without it, and
makes its connected components at 0.95; cleaning and fitting count for us, and not for Splink. `--quick` takes 30
thousand records instead of 100 thousand and a million.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from splink import Linker
from splink.backends.duckdb import DuckDBAPI

from consentry.identity.candidates import FEATURES, blocking_keys, stage_features
from consentry.identity.codes import Ints
from consentry.identity.components import linked_parts, lowest_member, spilled_components
from consentry.identity.delta import build_index, meet
from consentry.identity.linkage import Guards, cluster
from consentry.identity.metrics import b_cubed, pairwise
from consentry.identity.model import people
from consentry.identity.roles import COLUMNS
from consentry.identity.similar import look
from consentry.identity.similar_config import SimilarRules
from consentry.identity.strangers import fit_strangers
from consentry.identity.training import splink_linker
from consentry.warehouse import DuckDBWarehouse

FULL, QUICK = (100_000, 1_000_000), (10_000, 30_000)
EDGES, QUICK_EDGES = 5_000_000, 500_000
MEMORY = "2GB"
RULES = SimilarRules()


def main() -> None:
    """Measure everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, at most 45 s on an idle machine")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--part", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        name, file = arguments.part
        print(json.dumps(PARTS[name](file)))
        return
    result = measured(*(QUICK if arguments.quick else FULL), QUICK_EDGES if arguments.quick else EDGES)
    print(json.dumps(result)) if arguments.json else show(result)


def measured(small: int, large: int, edges: int) -> dict[str, Any]:
    """Run each part in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for records in (small, large):
            files[records] = f"{folder}/{records}.parquet"
            # Not in this process: what it ever held would count as held by the processes that it starts.
            make = [sys.executable, "-m", "consentry.testing.hard_customers", files[records], "--records", str(records)]
            subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        ours = {records: part("ours", file) for records, file in files.items()}
        splink = part("splink", files[large])
        one = {"ours": part("one", files[large]), "splink": part("splink_one", files[large])}
    paths = {name: part(name, str(edges)) for name in ("scipy", "disk")}
    growth = ours[large]["cpu_s"] / ours[small]["cpu_s"]
    allowed = large * math.log(large) / (small * math.log(small))
    return {
        "end_to_end": {str(records): row for records, row in ours.items()},
        "splink": splink,
        "cpu_of_splink": round(ours[large]["cpu_s"] / splink["cpu_s"], 2),
        "growth": round(growth, 1),
        "growth_n_log_n": round(allowed, 1),
        "components": {"edges": edges, **paths},
        "one_new_record": one | {"times_faster": round(one["splink"]["wall_s"] / one["ours"]["wall_s"], 1)},
    }


def part(name: str, file: str) -> dict[str, Any]:
    """Run a part of this file alone; add its peak memory."""
    command = [sys.executable, __file__, "--part", name, file]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"The part {name} ended with exit code {os.waitstatus_to_exitcode(status)}.")
    found: dict[str, Any] = json.loads(output)
    return found | {"peak_mb": round(usage.ru_maxrss / 1024)}


def ours(file: str) -> dict[str, Any]:
    """Clean, fit, block, score and group."""
    table = pq.read_table(file)
    started = cpu()
    with tempfile.TemporaryDirectory() as folder:
        found = look(warehouse_in(folder), table, columns_of(table), rules=RULES)
    guards = Guards(apart=found.household)
    labels = cluster(found.pairs, table.num_rows, cut=RULES.cut, pair=RULES.pair, guards=guards)
    seconds = cpu() - started
    return {"cpu_s": round(seconds, 1), "records": table.num_rows, "pairs": found.compared} | quality(labels, table)


def splink(file: str) -> dict[str, Any]:
    """Let Splink predict, and cluster at 0.95."""
    table = pq.read_table(file)
    linker = _linker(table)
    started = cpu()
    predicted = linker.inference.predict(threshold_match_probability=0.01)
    clusters = linker.clustering.cluster_pairwise_predictions_at_threshold(predicted, threshold_match_probability=0.95)
    rows = clusters.as_duckdbpyrelation().to_arrow_table()
    seconds = cpu() - started
    labels = np.empty(table.num_rows, dtype=np.int64)
    labels[rows["r"].to_numpy()] = rows["cluster_id"].to_numpy()
    pairs = predicted.as_duckdbpyrelation().count("*").fetchall()[0][0]
    return {"cpu_s": round(seconds, 1), "records": table.num_rows, "likely_pairs": pairs} | quality(labels, table)


def one(file: str) -> dict[str, Any]:
    """Meet single new records, with an index made before."""
    table = pq.read_table(file)
    known, new = table.slice(0, table.num_rows - 5), table.slice(table.num_rows - 5)
    with tempfile.TemporaryDirectory() as folder:
        warehouse = warehouse_in(folder)
        rows = known.append_column("r", pa.array(np.arange(known.num_rows), pa.int64()))
        warehouse.write("clean.known", rows.to_batches(), schema=rows.schema)
        columns, query = columns_of(table), "SELECT * FROM clean.known"
        roles = stage_features(warehouse, columns, query)
        model = fit_strangers(warehouse, people(roles))
        started = cpu()
        index = build_index(warehouse, model, RULES, columns, query)
        built = cpu() - started
        meet(index, new.slice(0, 1))
        times = [timed(lambda n=n: meet(index, new.slice(n, 1))) for n in range(1, 5)]
    return _median(times) | {"index_cpu_s": round(built, 1)}


def splink_one(file: str) -> dict[str, Any]:
    """Let Splink predict between the known records and single new ones."""
    table = pq.read_table(file)
    features, model, rules = _features(table)
    features = features.select([name for name in features.column_names if not name.startswith("tf_")])
    size = features.num_rows - 5
    database = DuckDBAPI(duckdb.connect())
    known = database.register(features.slice(0, size))
    linker = Linker(known, model.settings() | {"blocking_rules_to_generate_predictions": rules}, log_level="ERROR")
    for comparison in model.comparisons:
        if comparison.told[0].rare:
            linker.table_management.compute_tf_table(comparison.name)
    new = [database.register(features.slice(size + n, 1)) for n in range(4)]
    linker.inference.predict_between(known, new[0]).as_record_list()
    return _median(
        [timed(lambda n=n: linker.inference.predict_between(known, new[n]).as_record_list()) for n in (1, 2, 3)]
    )


def _linker(table: pa.Table) -> Any:
    features, model, rules = _features(table)
    return splink_linker(features, model, pairs=rules)


def _features(table: pa.Table) -> tuple[pa.Table, Any, list[str]]:
    """Return the cleaned records, the fitted weights, and the blocking rules that Splink can afford."""
    warehouse = DuckDBWarehouse()
    rows = table.append_column("r", pa.array(np.arange(table.num_rows), pa.int64()))
    warehouse.write("clean.records", rows.to_batches(), schema=rows.schema)
    roles = stage_features(warehouse, columns_of(table), "SELECT * FROM clean.records")
    model = fit_strangers(warehouse, people(roles))
    rules = []
    for _, key in blocking_keys(roles):
        found = warehouse.sql(_counted(key))["n"][0].as_py() or 0
        if found <= RULES.pairs_per_record * table.num_rows:
            rules.append(_rule(key))
    return warehouse.sql(f"SELECT * EXCLUDE (source) FROM {FEATURES} ORDER BY r"), model, rules


def _counted(key: str) -> str:
    blocks = f"SELECT count(*) AS n FROM {FEATURES} WHERE ({key}) IS NOT NULL GROUP BY {key}"
    return f"SELECT sum(n * (n - 1) / 2) AS n FROM ({blocks})"


def _rule(key: str) -> str:
    """Write a blocking rule as Splink has it, part by part."""
    parts = key.split(" || chr(31) || ")
    return " AND ".join(f"{_of(part, 'l')} = {_of(part, 'r')}" for part in parts)


def _of(part: str, side: str) -> str:
    head, name, tail = part.split('"', 2)
    return f'{head}{side}."{name}"{tail}'


def scipy(edges: str) -> dict[str, Any]:
    """Find components in memory."""
    one_, other, nodes = graph(int(edges))
    started = cpu()
    labels = lowest_member(linked_parts(nodes, one_, other))
    return {"cpu_s": round(cpu() - started, 1), "parts": len(np.unique(labels))}


def disk(edges: str) -> dict[str, Any]:
    """Find components by the engine that spills."""
    one_, other, nodes = graph(int(edges))
    started = cpu()
    labels = spilled_components(nodes, one_, other)
    return {"cpu_s": round(cpu() - started, 1), "parts": len(np.unique(labels))}


def graph(edges: int) -> tuple[Ints, Ints, int]:
    """Make edges between records and values as stitching has them: most values on one or two records."""
    rng = np.random.default_rng(1)
    records, values = edges * 3 // 5, edges // 2
    return rng.integers(0, records, edges), rng.integers(0, values, edges) + records, records + values


def columns_of(table: pa.Table) -> dict[str, str]:
    """Return the columns that are called like a meaning."""
    return {name: name for name in COLUMNS if name in table.column_names}


def warehouse_in(folder: str) -> DuckDBWarehouse:
    """Open a warehouse that may spill to disk."""
    return DuckDBWarehouse(Path(folder) / "bench.duckdb", memory_limit=MEMORY)


def quality(labels: Ints, table: pa.Table) -> dict[str, float]:
    """Compare groups with the truth."""
    truth = np.unique(np.array(table["person"].to_pylist(), dtype=str), return_inverse=True)[1]
    pairs = pairwise(labels, truth)
    values = {"precision": pairs.precision, "recall": pairs.recall, "f1": pairs.f1, "b3": b_cubed(labels, truth).f1}
    return {name: round(value, 4) for name, value in values.items()}


def cpu() -> float:
    """Return the CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def timed(function: Any) -> tuple[float, float]:
    """Call a function; return its wall and CPU seconds."""
    wall, spent = time.perf_counter(), cpu()
    function()
    return time.perf_counter() - wall, cpu() - spent


def _median(times: list[tuple[float, float]]) -> dict[str, Any]:
    wall, spent = zip(*times, strict=True)
    return {"wall_s": round(statistics.median(wall), 4), "cpu_s": round(statistics.median(spent), 4)}


def show(result: dict[str, Any]) -> None:
    """Print the tables for people."""
    table = Table(title="Records to people, end to end", title_justify="left")
    for title in ("", "records", "CPU s", "peak MB", "precision", "recall", "F1", "B3"):
        table.add_column(title, justify="right")
    for name, row in [*(("consentry", row) for row in result["end_to_end"].values()), ("Splink", result["splink"])]:
        measures = (f"{row[measure]:.3f}" for measure in ("precision", "recall", "f1", "b3"))
        table.add_row(name, f"{row['records']:,}", f"{row['cpu_s']}", f"{row['peak_mb']:,}", *measures)
    console = Console(width=120)
    console.print(table)
    console.print(f"CPU beside Splink's predict and cluster: {result['cpu_of_splink']}")
    console.print(f"growth of CPU {result['growth']}, n log n {result['growth_n_log_n']}")
    for name in ("scipy", "disk"):
        row = result["components"][name]
        console.print(f"{result['components']['edges']:,} edges, {name}: {row['cpu_s']} CPU s, {row['peak_mb']:,} MB")
    one_ = result["one_new_record"]
    console.print(
        f"one new record: {one_['ours']['wall_s'] * 1000:.0f} ms, Splink {one_['splink']['wall_s'] * 1000:.0f} ms,"
        f" {one_['times_faster']} times"
    )


PARTS = {"ours": ours, "splink": splink, "one": one, "splink_one": splink_one, "scipy": scipy, "disk": disk}

if __name__ == "__main__":
    main()
