"""Every trap has its tests, and the table of docs/connectors/traps.md names the files they stand in."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "connectors" / "traps.md"
_TEST = re.compile(r"^def test_trap_(\d+)_", re.MULTILINE)
_ROW = re.compile(r"^\| (\d+) \|.*\| ([^|]+) \|$", re.MULTILINE)


def test_the_table_of_traps_names_every_file_with_a_test_of_each() -> None:
    there: defaultdict[int, set[str]] = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_*.py"):
        for number in _TEST.findall(path.read_text(encoding="utf-8")):
            there[int(number)].add(path.stem)
    told = {int(number): set(re.findall(r"`(\w+)`", files)) for number, files in _ROW.findall(TABLE.read_text())}
    assert set(told) == set(range(1, 21))
    assert told == there
