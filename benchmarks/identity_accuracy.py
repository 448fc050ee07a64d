"""How well people are recognised by what their records say, on labelled sets, with the defaults for all of them.

    python benchmarks/identity_accuracy.py DATA_FOLDER [--quick] [--json]

No label, and no setting of a data set, enters: only which of its columns means what. Beside our groups stand those of
connected components, which Splink would make, over the very same scored pairs at 0.5 and 0.95. The last row are the
generator's households. `--quick` takes fewer generated records. Data sets that the folder lacks are left out.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from consentry.identity.codes import Ints
from consentry.identity.components import linked_parts
from consentry.identity.linkage import Guards, Pairs, cluster
from consentry.identity.metrics import b_cubed, exact_clusters, pairwise
from consentry.identity.roles import COLUMNS
from consentry.identity.similar import look
from consentry.identity.similar_config import SimilarRules
from consentry.testing.hard_customers import hard_customers, household_traps
from consentry.warehouse import DuckDBWarehouse

_FEBRL = {
    "given_name": "given_name",
    "family_name": "surname",
    "date_of_birth": "date_of_birth",
    "street_address": "address",
    "city": "suburb",
    "postcode": "postcode",
    "national_id": "soc_sec_id",
}
# Data set: the files, the SQL that reads them, and which column has which meaning.
SETS: dict[str, tuple[tuple[str, ...], str, dict[str, str]]] = {
    "historical_50k": (
        ("historical_figures_with_errors_50k.parquet",),
        "SELECT *, cluster AS person FROM read_parquet({0})",
        {
            "given_name": "first_name",
            "family_name": "surname",
            "date_of_birth": "dob",
            "birth_place": "birth_place",
            "postcode": "postcode_fake",
            "gender": "gender",
            "occupation": "occupation",
        },
    ),
    "febrl3": (
        ("febrl3.csv",),
        "SELECT *, concat_ws(' ', street_number, address_1) AS address, split_part(rec_id, '-', 2) AS person"
        " FROM read_csv({0}, all_varchar = true)",
        _FEBRL,
    ),
    "febrl4": (
        ("febrl4a.csv", "febrl4b.csv"),
        "SELECT *, concat_ws(' ', street_number, address_1) AS address, split_part(rec_id, '-', 2) AS person"
        " FROM read_csv([{0}, {1}], all_varchar = true)",
        _FEBRL,
    ),
    "rldata10000": (
        ("RLdata10000.csv",),
        "SELECT concat_ws(' ', fname_c1, fname_c2) AS given, concat_ws(' ', lname_c1, lname_c2) AS family,"
        " concat_ws('-', \"by\", lpad(bm, 2, '0'), lpad(bd, 2, '0')) AS born, label_true AS person"
        " FROM read_csv({0}, all_varchar = true, nullstr = 'NA')",
        {"given_name": "given", "family_name": "family", "date_of_birth": "born"},
    ),
    "fake_1000": (
        ("fake_1000.csv",),
        "SELECT *, cluster AS person FROM read_csv({0}, all_varchar = true)",
        {
            "given_name": "first_name",
            "family_name": "surname",
            "date_of_birth": "dob",
            "city": "city",
            "email": "email",
        },
    ),
}


def main() -> None:
    """Measure each set and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the labelled sets lie")
    parser.add_argument("--quick", action="store_true", help="fewer generated records")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    rows = {name: measure(name, arguments.folder) for name in SETS if is_there(name, arguments.folder)}
    absent = [name for name in SETS if name not in rows]
    rows["generated"] = generated(20_000 if arguments.quick else 100_000)
    if arguments.json:
        print(json.dumps(summary(rows, absent)))
        return
    show(rows)
    for name in absent:
        print(f"{name} was left out: {arguments.folder} has no {' or '.join(SETS[name][0])}.", file=sys.stderr)


