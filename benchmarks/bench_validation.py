"""Check 10 columns by 12 rules, 5% of the rows bad, beside hand-written SQL, Pandera and Great Expectations.

    python benchmarks/bench_validation.py [--quick] [--json] [--rows N ...] [--only NAME ...] [--gx-python PATH]

Every contender runs in a process of its own on the same rows, which stand ready in its own form (a DuckDB file, a frame
in memory). consentry writes clean rows, and of every bad row its raw content and all its reasons. The hand-written
SQL stands twice: `single_pass` finds the bad rows with their reasons and counts each rule, `single_pass_both` also
writes the clean and the bad rows. Pandera and Great Expectations only find the bad rows. The second part fills gaps.
`--quick` takes 1,000,000 rows; without it 1,000,000 and 5,000,000. Great Expectations has a dependency group of its own
(`bench`), or an interpreter that has it (`--gx-python`); without it its line says so. On a machine with other work the
CPU seconds are what can be compared.
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
from pathlib import Path
from typing import Any

from validation_imputation import imputation

SIZES = (1_000_000, 5_000_000)
QUICK_SIZES = (1_000_000,)
IMPUTE_ROWS = 1_000_000
# What the project promises: wall time against `single_pass_both`, megabytes, and imputation against plain SQL.
GOALS = {1_000_000: 3.0, 5_000_000: 2.0, "peak_mb": 1800, "impute": 2.0}
# As a job sets it (`memory_limit`): what the engine keeps of its tables beyond that goes to disk.
MEMORY_LIMIT = "500MB"
CONTRACT = """
columns:
  id: {dtype: Int64}
  email: {dtype: String, checks: {str_matches: "^[a-z0-9.]+@[a-z0-9.]+$"}}
  country: {dtype: String, nullable: true, checks: {isin: [DE, FR, GB, US]}}
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
CREATE TABLE raw.bench__rows AS SELECT i AS _rid, CASE WHEN i % 200 = 6 THEN i - 6 ELSE i END AS id,
  CASE i % 200 WHEN 1 THEN 'bad' WHEN 101 THEN NULL ELSE 'user' || i || '@example.com' END AS email,
  CASE i % 100 WHEN 2 THEN 'XX' ELSE (['DE', 'FR', 'GB', 'US'])[1 + i % 4] END AS country,
  CASE i % 100 WHEN 3 THEN 999 ELSE i % 90 END AS age,
  CASE i % 100 WHEN 4 THEN -1.0 ELSE i * 0.5 END AS ltv,
  i % 50 AS sessions, (['a', 'b', 'c'])[1 + i % 3] AS tier,
  DATE '2020-01-01' + CAST(i % 300 AS INT) AS starts,
  DATE '2020-01-01' + CAST(CASE i % 200 WHEN 5 THEN -5 ELSE i % 300 + 3 END AS INT) AS ends,
  'note ' || (i % 1000) AS note
