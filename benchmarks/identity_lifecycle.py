"""What becomes of person ids when records are added, and of other people when records are erased.

    python benchmarks/identity_lifecycle.py DATA_FOLDER [--quick] [--json]

Historical 50k, people recognised by likeness with the defaults: nine tenths of the records are resolved, then all of
them, then one in a hundred is erased. `--quick` takes the records of three people in ten.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from consentry.identity.config import IdentityConfig
from consentry.identity.decisions import Decisions
from consentry.identity.resolve import resolve
from consentry.store import Store
from consentry.testing.identity_records import groups, ids
from consentry.warehouse import DuckDBWarehouse

FILE = "historical_figures_with_errors_50k.parquet"
CONFIG = IdentityConfig.model_validate({"similar": {}})
_RECORDS = (
    "CREATE TABLE raw.everybody AS SELECT 'crm:' || unique_id AS record_id, 'crm' AS source, 1 AS trust,"
    " NULL::TIMESTAMPTZ AS updated_at, first_name AS given_name, surname AS family_name, dob::TEXT AS date_of_birth,"
    " postcode_fake AS postcode, birth_place AS city, gender, occupation, hash(unique_id) % 1000 AS place"
    " FROM read_parquet($file) WHERE hash(cluster) % 10 < $tenths"
)
_LINKS = (
    "CREATE TABLE clean.link (record_id TEXT, source TEXT, trust INTEGER, type TEXT, value TEXT, region TEXT,"
    " seen_at TIMESTAMPTZ)"
)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the labelled sets lie")
    parser.add_argument("--quick", action="store_true", help="three people in ten")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    path = arguments.folder / FILE
    if not path.is_file():
        sys.exit(f"{arguments.folder} has no {FILE}. Name the folder that has it.")
    found = measure(path, 3 if arguments.quick else 10)
    if arguments.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:32} {value:,}" if isinstance(value, int) else f"{name:32} {value}")


def measure(path: Path, tenths: int) -> dict[str, Any]:
    """Run the three steps and compare who is who before and after each."""
    with tempfile.TemporaryDirectory() as folder:
        warehouse, store = DuckDBWarehouse(), Store.in_file(Path(folder) / "control.db")
        decisions = Decisions(store, [bytes(32)])
        warehouse.sql(_RECORDS, file=str(path), tenths=tenths)
        warehouse.sql(_LINKS)
        warehouse.sql("CREATE TABLE quarantine.gone AS SELECT record_id FROM raw.everybody WHERE place < 10")
        started = time.process_time()
        step(warehouse, decisions, "run-1", "place >= 100")
        first = ids(warehouse)
        step(warehouse, decisions, "run-2", "true")
        second = ids(warehouse)
        step(warehouse, decisions, "run-3", "place >= 10", erased="quarantine.gone")
        seconds = time.process_time() - started
        changed = sum(first[record] != second[record] for record in first)
        found = {
            "records": len(second),
            "added": len(second) - len(first),
            "ids_changed": changed,
            "ids_changed_share": round(changed / len(first), 4),
            "changed_without_event": len(untold(warehouse, first, second)),
            "erased": warehouse.count("quarantine.gone"),
            "merges_by_erasure": sum(len({second[record] for record in group}) > 1 for group in groups(warehouse)),
            "merges_forbidden": len(decisions.holding()),
            "cpu_seconds": round(seconds, 1),
        }
        warehouse.close()
        store.close()
    return found


def step(
    warehouse: DuckDBWarehouse, decisions: Decisions, run_id: str, which: str, *, erased: str | None = None
) -> None:
    """Resolve the records for which a condition holds."""
    warehouse.sql(
        f"CREATE OR REPLACE TABLE clean.customer AS SELECT * EXCLUDE (place) FROM raw.everybody WHERE {which}"
    )
    resolve(warehouse, CONFIG, run_id=run_id, decisions=decisions, erased=erased)


def untold(warehouse: DuckDBWarehouse, before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return the people of changed records of whom no event of the second run tells."""
    rows = warehouse.sql("SELECT person_id, other_person_id FROM identity.identity_event WHERE run_id = 'run-2'")
    told = {*rows["person_id"].to_pylist(), *rows["other_person_id"].to_pylist()}
    changed = [record for record in before if before[record] != after[record]]
    return {person for record in changed for person in (before[record], after[record])} - told


if __name__ == "__main__":
    main()
