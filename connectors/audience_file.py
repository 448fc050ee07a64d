"""An audience kept as a file: one row a member, replaced in one atomic step."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from consentry.errors import DestinationFailed

KEY = "member_id"
# What a spreadsheet runs as a formula (OWASP, "CSV Injection"; ASVS 1.2.10 adds NUL), and the mark that shows it as
# text. Full-width signs are taken for the plain ones in some languages.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_MARK = "'"
Member = Mapping[str, object]


def member_id(destination: str, audience: str, person_id: str) -> str:
    """Name a person in one audience file, the same in every run and another in every file.

    A person id is random, so that its hash cannot be turned back; files cannot be joined by it.
    """
    return hashlib.sha256("\n".join((destination, audience, person_id)).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class AudienceFile:
    """The file of one audience. formula_safe: CSV for people's spreadsheets, instead of unaltered."""

    path: Path
    format: Literal["csv", "jsonl", "parquet"]
    formula_safe: bool = False

    def read(self) -> dict[str, Member]:
        """Return the members by their id, in the order of the file; none when there is no file."""
        if not self.path.exists():
            return {}
        try:
            rows = {"csv": self._read_csv, "jsonl": self._read_jsonl, "parquet": self._read_parquet}[self.format]()
            return {str(row.pop(KEY)): row for row in rows}
        except (OSError, ValueError, KeyError, csv.Error):
            problem = f"The file {self.path} is not as it was written. Move it away and run again."
        raise DestinationFailed(problem, code="file_unreadable")

    def replace(self, members: Mapping[str, Member]) -> None:
        """Write the members to a file beside, then put it in the place of this one."""
        columns = list(dict.fromkeys(name for member in members.values() for name in member))
        beside = self.path.with_name(f".{self.path.name}.new")
        problem = ""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Not readable by others from its first byte on: it holds identifiers.
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                self._write(file, columns, members)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        except OSError as error:
            problem = f"The file {self.path} cannot be written ({error.strerror}). Check the folder and its space."
        if problem:
            raise DestinationFailed(problem, code="file_unwritable")

    def _write(self, file: IO[bytes], columns: list[str], members: Mapping[str, Member]) -> None:
        if self.format == "parquet":
            pq.write_table(_table(columns, members), file)
            return
        for line in self._csv_lines(columns, members) if self.format == "csv" else _json_lines(members):
            file.write(line.encode("utf-8"))

    def _csv_lines(self, columns: list[str], members: Mapping[str, Member]) -> Iterable[str]:
        lines = _Lines()
        writer = csv.writer(lines, lineterminator="\n")
        yield lines.take(writer.writerow([KEY, *columns]))
        for key, member in members.items():
            cells = [_cell(member.get(name)) for name in columns]
            yield lines.take(writer.writerow([key, *(map(_disarmed, cells) if self.formula_safe else cells)]))

    def _read_csv(self) -> list[dict[str, Any]]:
        with self.path.open(encoding="utf-8", newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file, strict=True))
        if self.formula_safe:
            return [{name: _armed(cell) for name, cell in row.items()} for row in rows]
        return rows

    def _read_jsonl(self) -> list[dict[str, Any]]:
        with self.path.open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def _read_parquet(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(self.path).to_pylist()
        return rows


class _Lines:
    """What csv.writer writes to: it keeps the line just written."""

    def __init__(self) -> None:
        self._line = ""

    def write(self, line: str) -> None:
        self._line = line

    def take(self, _written: object) -> str:
        return self._line


def _json_lines(members: Mapping[str, Member]) -> Iterable[str]:
    for key, member in members.items():
        yield json.dumps({KEY: key, **member}, ensure_ascii=False) + "\n"


def _table(columns: list[str], members: Mapping[str, Member]) -> pa.Table:
    arrays: dict[str, pa.Array] = {KEY: pa.array(list(members), pa.string())}
    for name in columns:
        values = [member.get(name) for member in members.values()]
        kinds = {type(value) for value in values if value is not None}
        # One type a column, else text: a column must not change its type with the people in it.
        uniform = kinds <= {int} or kinds <= {float} or kinds <= {bool}
        arrays[name] = pa.array(values if uniform and kinds else [_text(value) for value in values])
    return pa.table(arrays)


def _text(value: object) -> str | None:
    return None if value is None else _cell(value)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _disarmed(cell: str) -> str:
    return _MARK + cell if cell.startswith((*_FORMULA, _MARK)) else cell


def _armed(cell: str) -> str:
    return cell[1:] if cell.startswith(_MARK) else cell