FROM range($rows) AS numbers(i)
"""
RULES = (
    ("missing_key", "id IS NULL"),
    ("email.missing", "email IS NULL"),
    ("email.str_matches", "NOT regexp_matches(email, '^[a-z0-9.]+@[a-z0-9.]+$')"),
    ("country.isin", "country NOT IN ('DE', 'FR', 'GB', 'US')"),
    ("age.in_range", "age NOT BETWEEN 0 AND 120"),
    ("ltv.ge", "ltv < 0"),
    ("sessions.ge", "sessions < 0"),
    ("tier.isin", "tier NOT IN ('a', 'b', 'c')"),
    ("starts.missing", "starts IS NULL"),
    ("starts<=ends", "starts > ends"),
    ("note.str_length", "length(note) > 20"),
    ("duplicate_key", "id IN (SELECT id FROM raw.bench__rows GROUP BY id HAVING count(*) > 1)"),
)
# Bit n of `broken` is set where rule n is.
_BITS = " + ".join(f"CASE WHEN {test} THEN {1 << n} ELSE 0 END" for n, (_, test) in enumerate(RULES))
_REASONS = ", ".join(f"CASE WHEN broken & {1 << n} <> 0 THEN '{name}' END" for n, (name, _) in enumerate(RULES))
_COUNTS = ", ".join(f"sum(CASE WHEN broken & {1 << n} <> 0 THEN 1 ELSE 0 END)" for n in range(len(RULES)))
Result = dict[str, Any]


def consentry(folder: Path) -> Callable[[], int]:
    """Check the stream as a run does."""
    from consentry.config import Faults
    from consentry.validation.contract import read_contract
    from consentry.validation.run import validate
    from consentry.warehouse import DuckDBWarehouse

    path = folder / "bench.yaml"
    path.write_text(CONTRACT)
    faults = Faults()
    contract = read_contract(path, faults)
    faults.check()
    assert contract is not None
    warehouse = DuckDBWarehouse(folder / "bench.duckdb", memory_limit=MEMORY_LIMIT)

    def work() -> int:
        done = validate(warehouse, contract, stream="bench__rows", primary_key=["id"], mode="append", run_id="bench")
        return done.quarantined

    return work


def _opened(folder: Path) -> Any:
    import duckdb

    return duckdb.connect(str(folder / "bench.duckdb"))


def single_pass(folder: Path, *, both: bool = False) -> Callable[[], int]:
    """Find the bad rows in one pass of SQL, with reasons and counts."""
    connection = _opened(folder)

    def work() -> int:
        rows = f"SELECT *, {_BITS} AS broken FROM raw.bench__rows"
        if both:
            connection.execute(
                f"CREATE TABLE clean.by_hand AS SELECT * EXCLUDE (broken) FROM ({rows}) WHERE broken = 0"
            )
        kept = "*" if both else "_rid, broken"
        reasons = f"concat_ws(',', {_REASONS}) AS reasons"
        connection.execute(
            f"CREATE TABLE quarantine.by_hand AS SELECT {kept}, {reasons} FROM ({rows}) WHERE broken <> 0"
        )
        connection.execute(f"SELECT {_COUNTS} FROM quarantine.by_hand").fetchall()
        found = connection.execute("SELECT count(*) FROM quarantine.by_hand").fetchone()
        return int(found[0]) if found else 0

    return work


def _pandera(module: Any, kinds: dict[str, Any]) -> Any:
    check = module.Check
    checks: dict[str, Any] = {
        "email": check.str_matches("^[a-z0-9.]+@[a-z0-9.]+$"),
        "country": check.isin(["DE", "FR", "GB", "US"]),
        "age": check.in_range(0, 120),
        "ltv": check.ge(0),
        "sessions": check.ge(0),
        "tier": check.isin(["a", "b", "c"]),
        "note": check.str_length(max_value=20),
    }
    needed = {"id", "email", "starts"}
    return {name: module.Column(kind, checks.get(name), nullable=name not in needed) for name, kind in kinds.items()}


def pandera_polars(folder: Path) -> Callable[[], int]:
    """Find the bad rows with Pandera on the whole table in polars."""
    import pandera.polars as pa
    import polars as pl

    frame = pl.from_arrow(_opened(folder).sql("SELECT * EXCLUDE (_rid) FROM raw.bench__rows").to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    columns = _pandera(
        pa, {name: pl.Float64 if str(kind).startswith("Decimal") else kind for name, kind in frame.schema.items()}
    )
    frame = frame.with_columns(pl.col("ltv").cast(pl.Float64))
    ordered = pa.Check(lambda data: data.lazyframe.select(pl.col("starts") <= pl.col("ends")))
    schema = pa.DataFrameSchema(columns, checks=[ordered], unique=["id"])

    def work() -> int:
        try:
            schema.validate(frame, lazy=True)
        except pa.errors.SchemaErrors as errors:
            return int(errors.failure_cases["index"].drop_nulls().n_unique())
        return 0

    return work


def pandera_pandas(folder: Path) -> Callable[[], int]:
    """Find the bad rows with Pandera on the whole table in pandas."""
    import pandera.pandas as pa

    frame = _opened(folder).sql("SELECT * EXCLUDE (_rid) FROM raw.bench__rows").df()
    frame["ltv"] = frame["ltv"].astype("float64")
    columns = _pandera(pa, dict(frame.dtypes.items()))
    ordered = pa.Check(lambda data: data["starts"] <= data["ends"])
    schema = pa.DataFrameSchema(columns, checks=[ordered], unique=["id"])

    def work() -> int:
        try:
            schema.validate(frame, lazy=True)
        except pa.errors.SchemaErrors as errors:
            return int(errors.failure_cases["index"].dropna().nunique())
        return 0

    return work


def great_expectations(folder: Path) -> Callable[[], int]:
    """Count the bad cells with Great Expectations on pandas; it names a sample of the rows."""
    import great_expectations as gx
    import great_expectations.expectations as gxe
    import pandas as pd

    frame = pd.read_parquet(folder / "bench.parquet")
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = gx.data_context.types.base.ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("bench").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all")
    suite = gx.ExpectationSuite(
        name="bench",
        expectations=[
            *(gxe.ExpectColumnValuesToNotBeNull(column=name) for name in ("id", "email", "starts")),
            gxe.ExpectColumnValuesToBeUnique(column="id"),
            gxe.ExpectColumnValuesToMatchRegex(column="email", regex="^[a-z0-9.]+@[a-z0-9.]+$"),
            gxe.ExpectColumnValuesToBeInSet(column="country", value_set=["DE", "FR", "GB", "US"]),
            gxe.ExpectColumnValuesToBeBetween(column="age", min_value=0, max_value=120),
            gxe.ExpectColumnValuesToBeBetween(column="ltv", min_value=0),
            gxe.ExpectColumnValuesToBeBetween(column="sessions", min_value=0),
            gxe.ExpectColumnValuesToBeInSet(column="tier", value_set=["a", "b", "c"]),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="ends", column_B="starts", or_equal=True),
            gxe.ExpectColumnValueLengthsToBeBetween(column="note", max_value=20),
        ],
    )
    definition = gx.ValidationDefinition(data=batch, suite=context.suites.add(suite), name="bench")
    definition = context.validation_definitions.add(definition)

    def work() -> int:
        found = definition.run(batch_parameters={"dataframe": frame})
        return sum(int(item.result.get("unexpected_count", 0)) for item in found.results)

    return work


CONTENDERS: dict[str, Callable[[Path], Callable[[], int]]] = {
    "single_pass": single_pass,
    "single_pass_both": lambda folder: single_pass(folder, both=True),
    "consentry": consentry,
    "pandera_polars": pandera_polars,
    "pandera_pandas": pandera_pandas,
    "great_expectations": great_expectations,
}


def main() -> None:
    """Measure and print the table, or be the process of one contender."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000,000 rows, at most 45 s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rows", type=int, nargs="*", help="sizes to measure")
    parser.add_argument("--only", nargs="*", choices=list(CONTENDERS), help="these contenders alone")
    parser.add_argument("--gx-python", default=sys.executable, help="an interpreter that has great_expectations")
    parser.add_argument("--child", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--no-impute", action="store_true", help="leave the second part out")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(options.child[0], Path(options.child[1]))))
        return
    sizes = options.rows or (QUICK_SIZES if options.quick else SIZES)
    result: Result = {"sizes": [size(rows, options.only or list(CONTENDERS), options.gx_python) for rows in sizes]}
    if not options.no_impute:
        result["impute"] = imputation(IMPUTE_ROWS)
    print(json.dumps(result)) if options.json else show(result)


def measured(name: str, folder: Path) -> Result:
    """Make a contender ready, let it work once, and say what it took."""
    try:
        work = CONTENDERS[name](folder)
    except ImportError as error:
        return {"skipped": f"{error.name} is not installed"}
    start, cpu = time.perf_counter(), time.process_time()
    bad = work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3), "peak_mb": round(peak), "bad": bad}


