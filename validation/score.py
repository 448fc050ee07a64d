"""Score a load from 0 to 100 by dimension, so that a trend can be seen.

completeness: rules about missing values, and how much of the nullable columns is filled. validity: types, formats,
ranges, checks. uniqueness: keys and unique columns. consistency: columns that must agree, references. freshness:
whether the newest row is as new as the contract wants. A dimension is the mean over its rules of the share of rows
that pass; the stream's score is the mean of its dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pyarrow as arrow

from consentry.validation.contract import Contract
from consentry.validation.profiling import LoadProfile
from consentry.validation.rules import Rule
from consentry.validation.watch import Finding
from consentry.warehouse import Warehouse

SCORES: Final = "ops.score"
DIMENSIONS: Final = ("completeness", "validity", "uniqueness", "consistency", "freshness")
_BY_CODE: Final = {
    "missing": "completeness",
    "missing_key": "completeness",
    "duplicate_key": "uniqueness",
    "duplicate_row": "uniqueness",
    "duplicate_value": "uniqueness",
    "inconsistent": "consistency",
    "outvoted": "consistency",
    "unknown_reference": "consistency",
}
_SCHEMA: Final = arrow.schema(
    [
        *((name, arrow.string()) for name in ("run_id", "stream", "dimension")),
        ("score", arrow.float64()),
        ("scored_at", arrow.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one load by dimension; `overall` is their mean."""

    by_dimension: dict[str, float]

    @property
    def overall(self) -> float:
        """The mean of the dimensions."""
        return sum(self.by_dimension.values()) / len(self.by_dimension)


def score(
    contract: Contract, rules: Sequence[Rule], failed: Sequence[int], load: LoadProfile, findings: Sequence[Finding]
) -> Scores:
    """Work out the scores of a load. failed: the rows that broke each rule, in the order of `rules`."""
    shares = list(_shares(contract, rules, failed, load))
    found = {
        dimension: 100 * sum(mine) / len(mine)
        for dimension in DIMENSIONS
        if (mine := [share for name, share in shares if name == dimension])
    }
    if (spec := contract.watch.freshness) is not None:
        hours = next((it.value for it in findings if it.kind == "freshness"), 0.0)
        late = 0.0 if hours is None else min(1.0, spec.max_hours / hours) if hours else 1.0
        found["freshness"] = 100 * late
    return Scores(found or {"validity": 100.0})


def _shares(
    contract: Contract, rules: Sequence[Rule], failed: Sequence[int], load: LoadProfile
) -> Iterator[tuple[str, float]]:
    rows = max(load.rows_in, 1)
    for rule, number in zip(rules, failed, strict=True):
        yield _BY_CODE.get(rule.code, "validity"), 1 - min(number, rows) / rows
    nullable = {column.name for column in contract.columns if column.nullable}
    for name, column in load.columns.items():
        if name in nullable and column.rows:
            yield "completeness", 1 - column.nulls / column.rows


def write_scores(warehouse: Warehouse, scores: Scores, *, stream: str, run_id: str) -> None:
    """Keep the scores of a load; a run that is done again replaces its own."""
    if warehouse.has(SCORES):
        warehouse.sql(f"DELETE FROM {SCORES} WHERE run_id = $run AND stream = $stream", run=run_id, stream=stream)
    now = datetime.now(UTC)
    rows = [
        {"run_id": run_id, "stream": stream, "dimension": name, "score": value, "scored_at": now}
        for name, value in {**scores.by_dimension, "overall": scores.overall}.items()
    ]
    warehouse.write(SCORES, arrow.Table.from_pylist(rows, _SCHEMA).to_batches(), schema=_SCHEMA, mode="append")
