"""Search everything a job left behind for identifiers of its own people, keys, and planted canaries.

The restricted zone (raw, clean, quarantine, identity) holds identifiers by design, as do dlt's working files and the
key file; everything else must not: audit log, control store, open zones of the warehouse, logs, temporary files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from consentry.consent.normal import normal_forms
from consentry.errors import ConfigError
from consentry.model.names import is_name, quoted
from consentry.pipeline.load import Loaded
from consentry.warehouse import DuckDBWarehouse

OPEN_ZONES = ("profile", "segment", "delivery", "ops")
_RESTRICTED = ("warehouse.duckdb", "warehouse.duckdb.wal", "dlt")
_WORD = re.compile(rb"[^\s\"',;:<>(){}\[\]\\=|&?/\x00]{6,320}")
_LEAST = 6


# A finding is plain JSON; it names the place and the kind of what was found, never the value.
def leak_scan(loaded: Loaded, canaries: list[str], *, also: list[Path]) -> dict[str, Any]:
    """Scan the state folder, the open zones of the warehouse and further files or folders.

    canaries: texts that were planted and must stand nowhere. Returns the places searched and every finding.
    """
    path = loaded.state / "warehouse.duckdb"
    if not path.exists():
        raise ConfigError(f"The job {loaded.job.job} has not run yet. Run it first.")
    warehouse = DuckDBWarehouse(path)
    try:
        needles = _needles(warehouse)
        planted = {canary.encode(): "planted" for canary in canaries if canary} | _keys(loaded)
        findings, places = [], 0
        for place, content in [*_tables(warehouse), *_files(loaded, also)]:
            places += 1
            secrets = {} if place == _key_file(loaded) else planted
            findings += [{"place": place, "kind": kind, "times": n} for kind, n in _found(content, needles, secrets)]
    finally:
        warehouse.close()
    return {"ok": not findings, "places": places, "identifiers": len(needles), "findings": findings}


def _needles(warehouse: DuckDBWarehouse) -> dict[bytes, str]:
    """Return every identifier of the run's people in each spelling, by its type; short ones say too little."""
    if not warehouse.has("identity.identifier"):
        return {}
    found: dict[bytes, str] = {}
    query = "SELECT DISTINCT type, value FROM identity.identifier WHERE status = 'ok' AND type IN ('email', 'phone')"
    for batch in warehouse.stream(query):
        for row in batch.to_pylist():
            for form in (row["value"], *normal_forms(row["type"], row["value"])):
                for spelling in (form, form.lower(), form.lstrip("+")):
                    if len(spelling) >= _LEAST:
                        found[spelling.encode()] = row["type"]
    return found


def _keys(loaded: Loaded) -> dict[bytes, str]:
    path = loaded.job.keys.path
    if loaded.job.keys.provider != "file" or path is None or not (loaded.state / path).exists():
        return {}
    masters = json.loads((loaded.state / path).read_text())["keys"].values()
    return {spelling: "key" for master in masters for spelling in (master.encode(), bytes.fromhex(master))}


def _key_file(loaded: Loaded) -> str:
    return str(loaded.job.keys.path)


def _tables(warehouse: DuckDBWarehouse) -> Iterator[tuple[str, bytes]]:
    for zone in OPEN_ZONES:
        for table in warehouse.tables(zone):
            for batch in warehouse.read(table):
                yield table, json.dumps(batch.to_pylist(), default=str, ensure_ascii=False).encode()


def _files(loaded: Loaded, also: list[Path]) -> Iterator[tuple[str, bytes]]:
    state = loaded.state
    for path in sorted(state.rglob("*")):
        if path.is_file() and path.relative_to(state).parts[0] not in _RESTRICTED:
            yield str(path.relative_to(state)), path.read_bytes()
    for root in also:
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_file():
                yield str(path), path.read_bytes()


def _found(content: bytes, needles: dict[bytes, str], planted: dict[bytes, str]) -> Iterator[tuple[str, int]]:
    counts: dict[str, int] = {}
    for match in _WORD.finditer(content):
        word = match.group().strip(b".")
        for spelling in (word, word.lower(), word.lstrip(b"+")):
            if spelling in needles:
                counts[needles[spelling]] = counts.get(needles[spelling], 0) + 1
                break
    for text, kind in planted.items():
        times = content.count(text)
        if times:
            counts[kind] = counts.get(kind, 0) + times
    yield from sorted(counts.items())


def anonymity(loaded: Loaded, segment: str | None, columns: list[str]) -> dict[str, Any]:
    """Say how many people share each combination of some profile columns: k is the smallest such group.

    segment: only its members, everybody with a profile when absent.
    """
    warehouse = DuckDBWarehouse(loaded.state / "warehouse.duckdb")
    try:
        known = warehouse.columns("profile.person")
        for column in columns:
            if column not in known or not is_name(column):
                raise ConfigError(f"The profile has no column {column!r}. It has: {', '.join(known)}.")
        listed = ", ".join(f"p.{quoted(column)}" for column in columns)
        member = "AND p.person_id IN (SELECT m.person_id FROM segment.membership m WHERE m.segment = $segment)"
        found = warehouse.sql(
            f"WITH classes AS (SELECT count(*) AS size FROM profile.person p WHERE true {member if segment else ''} "
            f"GROUP BY {listed}) SELECT count(*) AS classes, coalesce(min(size), 0) AS k, "
            "coalesce(sum(size), 0) AS people, coalesce(sum(CASE WHEN size = 1 THEN 1 ELSE 0 END), 0) AS unique_people "
            "FROM classes",
            **({"segment": segment} if segment else {}),
        ).to_pylist()[0]
    finally:
        warehouse.close()
    return {"segment": segment, "columns": columns, **{name: int(value) for name, value in found.items()}}
