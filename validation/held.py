"""Look into the quarantine and decide what becomes of it: list, show, discard, erase.

What is returned holds no content of a row unless it is asked for: the payload is personal data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from consentry.model.names import quoted
from consentry.validation.aside import aside_table, has_aside, set_aside
from consentry.validation.mend import fixed_table
from consentry.warehouse import Warehouse
from consentry.warehouse.protocol import BATCH_ROWS

# Plain JSON.
Held = dict[str, Any]
# Tables that belong to a stream's quarantine and are none themselves.
_BESIDE: Final = r"__(aside|fixed|chosen|checked|broken|duplicates|staged|numbered)$"
STATUSES: Final = ("open", "replayed", "superseded")


def held_streams(warehouse: Warehouse) -> list[str]:
    """Return the names of the tables that have a quarantine."""
    names = [table.partition(".")[2] for table in warehouse.tables("quarantine")]
    ours = [name for name in names if not re.search(_BESIDE, name)]
    return [name for name in ours if {"payload", "reasons", "status"} <= warehouse.columns(f"quarantine.{name}").keys()]


def summary_of(warehouse: Warehouse, stream: str) -> Held:
    """Return what a quarantine holds in exact numbers: by status, and the open rows by reason code.

    trimmed rows are quarantined ones whose content was let go; discarded and erased ones are in no half.
    """
    table = f"quarantine.{quoted(stream)}"
    found = warehouse.sql(f"SELECT status, count(*) AS n FROM {table} GROUP BY status").to_pylist()
    counts = dict.fromkeys((*STATUSES, "trimmed", "discarded", "erased"), 0)
    counts |= {row["status"]: row["n"] for row in found}
    if has_aside(warehouse, stream):
        aside = warehouse.sql(f"SELECT why, count(*) AS n FROM {aside_table(stream)} GROUP BY why").to_pylist()
        counts |= {row["why"]: row["n"] for row in aside}
    times = warehouse.sql(
        f"SELECT CAST(min(first_seen) AS TEXT) AS oldest, CAST(max(last_seen) AS TEXT) AS newest FROM {table}"
        " WHERE status = 'open'"
    ).to_pylist()[0]
    return {"stream": stream, **counts, "reasons": _by_code(warehouse, table), **times}


def _by_code(warehouse: Warehouse, table: str) -> dict[str, int]:
    rows = warehouse.sql(f"SELECT reasons, count(*) AS n FROM {table} WHERE status = 'open' GROUP BY reasons")
    counted: dict[str, int] = {}
    for row in rows.to_pylist():
        for code in {reason["code"] for reason in json.loads(row["reasons"])}:
            counted[code] = counted.get(code, 0) + row["n"]
    return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))


def held_rows(
    warehouse: Warehouse,
    stream: str,
    *,
    raw: bool = False,
    rids: Sequence[int] = (),
    code: str | None = None,
    status: str = "open",
    limit: int | None = None,
) -> Iterator[Held]:
    """Yield rows of a quarantine, oldest first, with their reasons; with `raw` also their content."""
    where, params = _where(rids, code, status)
    content = ", payload" if raw else ""
    query = (
        f"SELECT _rid, run_id, reasons, CAST(first_seen AS TEXT) AS first_seen, CAST(last_seen AS TEXT) AS last_seen,"
        f" status{content} FROM quarantine.{quoted(stream)} WHERE {where} ORDER BY first_seen, _rid"
    )
    if limit is not None:
        query += f" LIMIT {int(limit)}"
    for batch in warehouse.stream(query, batch_rows=BATCH_ROWS, **params):
        for row in batch.to_pylist():
            if raw:
                row["payload"] = json.loads(row["payload"])
            yield {**row, "reasons": json.loads(row["reasons"])}


def _where(rids: Sequence[int], code: str | None, status: str) -> tuple[str, Mapping[str, object]]:
    parts, params = ["status = $status"], dict[str, object](status=status)
    if rids:
        parts.append(f"_rid IN ({', '.join(str(int(rid)) for rid in rids)})")
    if code is not None:
        parts.append("reasons LIKE $code")
        params["code"] = f'%"code": "{code}"%'
    return " AND ".join(parts), params


def discard(warehouse: Warehouse, stream: str, *, rids: Sequence[int] = (), code: str | None = None) -> int:
    """Take open rows out of the quarantine for good, content and all; return how many.

    Their numbers stay known: they count as discarded, and no later check brings them back.
    """
    where, params = _where(rids, code, "open")
    table = f"quarantine.{quoted(stream)}"
    with warehouse.transaction():
        done = set_aside(warehouse, stream, f"SELECT _rid FROM {table} WHERE {where}", "discarded", **params)
        warehouse.sql(f"DELETE FROM {table} WHERE {where}", **params)
    return done


def erase(warehouse: Warehouse, stream: str, identifiers: Mapping[str, Sequence[str]]) -> int:
    """Erase every quarantined row that holds one of a person's identifiers, the landed row too; return how many.

    identifiers: values by kind (email, phone, or another). A quarantined row is often one whose identifier could not
    be read, so that each of its cells is looked at: the value alone, an address also within a longer text, and a
    phone number by its last nine digits. A row of doubt is erased.
    """
    told = [_pattern(kind, value) for kind, values in identifiers.items() for value in values if value.strip()]
    if not told:
        return 0
    found = [
        row["_rid"]
        for batch in warehouse.stream(f"SELECT _rid, payload FROM quarantine.{quoted(stream)}")
        for row in batch.to_pylist()
        if any(_holds(json.loads(row["payload"]), kind, wanted) for kind, wanted in told)
    ]
    if not found:
        return 0
    numbers = ", ".join(map(str, sorted(set(found))))
    raw = f"raw.{stream}"
    with warehouse.transaction():
        set_aside(warehouse, stream, f"SELECT unnest([{numbers}]) AS _rid", "erased")
        for table in (
            f"quarantine.{quoted(stream)}",
            *_copies(warehouse, stream),
            *([_raw(raw)] if warehouse.has(raw) else []),
        ):
            warehouse.sql(f"DELETE FROM {table} WHERE _rid IN ({numbers})")
    return len(set(found))


def _copies(warehouse: Warehouse, stream: str) -> list[str]:
    return [fixed_table(stream)] if warehouse.has(f"quarantine.{stream}__fixed") else []


def _raw(table: str) -> str:
    zone, _, name = table.partition(".")
    return f"{zone}.{quoted(name)}"


def _pattern(kind: str, value: str) -> tuple[str, str]:
    wanted = value.strip().casefold()
    return kind, re.sub(r"\D", "", wanted)[-9:] if kind == "phone" else wanted


def _holds(cell: Any, kind: str, wanted: str) -> bool:
    match cell:
        case dict():
            return any(_holds(inner, kind, wanted) for inner in cell.values())
        case list():
            return any(_holds(inner, kind, wanted) for inner in cell)
        case None | bool():
            return False
    text = str(cell).strip().casefold()
    if kind == "phone":
        return len(wanted) >= 7 and wanted in re.sub(r"\D", "", text)
    if text == wanted:
        return True
    # A line that could not be parsed is one long text; a number within another number is somebody else's.
    return re.search(rf"(?<![\w.+-]){re.escape(wanted)}(?![\w-])", text) is not None
