"""Read exports that come as one long answer of JSON lines: page by page, in memory that does not grow with it.

The answer lies in a file without a name before its first line is read, so that a connection that breaks off
costs a repetition and no record. Such an export has no cursor inside. What a page's state remembers instead is
how many lines were read and what they hash to: a read that is taken up again skips these lines when the export
still begins with them, and gives them again (their key mends it) when the vendor added or reordered lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pyarrow as pa

MALFORMED = "_malformed"
PAGE_ROWS = 10_000
Row = dict[str, str | None]
# How far an export was read: {"lines": how many, "sha256": of these}.
Mark = Mapping[str, Any]


def read_lines(
    reopen: Callable[[], Iterable[bytes]], shape: Callable[[Mapping[str, Any]], Row], mark: Mark | None = None
) -> Iterator[tuple[list[Row], Mark]]:
    """Yield the rows of an export, ten thousand at a time, each with the mark behind them.

    reopen: gives the lines from the first on. shape: makes a row of one JSON object. mark: of an earlier read of
    the same export. A line that is no JSON object becomes a row whose column `_malformed` holds it.
    """
    rest, count, digest = iter(reopen()), 0, hashlib.sha256()
    if mark:
        for line in islice(rest, int(mark["lines"])):
            digest.update(line)
            count += 1
        if (count, digest.hexdigest()) != (mark["lines"], mark["sha256"]):
            rest, count, digest = iter(reopen()), 0, hashlib.sha256()
    while some := list(islice(rest, PAGE_ROWS)):
        for line in some:
            digest.update(line)
        count += len(some)
        rows = [_row(line, shape) for line in some if line.strip()]
        yield rows, {"lines": count, "sha256": digest.hexdigest()}


def text_batch(rows: Iterable[Mapping[str, str | None]], columns: Sequence[str]) -> pa.RecordBatch:
    """Lay rows out in text columns: `columns` and `_malformed`."""
    held = list(rows)
    names = [*columns, MALFORMED]
    return pa.RecordBatch.from_pydict({name: pa.array([row.get(name) for row in held], pa.string()) for name in names})


def text_schema(columns: Sequence[str]) -> pa.Schema:
    """Return the schema of `text_batch`."""
    return pa.schema([(name, pa.string()) for name in (*columns, MALFORMED)])


def as_text(value: object) -> str | None:
    """Write a JSON value as text: text as it is, everything else as JSON, null as nothing."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def instant(seconds: float) -> str:
    """Write seconds since 1970 as an ISO 8601 instant in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line_id(line: Mapping[str, Any]) -> str:
    """Name a record that has no id of its own by its contents."""
    canonical = json.dumps(line, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()[:32]


def _row(line: bytes, shape: Callable[[Mapping[str, Any]], Row]) -> Row:
    try:
        value = json.loads(line)
        if isinstance(value, dict):
            row = shape(value)
            "".join(filter(None, row.values())).encode()  # an escape can spell a character that no text may hold
            return row
    except (ValueError, KeyError, RecursionError, OverflowError, TypeError):
        pass
    return {MALFORMED: line.rstrip(b"\r\n").decode("utf-8", "backslashreplace").replace("\0", "\\x00")}