def size(rows: int, names: list[str], gx_python: str) -> Result:
    """Measure every contender on one number of rows."""
    told: Result = {"rows": rows, "contenders": {}}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder), rows, parquet=name == "great_expectations")
            python = gx_python if name == "great_expectations" else sys.executable
            told["contenders"][name] = child(python, name, folder)
    found = told["contenders"]
    if "seconds" in found.get("consentry", {}):
        told["peak_mb"] = found["consentry"]["peak_mb"]
        for base, key in (("single_pass_both", "ratio_to_single_pass"), ("single_pass", "ratio_to_reasons_alone")):
            if base in found:
                told[key] = round(found["consentry"]["seconds"] / found[base]["seconds"], 2)
                told[f"cpu_{key}"] = round(found["consentry"]["cpu_seconds"] / found[base]["cpu_seconds"], 2)
    return told


def child(python: str, name: str, folder: str) -> Result:
    """Run one contender in a process of its own."""
    environment = {**os.environ, "GX_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [python, __file__, "--child", name, folder], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        return {"skipped": (done.stderr.strip().splitlines() or ["it failed"])[-1][:160]}
    result: Result = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def generate(folder: Path, rows: int, *, parquet: bool) -> None:
    """Write the rows to a DuckDB file, in a process of its own so that its memory is nobody's."""
    from consentry.warehouse import DuckDBWarehouse

    warehouse = DuckDBWarehouse(folder / "bench.duckdb")
    warehouse.sql(ROWS, rows=rows)
    if parquet:
        query = "SELECT * EXCLUDE (_rid) REPLACE (CAST(ltv AS DOUBLE) AS ltv) FROM raw.bench__rows"
        warehouse.sql(f"COPY ({query}) TO '{folder / 'bench.parquet'}' (FORMAT parquet)")
    warehouse.close()


def show(result: Result) -> None:
    """Print the tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for told in result["sizes"]:
        table = Table("contender", "wall s", "CPU s", "peak MB", "bad found", title=f"{told['rows']:,} rows")
        for name, it in told["contenders"].items():
            numbers = (
                [f"{it[key]:,}" for key in ("seconds", "cpu_seconds", "peak_mb", "bad")] if "seconds" in it else []
            )
            table.add_row(name, *(numbers or [it["skipped"]]))
        console.print(table)
        goal = GOALS.get(told["rows"])
        for key in ("ratio_to_single_pass", "ratio_to_reasons_alone"):
            if key in told:
                wanted = f" (goal: at most {goal})" if goal and key == "ratio_to_single_pass" else ""
                console.print(f"{key}: {told[key]} wall, {told[f'cpu_{key}']} CPU{wanted}")
    if "impute" in result:
        for name, value in result["impute"].items():
            console.print(f"impute {name}: {value:,}")


if __name__ == "__main__":
    main()
