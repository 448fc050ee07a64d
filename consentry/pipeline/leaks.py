"""Search everything a job left behind for identifiers and names of its own people, keys, and planted canaries.

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
from consentry.model.names import quoted
from consentry.pipeline.left import left_warehouse
from consentry.pipeline.load import Loaded
from consentry.warehouse import DuckDBWarehouse

OPEN_ZONES = ("profile", "segment", "delivery", "ops")
_RESTRICTED = ("warehouse.duckdb", "warehouse.duckdb.wal", "dlt")
_WORD = re.compile(rb"[^\s\"',;:<>(){}\[\]\\=|&?/\x00]{6,320}")
_LEAST = 6
_NAME_COLUMNS = ("given_name", "family_name", "full_name", "name")
_LETTERS = re.compile(r"[^\W\d_]+")
# A single word is a name when it is this long and no word of the job's own files; two and three in a row always are.
_LONG_NAME = 8
_WORDS_A_NAME = 3


# A finding is plain JSON; it names the place and the kind of what was found, never the value.
def leak_scan(loaded: Loaded, canaries: list[str], *, also: list[Path]) -> dict[str, Any]:
    """Scan the state folder, the open zones of the warehouse and further files or folders.

    canaries: texts that were planted and must stand nowhere. Returns the places searched and every finding.
    """
    with left_warehouse(loaded) as warehouse:
        needles = _needles(warehouse)
        planted = {canary.encode(): "planted" for canary in canaries if canary} | _keys(loaded)
        names, findings, places = _names(warehouse, loaded), [], 0
        for place, content in [*_tables(warehouse), *_files(loaded, also)]:
            places += 1
            secrets = {} if place == _key_file(loaded) else planted
            findings += [{"place": place, "kind": kind, "times": n} for kind, n in _found(content, needles, secrets)]
            if times := _named(content, names):
                findings.append({"place": place, "kind": "name", "times": times})
    counts = {"places": places, "identifiers": len(needles), "names": len(names)}
    return {"ok": not findings, **counts, "findings": findings}


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


def _names(warehouse: DuckDBWarehouse, loaded: Loaded) -> frozenset[str]:
    """Return what the run's people are called, in lower case: first and last name in both orders, and long words."""
    columns = [name for name in _NAME_COLUMNS if name in warehouse.columns("identity.golden")]
    if not columns:
        return frozenset()
    listed = ", ".join(f"CAST({quoted(name)} AS TEXT) AS {quoted(name)}" for name in columns)
    ours = {word for path in _own_files(loaded) for word in _words(path.read_text(encoding="utf-8", errors="replace"))}
    found: set[str] = set()
    for batch in warehouse.stream(f"SELECT DISTINCT {listed} FROM identity.golden"):
        for row in batch.to_pylist():
            parts = [" ".join(_words(value)) for value in row.values() if value]
            both = [row.get(name) for name in ("given_name", "family_name")]
            if all(both):
                parts += [" ".join(_words(" ".join(map(str, order)))) for order in (both, both[::-1])]
            found.update(part for part in parts if " " in part or (len(part) >= _LONG_NAME and part not in ours))
    return frozenset(name for name in found if name.count(" ") < _WORDS_A_NAME)


def _own_files(loaded: Loaded) -> list[Path]:
    return [path for path in loaded.path.parent.rglob("*.y*ml") if path.is_file()]


def _words(text: str) -> list[str]:
    return [word.lower() for word in _LETTERS.findall(text)]


def _named(content: bytes, names: frozenset[str]) -> int:
    """Count the names in a text: one, two or three words in a row."""
    if not names:
        return 0
    words = _words(content.decode(errors="replace"))
    return sum(
        " ".join(words[at : at + length]) in names
        for length in range(1, _WORDS_A_NAME + 1)
        for at in range(len(words) - length + 1)
    )


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
