"""Read who is who by label: a truth for many records, or a sample that a clerk has gone through."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consentry.errors import ConfigError

_SHAPE = 'Each line names a record and its person: the columns record_id,person, or {"record_id": ..., "person": ...}.'


@dataclass(frozen=True, slots=True)
class Labels:
    """The true person of each record; draws: of a clerical sample, the records of each drawn person."""

    person: Mapping[str, str]
    draws: Mapping[str, tuple[str, ...]]


def read_labels(path: Path) -> Labels:
    """Read a file of labels, CSV or JSON lines; a column `draw` marks a clerical sample.

    Raises ConfigError with the line when a label is missing or a record has two.
    """
    person: dict[str, str] = {}
    draws: dict[str, list[str]] = {}
    for line, row in _rows(path):
        record, label = row.get("record_id"), row.get("person")
        if not isinstance(record, str) or not record or not isinstance(label, str | int) or label == "":
            raise ConfigError(f"{path}:{line}: A record or its person is missing. {_SHAPE}", code="labels")
        if person.setdefault(record, str(label)) != str(label):
            raise ConfigError(f"{path}:{line}: The record has two persons in this file. Keep one.", code="labels")
        if row.get("draw"):
            draws.setdefault(str(row["draw"]), []).append(record)
    if not person:
        raise ConfigError(f"{path}: The file holds no label. {_SHAPE}", code="labels")
    return Labels(person, {draw: tuple(records) for draw, records in draws.items()})


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".csv":
                reader = csv.DictReader(file)
                if not {"record_id", "person"} <= set(reader.fieldnames or ()):
                    raise ConfigError(f"{path}:1: There is no column record_id or person. {_SHAPE}", code="labels")
                yield from ((reader.line_num, row) for row in reader)
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _object(path, number, line)
    except (OSError, UnicodeDecodeError, csv.Error):
        raise ConfigError(f"{path}: The file cannot be read. Check the path, and that it is UTF-8 text.") from None


def _object(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}:{number}: This line is no JSON object. {_SHAPE}", code="labels")
    return found
