"""What `bench_validation.py` fills: gaps of a million rows by group median beside plain SQL, and by neighbours."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any

IMPUTED = """
columns:
  person_id: {dtype: String}
  country: {dtype: String, nullable: true}
  visits: {dtype: Int64, nullable: true}
  age: {dtype: Int64, nullable: true, impute: {method: median, by: [country]}}
  spend: {dtype: Float64, nullable: true, impute: {method: %s, by: [country]%s}}
"""
PEOPLE = """
CREATE OR REPLACE TABLE profile.golden AS SELECT 'p' || i AS person_id,
  (['DE', 'FR', 'GB', 'US'])[1 + i % 4] AS country,
  i % 100 AS visits, CASE WHEN i % 10 = 0 THEN NULL ELSE 20 + i % 60 END AS age,
  CASE WHEN i % 10 = 1 THEN NULL ELSE CAST((i % 100) * 3 + (i * 7919) % 11 AS DOUBLE) END AS spend
FROM range($rows) AS numbers(i)
"""
PLAIN_FILL = """
CREATE TABLE profile.by_hand AS SELECT g.*,
  CASE WHEN age IS NULL THEN coalesce(c.age_c, a.age_a) END AS age__imputed,
  CASE WHEN spend IS NULL THEN coalesce(c.spend_c, a.spend_a) END AS spend__imputed
FROM profile.golden AS g
  LEFT JOIN (
    SELECT country, quantile_cont(age, 0.5) AS age_c, quantile_cont(spend, 0.5) AS spend_c
    FROM profile.golden GROUP BY country
  ) AS c ON c.country = g.country,
  (SELECT quantile_cont(age, 0.5) AS age_a, quantile_cont(spend, 0.5) AS spend_a FROM profile.golden) AS a
"""


_USING = ", using: [visits, country]"


def imputation(rows: int) -> dict[str, Any]:
    """Fill two columns of a million rows by group median, against plain SQL; and by neighbours at three sizes."""
    # Once for nothing, so that nobody pays for loading libraries.
    for method in (None, "median", "knn"):
        _filling(1_000, method, _USING if method == "knn" else "")
    (plain, plain_cpu), (median, cpu) = _filling(rows, None, ""), _filling(rows, "median", "")
    told: dict[str, Any] = {"rows": rows, "plain_sql_s": plain, "median_s": median}
    told |= {"plain_sql_cpu_s": plain_cpu, "median_cpu_s": cpu}
    told |= {"ratio_to_plain_sql": round(median / plain, 2), "cpu_ratio_to_plain_sql": round(cpu / plain_cpu, 2)}
    sizes = [rows // 5, rows // 5 * 2, rows // 5 * 4]
    taken = [_filling(size, "knn", _USING)[1] for size in sizes]
    told |= {f"knn_{size}_rows_cpu_s": seconds for size, seconds in zip(sizes, taken, strict=True)}
    # 1 is linear, 2 quadratic.
    return {**told, "knn_exponent": round(math.log(taken[-1] / taken[0]) / math.log(4), 2)}


def _filling(rows: int, method: str | None, more: str) -> tuple[float, float]:
    """Return wall and CPU seconds."""
    from consentry.config import Faults
    from consentry.validation.contract import read_contract
    from consentry.validation.impute import impute
    from consentry.warehouse import DuckDBWarehouse

    with tempfile.TemporaryDirectory() as folder:
        warehouse = DuckDBWarehouse(Path(folder) / "bench.duckdb")
        warehouse.sql(PEOPLE, rows=rows)
        path = Path(folder) / "profile.yaml"
        path.write_text(IMPUTED % (method or "median", more))
        contract = read_contract(path, Faults())
        assert contract is not None
        start, cpu = time.perf_counter(), time.process_time()
        if method is None:
            warehouse.sql(PLAIN_FILL)
        else:
            impute(warehouse, contract, table_in="profile.golden", table_out="profile.person", run_id="bench")
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        warehouse.close()
    return round(seconds, 3), round(cpu, 3)
