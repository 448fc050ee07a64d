"""Write down a row that did not pass: its raw content and all its reasons.

The payload is a JSON object with every column of the raw row, also where a value is no number of JSON's (NaN and
the infinities stand as text) or no text at all (bytes stand as {"base64": ...}).
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl
import pyarrow as arrow

from consentry.validation.check import FAILED_RULES, MALFORMED_COLUMN
from consentry.validation.rules import Rule

SCHEMA: Final = arrow.schema(
    [
        ("_rid", arrow.int64()),
        ("run_id", arrow.string()),
        ("payload", arrow.string()),
        ("reasons", arrow.string()),
        ("first_seen", arrow.timestamp("us", "UTC")),
        ("last_seen", arrow.timestamp("us", "UTC")),
        ("status", arrow.string()),
    ]
)
COLUMNS: Final = (
    "_rid BIGINT, run_id TEXT, payload TEXT, reasons TEXT, first_seen TIMESTAMPTZ, last_seen TIMESTAMPTZ, status TEXT"
)
DUPLICATE_RULES: Final = "_duplicate_rules"
SURVIVORS: Final = "_survivors"
_ADDED: Final = (FAILED_RULES, DUPLICATE_RULES, SURVIVORS)


class Scribe:
    """Turn batches of failed raw rows into rows of the quarantine; `codes` counts rows by reason code."""

    def __init__(self, rules: Sequence[Rule], run_id: str, *, now: datetime | None = None) -> None:
        self.rules, self.run_id, self.now = tuple(rules), run_id, now or datetime.now(UTC)
        self.codes: Counter[str] = Counter()

    def __call__(self, batch: arrow.RecordBatch) -> arrow.RecordBatch:
        """batch: raw columns, `_failed`, and for duplicates the lists of their rules and of the rows that stay."""
        rows = batch.num_rows
        content = [name for name in batch.schema.names if name not in _ADDED and not _is_ours(name)]
        times = arrow.repeat(arrow.scalar(self.now, SCHEMA.field("first_seen").type), rows)
        columns = [
            batch.column("_rid").cast(arrow.int64()),
            arrow.repeat(self.run_id, rows),
            arrow.array(payloads(batch.select(content)), arrow.string()),
            self._reasons(batch.select(list(_ADDED))),
            times,
            times,
            arrow.repeat("open", rows),
        ]
        return arrow.RecordBatch.from_arrays(columns, schema=SCHEMA)

    def _reasons(self, marks: arrow.RecordBatch) -> arrow.Array:
        """Write the reasons of each row; most bad rows share theirs with many others, and those are written once."""
        broken = pl.from_arrow(marks)
        assert isinstance(broken, pl.DataFrame)
        kinds = broken.group_by(_ADDED, maintain_order=True).len("rows").with_row_index("kind")
        texts = pl.Series([self._told(*row) for row in kinds.drop("kind").iter_rows()], dtype=pl.String)
        places = broken.join(kinds, on=_ADDED, how="left", nulls_equal=True, maintain_order="left")["kind"]
        return texts.gather(places).to_arrow().cast(arrow.string())

    def _told(
        self,
        failed: Iterable[int] | None,
        repeated: Iterable[int] | None,
        survivors: Iterable[int | None] | None,
        rows: int,
    ) -> str:
        found: list[tuple[int, int | None]] = [(number, None) for number in failed or ()]
        found += zip(repeated or (), survivors or (), strict=True)
        told = [_reason(self.rules[number], survivor) for number, survivor in sorted(found, key=lambda pair: pair[0])]
        for code in {reason["code"] for reason in told}:
            self.codes[code] += rows
        return json.dumps(told, ensure_ascii=False)


def _is_ours(name: str) -> bool:
    return name.startswith("_") and name != MALFORMED_COLUMN


def _reason(rule: Rule, survivor: int | None) -> dict[str, Any]:
    column = rule.column or ", ".join(rule.columns) or None
    reason = {"rule_id": rule.rule_id, "column": column, "code": rule.code, "sentence": rule.sentence}
    if rule.severity == "warn":
        reason["severity"] = "warn"
    if survivor is None:
        return reason
    return {**reason, "sentence": f"{rule.sentence} The row {survivor} stays.", "survivor": survivor}


def payloads(batch: arrow.RecordBatch) -> list[str]:
    """Return each row as a JSON object; the same content gives the same text, whatever the load it came with."""
    rows = batch.num_rows
    if not batch.num_columns:
        return ["{}"] * rows
    if any(_is_awkward(field.type) for field in batch.schema):
        return [_dumped(row) for row in batch.to_pylist()]
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)
    sound = pl.all_horizontal(
        pl.lit(True), *(pl.col(n).is_finite().fill_null(True) for n, dtype in frame.schema.items() if dtype.is_float())
    )
    texts = frame.select(pl.struct(pl.all()).struct.json_encode().alias("payload"), sound.alias("sound"))
    found: list[str] = texts["payload"].to_list()
    for at in (~texts["sound"]).arg_true().to_list():
        found[at] = _dumped(frame.row(at, named=True))
    return found


def _is_awkward(kind: arrow.DataType) -> bool:
    """Tell whether polars cannot write a type as JSON as it is."""
    types = arrow.types
    if types.is_nested(kind):
        return any(
            _is_awkward(kind.field(n).type) or types.is_floating(kind.field(n).type) for n in range(kind.num_fields)
        )
    known = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    others = (types.is_string_view, types.is_decimal128, types.is_date, types.is_timestamp, types.is_null)
    return not any(test(kind) for test in (*known, *others))


def _dumped(row: dict[str, Any]) -> str:
    return json.dumps(_plain(row), ensure_ascii=False, separators=(",", ":"), default=str)


def _plain(value: Any) -> Any:
    """Give a value a form that JSON has."""
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case bytes():
            return {"base64": base64.b64encode(value).decode()}
        case float() if value != value or value in (float("inf"), float("-inf")):
            return str(value)
        case _:
            return value
