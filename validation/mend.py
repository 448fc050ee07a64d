"""Read what people mended by hand: corrected rows that stand in for the landed ones, which stay as they came."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as arrow

from consentry.config import Faults
from consentry.model.names import did_you_mean, quoted
from consentry.validation.aside import aside_table, has_aside
from consentry.validation.check import MALFORMED_COLUMN
from consentry.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Fix:
    """Corrected cells of one row; a row that was no row at all (`malformed`) gets all its cells."""

    line: int
    rid: int
    # Any: a cell is whatever JSON holds.
    cells: Mapping[str, Any]


def fixed_table(stream: str) -> str:
    """Name the table of a stream's corrected rows; it has the columns of the raw one."""
    return f"quarantine.{quoted(stream + '__fixed')}"


def mended_source(warehouse: Warehouse, stream: str) -> str:
    """Return the SQL of a stream's raw rows as they are to be judged: mended, without what was discarded."""
    raw = f"raw.{quoted(stream)}"
    out: list[str] = []
    if has_aside(warehouse, stream):
        out.append(f"_rid NOT IN (SELECT _rid FROM {aside_table(stream)} WHERE why = 'discarded')")
    if not warehouse.has(f"quarantine.{stream}__fixed"):
        return f"(SELECT * FROM {raw} WHERE {' AND '.join(out)})" if out else raw
    fixed = fixed_table(stream)
    kept = " AND ".join([*out, f"_rid NOT IN (SELECT _rid FROM {fixed})"])
    mended = " AND ".join([*out, f"_rid IN (SELECT _rid FROM {raw})"])
    return f"(SELECT * FROM {raw} WHERE {kept} UNION ALL BY NAME SELECT * FROM {fixed} WHERE {mended})"


def read_fixes(path: Path, faults: Faults) -> list[Fix]:
    """Read a file of corrections, one JSON object a line; every fault is noted with its line, never with a value.

    A line is {"_rid": 7, "set": {"age": "12"}}, or one that `quarantine export --raw` wrote with its `payload`
    corrected.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        faults.add(path, 0, f"The file cannot be read ({type(error).__name__}). Check the path and that it is UTF-8.")
        return []
    return [fix for number, line in enumerate(lines, 1) if line.strip() and (fix := _fix(path, number, line, faults))]


def _fix(path: Path, number: int, line: str, faults: Faults) -> Fix | None:
    try:
        found = json.loads(line)
    except ValueError:
        faults.add(path, number, "The line is no JSON.")
        return None
    rid = found.get("_rid") if isinstance(found, dict) else None
    cells = found.get("set", found.get("payload")) if isinstance(found, dict) else None
    if not isinstance(rid, int) or isinstance(rid, bool) or not isinstance(cells, dict) or not cells:
        faults.add(path, number, 'The line is no correction. Write {"_rid": 7, "set": {"column": "value"}}.')
        return None
    return Fix(number, rid, cells)


def store_fixes(warehouse: Warehouse, stream: str, fixes: Sequence[Fix], path: Path, faults: Faults) -> int:
    """Keep corrections of open rows of the quarantine, a later one instead of an earlier, and return how many.

    Nothing is kept when there is a fault: a row that is not open, a column that the stream lacks, a value that
    does not fit its column.
    """
    held = f"SELECT _rid, payload FROM quarantine.{quoted(stream)} WHERE status = 'open'"
    payloads = {row["_rid"]: row["payload"] for row in warehouse.sql(held).to_pylist()}
    for fix in fixes:
        if fix.rid not in payloads:
            faults.add(path, fix.line, f"The row {fix.rid} is not open in the quarantine of {stream}.")
    if faults.found or not fixes:
        return 0
    mended = list(_mended(warehouse, stream, fixes, payloads, path, faults))
    if faults.found:
        return 0
    schema = warehouse.sql(f"SELECT * FROM raw.{quoted(stream)} LIMIT 0").schema
    table = arrow.Table.from_pylist(mended, schema)
    with warehouse.transaction():
        if warehouse.has(f"quarantine.{stream}__fixed"):
            numbers = ", ".join(str(fix.rid) for fix in fixes)
            warehouse.sql(f"DELETE FROM {fixed_table(stream)} WHERE _rid IN ({numbers})")
        warehouse.write(f"quarantine.{stream}__fixed", table.to_batches(), schema=schema, mode="append")
    return len(mended)


def _mended(
    warehouse: Warehouse,
    stream: str,
    fixes: Sequence[Fix],
    payloads: Mapping[int, str],
    path: Path,
    faults: Faults,
) -> Iterator[dict[str, Any]]:
    numbers = ", ".join(str(fix.rid) for fix in fixes)
    source = mended_source(warehouse, stream)
    found = warehouse.sql(f"SELECT * FROM {source} AS source WHERE _rid IN ({numbers})")
    rows = {row["_rid"]: row for row in found.to_pylist()}
    for fix in fixes:
        row = rows[fix.rid]
        before = json.loads(payloads[fix.rid]) if payloads[fix.rid] else {}
        changed = {name: cell for name, cell in fix.cells.items() if name not in before or before[name] != cell}
        for name, cell in changed.items():
            if name not in found.schema.names or (name.startswith("_") and name != MALFORMED_COLUMN):
                hint = did_you_mean(name, found.schema.names) or "."
                faults.add(path, fix.line, f"The stream {stream} has no column {name!r}{hint}")
                continue
            try:
                row[name] = _cell(cell, found.schema.field(name).type)
            except (arrow.ArrowException, ValueError, TypeError, OverflowError):
                faults.add(path, fix.line, f"The value for {name!r} does not fit the column's type.")
        if MALFORMED_COLUMN in row and changed and MALFORMED_COLUMN not in fix.cells:
            row[MALFORMED_COLUMN] = None
        yield row


def _cell(cell: Any, kind: arrow.DataType) -> Any:
    if cell is None:
        return None
    if arrow.types.is_string(kind) or arrow.types.is_large_string(kind):
        return cell if isinstance(cell, str) else json.dumps(cell)
    return arrow.array([str(cell)], arrow.string()).cast(kind)[0].as_py()
