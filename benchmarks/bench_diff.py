"""CPU seconds and peak memory of comparing two snapshots of ten columns, beside datacompy and a merge by pandas.

    python benchmarks/bench_diff.py [--quick] [--json] [--rows N] [--peer PYTHON]

The snapshots are Parquet files: in the second one 1% of the ages and 2% of the tiers are other, half a percent of the
rows is gone and as many are new, in another order. Every contender runs in a process of its own, reads both files and
has to find the same numbers. `--peer` names the Python in which datacompy is installed; without it, it is left out.
`--quick` takes 200,000 rows instead of a million.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

PANDAS = """
import json, sys, pandas as pd
old, new = (pd.read_parquet(path) for path in sys.argv[1:3])
both = old.merge(new, on="id", how="outer", suffixes=("_old", "_new"), indicator=True)
pairs = both[both["_merge"] == "both"]
names = [name for name in old.columns if name != "id"]
same = [(pairs[f"{n}_old"] == pairs[f"{n}_new"]) | (pairs[f"{n}_old"].isna() & pairs[f"{n}_new"].isna()) for n in names]
changed = int((~pd.concat(same, axis=1).all(axis=1)).sum())
print(json.dumps([int((both["_merge"] == "right_only").sum()), int((both["_merge"] == "left_only").sum()), changed]))
"""
DATACOMPY = """
import json, sys, polars as pl
from datacompy import PolarsCompare
found = PolarsCompare(*(pl.read_parquet(path) for path in sys.argv[1:3]), join_columns="id")
changed = found.intersect_rows.height - found.count_matching_rows()
print(json.dumps([found.df2_unq_rows.height, found.df1_unq_rows.height, changed]))
"""


def main() -> None:
    """Measure each contender and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200,000 rows")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each snapshot")
    parser.add_argument("--peer", help="a Python in which datacompy is installed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        old, new = f"{folder}/old.parquet", f"{folder}/new.parquet"
        # In a process of its own, because what this one takes would count as the peak of those it starts.
        writing = get_context("spawn").Process(
            target=write, args=(old, new, 200_000 if arguments.quick else arguments.rows)
        )
        writing.start()
        writing.join()
        ours = [sys.executable, "-m", "consentry.cli", "diff", old, new, "--key", "id", "-o", "json"]
        found = {"consentry diff": measure(ours), "pandas merge": measure([sys.executable, "-c", PANDAS, old, new])}
        if arguments.peer:
            found["datacompy, polars"] = measure([arguments.peer, "-c", DATACOMPY, old, new])
    if len({tuple(one["found"]) for one in found.values()}) != 1:
        sys.exit(f"The contenders disagree: {found}")
    if arguments.json:
        print(json.dumps(found))
        return
    shown = Table("", "CPU s", "s", "peak MB")
    for name, one in found.items():
        shown.add_row(name, f"{one['cpu']:.1f}", f"{one['seconds']:.1f}", f"{one['peak_mb']:,.0f}")
    Console().print(shown)


def write(old_path: str, new_path: str, rows: int) -> None:
    """Write both snapshots."""
    chance = np.random.default_rng(1)
    old = pl.DataFrame(
        {
            "id": np.arange(rows),
            "email": [f"person{n}@example.com" for n in range(rows)],
            "name": chance.choice(["Ann", "Bob", "Cy", "Di"], rows),
            "country": chance.choice(["DE", "FR", "GB"], rows),
            "age": chance.integers(18, 90, rows),
            "price": np.round(chance.random(rows) * 1000, 2),
            "score": np.round(chance.random(rows), 6),
            "tier": chance.choice(list("abc"), rows),
            "seen": [f"2026-01-{day:02d}T10:00:00Z" for day in chance.integers(1, 28, rows)],
            "note": [f"note {n % 977} of some length" for n in range(rows)],
        }
    )
    aged, moved = (pl.Series(chance.random(rows) < share) for share in (0.01, 0.02))
    new = old.with_columns(
        pl.when(aged).then(pl.col("age") + 1).otherwise(pl.col("age")).alias("age"),
        pl.when(moved).then(None).otherwise(pl.col("tier")).alias("tier"),
    ).filter(pl.Series(chance.random(rows) > 0.005))
    new = pl.concat([new, old.head(rows // 200).with_columns(pl.col("id") + rows)]).sample(
        fraction=1, shuffle=True, seed=3
    )
    old.write_parquet(old_path)
    new.write_parquet(new_path)


# Plain JSON.
def measure(command: list[str]) -> dict[str, Any]:
    """Run one contender and return what it found (added, removed, changed) and what it took."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed.")
    found = [told[name] for name in ("added", "removed", "changed")] if isinstance(told, dict) else told
    return {
        "found": found,
        "cpu": usage.ru_utime + usage.ru_stime,
        "seconds": time.perf_counter() - begun,
        "peak_mb": usage.ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