def is_there(name: str, folder: Path) -> bool:
    """Tell whether the files of a set are there."""
    return all((folder / file).is_file() for file in SETS[name][0])


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Group one set and compare it with its labels."""
    files, query, columns = SETS[name]
    quoted = ["'" + str(folder / file).replace("'", "''") + "'" for file in files]
    table = duckdb.connect().sql(query.format(*quoted)).to_arrow_table()
    return judged(table, columns)[0]


def generated(records: int) -> dict[str, Any]:
    """Group generated customers, and count the households that were taken for one person."""
    table = hard_customers(records)
    columns = {name: name for name in COLUMNS if name in table.column_names}
    row, labels = judged(table, columns)
    traps = household_traps(table)
    merged = int((labels[traps[:, 0]] == labels[traps[:, 1]]).sum())
    return row | {"traps": len(traps), "traps_merged_share": round(merged / max(len(traps), 1), 6)}


def judged(table: pa.Table, columns: dict[str, str]) -> tuple[dict[str, Any], Ints]:
    """Group the rows of a table by the defaults; return the measures and the groups."""
    rules, truth = SimilarRules(), codes(table["person"])
    started = time.process_time()
    found = look(DuckDBWarehouse(), table, columns, rules=rules)
    guards = Guards(apart=found.household)
    labels = cluster(found.pairs, table.num_rows, cut=rules.cut, pair=rules.pair, guards=guards)
    seconds = time.process_time() - started
    row = {"records": table.num_rows, "pairs": found.compared, "cpu_s": round(seconds, 1), **scores(labels, truth)}
    for least in (0.5, 0.95):
        closed = closure(found.pairs, table.num_rows, least)
        row |= {f"closure_{least}_{measure}": value for measure, value in scores(closed, truth).items()}
    return row, labels


def scores(labels: Ints, truth: Ints) -> dict[str, float]:
    """Return the measures of a grouping."""
    pairs = pairwise(labels, truth)
    values = {"precision": pairs.precision, "recall": pairs.recall, "f1": pairs.f1, "b3": b_cubed(labels, truth).f1}
    return {name: round(value, 4) for name, value in (values | {"exact": exact_clusters(labels, truth).f1}).items()}


def closure(pairs: Pairs, size: int, least: float) -> Ints:
    """Group by connected components over the pairs from a probability on."""
    kept = pairs.probability >= least
    return linked_parts(size, pairs.left[kept], pairs.right[kept])


def codes(column: pa.ChunkedArray) -> Ints:
    """Number the values of a column."""
    found: Ints = np.unique(np.array(column.to_pylist(), dtype=str), return_inverse=True)[1].astype(np.int64)
    return found


def summary(rows: dict[str, dict[str, Any]], absent: list[str]) -> dict[str, Any]:
    """Return the figures that are followed over time, and all of them below."""
    followed = {f"{name}_{measure}": rows[name][measure] for name in rows for measure in ("f1", "b3")}
    return followed | {
        "household_traps_merged_share": rows["generated"]["traps_merged_share"],
        "absent": absent,
        "sets": rows,
    }


def show(rows: dict[str, dict[str, Any]]) -> None:
    """Print the table for people."""
    table = Table(title="People recognised without an identifier", title_justify="left")
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "records": lambda row: f"{row['records']:,}",
        "pairs": lambda row: f"{row['pairs']:,}",
        "precision": lambda row: f"{row['precision']:.3f}",
        "recall": lambda row: f"{row['recall']:.3f}",
        "F1": lambda row: f"{row['f1']:.4f}",
        "B3": lambda row: f"{row['b3']:.4f}",
        "closure 0.5: F1": lambda row: f"{row['closure_0.5_f1']:.4f}",
        "B3 ": lambda row: f"{row['closure_0.5_b3']:.4f}",
        "closure 0.95: F1": lambda row: f"{row['closure_0.95_f1']:.4f}",
        "B3  ": lambda row: f"{row['closure_0.95_b3']:.4f}",
        "CPU s": lambda row: f"{row['cpu_s']}",
    }
    table.add_column("set")
    for title in columns:
        table.add_column(re.sub(r"\s+$", "", title), justify="right")
    for name, row in rows.items():
        table.add_row(name, *(value(row) for value in columns.values()))
    console = Console(width=160)
    console.print(table)
    made = rows["generated"]
    console.print(f"{made['traps_merged_share']:.3%} of {made['traps']:,} pairs of two people of one household merged")


if __name__ == "__main__":
    main()
