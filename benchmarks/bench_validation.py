"""Check a stream of 10 columns by 12 rules, 5% of its rows bad, beside one hand-written pass of DuckDB SQL.

Both write the good and the bad rows; consentry also writes the raw content and the reasons of every bad row.
`--quick` takes 100,000 rows, else 1,000,000; `--json` prints one object.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from consentry.config import Faults
from consentry.validation.contract import Contract, read_contract
from consentry.validation.run import validate
from consentry.warehouse import DuckDBWarehouse

CONTRACT = """
columns:
  id: {dtype: Int64}
  email: {dtype: String, checks: {str_matches: "^[a-z0-9.]+@[a-z0-9.]+$"}}
  country: {dtype: String, checks: {isin: [DE, FR, GB, US]}}
  age: {dtype: Int64, nullable: true, checks: {in_range: {min_value: 0, max_value: 120}}}
  ltv: {dtype: Float64, nullable: true, checks: {ge: 0}}
  sessions: {dtype: Int64, nullable: true, checks: {ge: 0}}
  tier: {dtype: String, nullable: true, checks: {isin: [a, b, c]}}
  starts: {dtype: Date}
  ends: {dtype: Date, nullable: true}
  note: {dtype: String, nullable: true, checks: {str_length: {max_value: 20}}}
rules:
  - {compare: [starts, "<=", ends]}
"""
ROWS = """
CREATE TABLE raw.bench__rows AS SELECT i AS _rid, i AS id,
  CASE i % 100 WHEN 1 THEN 'bad' ELSE 'user' || i || '@example.com' END AS email,
  CASE i % 100 WHEN 2 THEN 'XX' ELSE (['DE', 'FR', 'GB', 'US'])[1 + i % 4] END AS country,
  CASE i % 100 WHEN 3 THEN 999 ELSE i % 90 END AS age,
  CASE i % 100 WHEN 4 THEN -1.0 ELSE i * 0.5 END AS ltv,
  i % 50 AS sessions, (['a', 'b', 'c'])[1 + i % 3] AS tier,
  DATE '2020-01-01' + CAST(i % 300 AS INT) AS starts,
  DATE '2020-01-01' + CAST(CASE i % 100 WHEN 5 THEN -5 ELSE i % 300 + 3 END AS INT) AS ends,
  'note ' || (i % 1000) AS note
FROM range($rows) AS numbers(i)
"""
# Bit n is set where rule n is broken.
BY_HAND = """
CREATE TABLE clean.by_hand__all AS SELECT *,
  CASE WHEN id IS NULL THEN 1 ELSE 0 END + CASE WHEN email IS NULL THEN 2 ELSE 0 END
  + CASE WHEN NOT regexp_matches(email, '^[a-z0-9.]+@[a-z0-9.]+$') THEN 4 ELSE 0 END
  + CASE WHEN country NOT IN ('DE', 'FR', 'GB', 'US') THEN 8 ELSE 0 END
  + CASE WHEN age NOT BETWEEN 0 AND 120 THEN 16 ELSE 0 END + CASE WHEN ltv < 0 THEN 32 ELSE 0 END
  + CASE WHEN sessions < 0 THEN 64 ELSE 0 END + CASE WHEN tier NOT IN ('a', 'b', 'c') THEN 128 ELSE 0 END
  + CASE WHEN starts > ends THEN 256 ELSE 0 END + CASE WHEN length(note) > 20 THEN 512 ELSE 0 END
  + CASE WHEN starts IS NULL THEN 1024 ELSE 0 END
  + CASE WHEN id IN (SELECT id FROM raw.bench__rows GROUP BY id HAVING count(*) > 1) THEN 2048 ELSE 0 END AS broken
FROM raw.bench__rows
"""


def main() -> None:
    """Run both once and print the times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = 100_000 if options.quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), rows)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:22} {value:>12,}")


def measure(folder: Path, rows: int) -> dict[str, float]:
    """Return the seconds of both ways, their ratio, CPU seconds and peak memory of the process."""
    contract = _contract(folder)
    warehouse = DuckDBWarehouse(folder / "bench.duckdb")
    warehouse.sql(ROWS, rows=rows)
    start, cpu = time.perf_counter(), time.process_time()
    done = validate(warehouse, contract, stream="bench__rows", primary_key=["id"], mode="append", run_id="bench")
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    warehouse.sql(BY_HAND)
    warehouse.sql("CREATE TABLE clean.by_hand AS SELECT * EXCLUDE (broken) FROM clean.by_hand__all WHERE broken = 0")
    warehouse.sql("CREATE TABLE quarantine.by_hand AS SELECT * FROM clean.by_hand__all WHERE broken <> 0")
    by_hand = time.perf_counter() - start
    if done.quarantined != warehouse.count("quarantine.by_hand"):
        raise SystemExit("The two ways do not find the same rows.")
    warehouse.close()
    return {
        "rows": rows,
        "quarantined": done.quarantined,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "single_pass_seconds": round(by_hand, 2),
        "ratio_to_single_pass": round(seconds / by_hand, 2),
        "peak_mb": round(peak),
    }


def _contract(folder: Path) -> Contract:
    path = folder / "bench.yaml"
    path.write_text(CONTRACT)
    faults = Faults()
    contract = read_contract(path, faults)
    faults.check()
    assert contract is not None
    return contract


if __name__ == "__main__":
    main()
