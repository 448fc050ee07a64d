"""Read one file as record batches: CSV, JSON lines, Segment events and Parquet.

Nothing is guessed. CSV cells and JSON values come as text (a nested value as JSON text), Parquet columns in
their own types. A line that is no record is not lost and stops nothing: it comes as a record whose column
`_malformed` holds the line, for validation to set aside.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from consentry.connectors.consent_feeds import FEEDS
from consentry.connectors.segment_events import flatten

Format = Literal[
    "csv", "jsonl", "segment", "parquet",
    # Consent in what carries it, see `consentry.connectors.consent_feeds`.
    "onetrust", "cookiebot", "segment_consent", "rudderstack_consent", "mparticle_consent", "tcf", "gpp",
]  # fmt: skip
MALFORMED = "_malformed"
BATCH_ROWS = 10_000
# A quoted CSV cell that runs over more lines than this has most likely lost its closing quote.
CELL_LINES = 500
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
Record = dict[str, str | None]
# Makes records of one JSON object; raises ValueError when it is none of its kind.
Shape = Callable[[dict[str, Any]], Iterable[Record]]

csv.field_size_limit(16_000_000)


class Unreadable(Exception):
    """A file that is not of its format at all; the text says what to do, and quotes nothing of it."""


def format_of(path: Path) -> Format | None:
    """Tell the format from the file's name, `.gz` aside; None when the name does not say."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return _SUFFIXES.get(suffixes[-1]) if suffixes else None


def read_file(
    path: Path, kind: Format, *, encoding: str = "utf-8", delimiter: str | None = None, skip: int = 0
) -> Iterator[pa.RecordBatch]:
    """Yield the records of a file behind the first `skip`, in their order.

    encoding, delimiter: of text formats; a byte order mark is dropped. Raises Unreadable.
    """
    if kind == "parquet":
        yield from _parquet(path, skip)
        return
    with _text(path, encoding) as lines:
        if kind == "csv":
            yield from _batches(islice(_csv(lines, delimiter or _delimiter(path)), skip, None))
        else:
            shape = shape_of(kind)
            records = (record for line in lines if line.strip() for record in json_records(line, shape))
            yield from _batches(islice(records, skip, None))


def shape_of(kind: str) -> Shape:
    """Return what makes records of the JSON objects of a format: its own columns, or the object's as they are."""
    return FEEDS.get(kind) or _one(flatten if kind == "segment" else _as_text)


def json_records(line: str, shape: Shape) -> Iterator[Record]:
    """Yield the records of one JSON object; a line that is none comes as a malformed one."""
    try:
        value = json.loads(line, parse_constant=_no_number)
        records = list(shape(value)) if isinstance(value, dict) and _is_clean([line]) else None
    except (ValueError, RecursionError, OverflowError):
        records = None
    # An escape can spell a character that no text may hold.
    if records is not None and ("\\u" not in line or all(map(_is_whole, records))):
        yield from ({**record, MALFORMED: None} for record in records)
    else:
        yield {MALFORMED: shown(line)}


def as_batch(rows: Sequence[Record]) -> pa.RecordBatch:
    """Lay rows out in text columns: all that any of them has, and `_malformed`."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != MALFORMED))
    columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in [*names, MALFORMED]}
    return pa.RecordBatch.from_pydict(columns)


def shown(line: str) -> str:
    """Return a line as text that every engine takes: undecodable bytes and NULs are spelled out."""
    return line.rstrip("\r\n").encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _one(shape: Callable[[dict[str, Any]], Record]) -> Shape:
    return lambda value: [shape(value)]


@contextmanager
def _text(path: Path, encoding: str) -> Iterator[TextIO]:
    _refuse_other_encoding(path, encoding)
    # Bytes that are not of the encoding become surrogates, which mark their line as malformed.
    name = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    with _opened(path) as raw, io.TextIOWrapper(raw, name, "surrogateescape", newline="") as text:
        try:
            yield text
        except (gzip.BadGzipFile, EOFError, OSError) as error:
            raise Unreadable(f"it cannot be read to its end ({type(error).__name__}); fetch it anew") from None


def _refuse_other_encoding(path: Path, encoding: str) -> None:
    with _opened(path) as raw:
        try:
            head = raw.read(2)
        except (gzip.BadGzipFile, EOFError, OSError):
            return  # told when the lines are read
    if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and not encoding.lower().startswith(("utf-16", "utf_16")):
        raise Unreadable("it begins with the mark of UTF-16; add 'encoding: utf-16' to the stream's options")


def _opened(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.GzipFile(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _delimiter(path: Path) -> str:
    return "\t" if ".tsv" in path.suffixes else ","


class _Tape:
    """Hand lines to the CSV reader, and keep those of the record it is reading."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._again: list[str] = []
        self.taken: list[str] = []

    def __iter__(self) -> _Tape:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= CELL_LINES:
            raise StopIteration
        line = self._again.pop() if self._again else next(self._lines)
        self.taken.append(line)
        return line

    def forget(self) -> None:
        self.taken = []

    def give_back_all_but_one(self) -> str:
        first, *rest = self.taken
        self._again.extend(reversed(rest))
        self.taken = []
        return first


def _csv(lines: Iterable[str], delimiter: str) -> Iterator[Record]:
    tape = _Tape(lines)
    header = next(_cells(tape, delimiter), None)
    if header is None:
        return
    names = _named(header[0])
    for cells, raw in _cells(tape, delimiter):
        if cells is not None and len(cells) == len(names) and _is_clean(cells):
            yield {**dict(zip(names, cells, strict=True)), MALFORMED: None}
        else:
            yield {**dict.fromkeys(names), MALFORMED: shown(raw or delimiter.join(cells or []))}


def _named(header: list[str] | None) -> list[str]:
    """Return the names of the columns."""
    if header is None or len(set(header)) != len(header):
        why = "names a column twice" if header else "cannot be read"
        raise Unreadable(f"its header line {why}; mend the first line")
    if not _is_clean(header):
        raise Unreadable("its header line is not of this encoding; add 'encoding: cp1252', or its own, to the options")
    return [_free(name) for name in header]


def _free(name: str) -> str:
    """Return a name that is not the one of our own column."""
    return f"{name}_2" if name == MALFORMED else name


def _cells(tape: _Tape, delimiter: str) -> Iterator[tuple[list[str] | None, str | None]]:
    """Yield each record's cells and lines; the cells are None where the lines are no record."""
    while True:
        reader = csv.reader(tape, delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                raw = "".join(tape.taken)
                tape.forget()
                if cells:
                    yield cells, raw
        except csv.Error:
            yield None, tape.give_back_all_but_one()
            continue
        if not tape.taken:
            return
        yield None, tape.give_back_all_but_one()


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _as_text(value: dict[str, Any]) -> Record:
    return {_free(name): _json_text(item) for name, item in value.items()}


def _json_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _is_whole(record: Record) -> bool:
    return _is_clean(filter(None, (*record, *record.values())))


def _is_clean(cells: Iterable[str]) -> bool:
    return all("\0" not in cell and (cell.isascii() or not _has_surrogate(cell)) for cell in cells)


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _batches(records: Iterator[Record]) -> Iterator[pa.RecordBatch]:
    while rows := list(islice(records, BATCH_ROWS)):
        yield as_batch(rows)


def _parquet(path: Path, skip: int) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                if skip < batch.num_rows:
                    yield batch.slice(skip)
                skip = max(0, skip - batch.num_rows)
    except (pa.ArrowInvalid, OSError):
        raise Unreadable("it is not a Parquet file, or is damaged; fetch it anew") from None
