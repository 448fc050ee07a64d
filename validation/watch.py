"""Is a load like the loads before it? Freshness, volume, gaps, categories, drift and outliers.

Each is held against the stream's own history: the load under test is never part of it, nor are loads that gave an
alarm themselves, until seven in a row did and the new level is the ordinary one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import numpy as np
import pyarrow as arrow

from consentry.errors import StopRun
from consentry.model.names import quoted
from consentry.validation.contract import Contract
from consentry.validation.drift import (
    D_ALARM,
    D_WARN,
    PSI_ALARM,
    PSI_WARN,
    is_strange,
    ks_distance,
    noise,
    psi_numbers,
    psi_words,
)
from consentry.validation.profiling import ColumnProfile, LoadProfile, Point, history, profile_load, write_profile
from consentry.warehouse import Warehouse

FINDINGS: Final = "ops.finding"
# Points that say what is ordinary; of one weekday fewer will do, because a week has its shape.
ENOUGH: Final = 14
ENOUGH_OF_A_WEEKDAY: Final = 8
ENOUGH_FOR_DRIFT: Final = 3
# What a load must be off at least, as a share of the ordinary.
FLOOR: Final = 0.2
_FEW_ROWS: Final = 200
Severity = Literal["warn", "fail"]
_SCHEMA: Final = arrow.schema(
    [
        *(
            (name, arrow.string())
            for name in ("run_id", "stream", "column_name", "kind", "severity", "sentence", "detail")
        ),
        ("value", arrow.float64()),
        ("expected", arrow.float64()),
        ("found_at", arrow.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a load that is not as it was. detail: words of a category, for the report alone."""

    column: str
    kind: str
    severity: Severity
    sentence: str
    value: float | None = None
    expected: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """A load as it was described and judged."""

    load: LoadProfile
    findings: tuple[Finding, ...]

    def write(self, warehouse: Warehouse) -> None:
        """Keep the profile and the findings."""
        flagged = frozenset(it.column for it in self.findings if it.kind != "freshness")
        write_profile(warehouse, self.load, flagged=flagged)
        write_findings(warehouse, self.findings, stream=self.load.stream, run_id=self.load.run_id)

    def stop_on_failures(self, warehouse: Warehouse) -> None:
        """Raise StopRun when a finding is of severity fail; the findings are kept, the load is not."""
        failed = [it for it in self.findings if it.severity == "fail"]
        if failed:
            write_findings(warehouse, self.findings, stream=self.load.stream, run_id=self.load.run_id)
            told = " ".join(it.sentence for it in failed)
            shown = self.load.stream.replace("__", ".", 1)
            sentence = f"The load of {shown} is not like those before it. {told} Nothing of it was published."
            remedy = f"If it is right, run again with --allow watch:{shown}."
            raise StopRun(f"{sentence} {remedy}", code="watch_failed")


def observe(
    warehouse: Warehouse,
    contract: Contract,
    *,
    stream: str,
    table: str,
    key: Sequence[str],
    run_id: str,
    accept: bool = False,
    now: datetime | None = None,
    more: Iterable[Finding] = (),
) -> Observed:
    """Describe the judged rows of a load and hold them against the loads before.

    accept: whoever runs this has looked; what would fail is only told. now: the clock of what is fresh, the real one
    when it is None. more: what else was found about the load.
    """
    load = profile_load(warehouse, contract, stream=stream, table=table, key=key, run_id=run_id)
    moment = load.loaded_at
    before = history(warehouse, stream, before=run_id)
    found = [
        *_freshness(warehouse, contract, table, now or moment),
        *_volume(contract, load, before.get("", []), moment),
        *more,
    ]
    for name, column in load.columns.items():
        if name not in contract.watch.ignore:
            found += _column(contract, name, column, before.get(name, []), moment)
    if accept:
        found = [Finding(it.column, it.kind, "warn", it.sentence, it.value, it.expected, it.detail) for it in found]
    return Observed(load, tuple(found))


def _freshness(warehouse: Warehouse, contract: Contract, table: str, now: datetime) -> Iterator[Finding]:
    spec = contract.watch.freshness
    if spec is None:
        return
    newest = f"max(CAST({quoted(spec.column)} AS TIMESTAMPTZ))"
    query = f"SELECT epoch({newest}) AS seconds FROM {table} WHERE NOT _bad AND {quoted(spec.column)} <= $now"
    seconds = warehouse.sql(query, now=now)["seconds"][0].as_py()
    hours = None if seconds is None else (now.timestamp() - seconds) / 3600
    if hours is None or hours > spec.max_hours:
        told = "has no value" if hours is None else f"is {hours:,.1f} hours old"
        sentence = f"The newest {spec.column} {told}; {spec.max_hours:g} hours are allowed."
        severity: Severity = "fail" if spec.severity == "fail" else "warn"
        yield Finding(spec.column, "freshness", severity, sentence, hours, spec.max_hours)


def ordinary(points: Sequence[Point], now: datetime, of: Callable[[ColumnProfile], float]) -> list[float]:
    """Return the values that say what is ordinary on such a day; empty when there are too few."""
    recent = list(points)[-7:]
    moved = len(recent) == 7 and all(point.flagged for point in recent)
    sound = recent if moved else [point for point in points if not point.flagged]
    same_day = [point for point in sound if point.loaded_at.astimezone(UTC).weekday() == now.astimezone(UTC).weekday()]
    if len(same_day) >= ENOUGH_OF_A_WEEKDAY:
        return [of(point.column) for point in same_day]
    return [of(point.column) for point in sound] if moved or len(sound) >= ENOUGH else []


def _volume(contract: Contract, load: LoadProfile, points: Sequence[Point], now: datetime) -> Iterator[Finding]:
    if contract.watch.volume == "ignore":
        return
    before = ordinary(points, now, lambda it: it.rows)
    if before:
        strange, usual = is_strange(load.rows_in, before, floor=FLOOR)
        if strange:
            sentence = f"{load.rows_in:,} rows came in; {usual:,.0f} are ordinary."
            yield Finding("", "volume", contract.watch.volume, sentence, load.rows_in, usual)
        share = (load.rows_in - load.rows) / load.rows_in if load.rows_in else 0.0
        strange, usual = is_strange(share, ordinary(points, now, lambda it: it.nulls / max(it.rows, 1)), floor=FLOOR)
        if strange and share > usual + 0.01:
            sentence = f"{share:.1%} of the rows broke the contract; {usual:.1%} are ordinary."
            yield Finding("", "quarantine_rate", contract.watch.volume, sentence, share, usual)


def _column(
    contract: Contract, name: str, column: ColumnProfile, points: Sequence[Point], now: datetime
) -> Iterator[Finding]:
    watch = contract.watch
    if column.rows == 0:
        return
    gaps = ordinary(points, now, lambda it: it.nulls / max(it.rows, 1))
    if watch.null_rate != "ignore" and gaps:
        share = column.nulls / column.rows
        strange, usual = is_strange(share, gaps, floor=FLOOR)
        # A rate next to nothing moves by large shares of itself.
        if strange and abs(share - usual) >= 0.01:
            sentence = f"{share:.1%} of {name} is missing; {usual:.1%} is ordinary."
            yield Finding(name, "null_rate", watch.null_rate, sentence, share, usual)
    outlying = ordinary(points, now, lambda it: it.outliers / max(it.rows, 1))
    if watch.outliers != "ignore" and outlying:
        share = column.outliers / column.rows
        strange, usual = is_strange(share, outlying, floor=FLOOR)
        if strange and share >= usual + 0.01:
            sentence = f"{share:.1%} of {name} lies far out; {usual:.1%} is ordinary."
            yield Finding(name, "outliers", watch.outliers, sentence, share, usual)
    sound = [point.column for point in points if not point.flagged][-10:]
    if len(sound) >= ENOUGH_FOR_DRIFT and column.rows >= _FEW_ROWS:
        yield from _drift(contract, name, column, [it for it in sound if it.rows >= _FEW_ROWS])
        yield from _words(contract, name, column, [it for it in sound if it.words])


def _drift(contract: Contract, name: str, column: ColumnProfile, before: Sequence[ColumnProfile]) -> Iterator[Finding]:
    severity = contract.watch.drift
    numbers = [it.quantiles for it in before if it.quantiles]
    words = [it.words for it in before if it.words]
    if severity == "ignore" or len(before) < ENOUGH_FOR_DRIFT:
        return
    chance = noise(column.rows, sum(it.rows for it in before))
    if column.quantiles and numbers:
        distance, index = ks_distance(column.quantiles, numbers), psi_numbers(column.quantiles, numbers)
        if distance >= max(D_WARN, chance) and (distance >= D_WARN or index >= PSI_WARN):
            alarm = distance >= D_ALARM or index >= PSI_ALARM
            sentence = f"The values of {name} have moved (D {distance:.3f}, PSI {index:.3f})."
            yield Finding(name, "drift", severity if alarm else "warn", sentence, distance, D_WARN, f"{index:.4f}")
    elif column.words and words:
        index = psi_words(column.words, words)
        if index >= PSI_WARN and column.rows >= 10 * _FEW_ROWS**0.5:
            sentence = f"The shares of {name} have moved (PSI {index:.3f})."
            yield Finding(name, "drift", severity if index >= PSI_ALARM else "warn", sentence, index, PSI_WARN)


def _words(contract: Contract, name: str, column: ColumnProfile, before: Sequence[ColumnProfile]) -> Iterator[Finding]:
    severity = contract.watch.categories
    if severity == "ignore" or len(before) < ENOUGH_FOR_DRIFT or not column.words:
        return
    known = {word for it in before for word in it.words}
    steady = {word for word in known if np.mean([it.words.get(word, 0.0) for it in before]) >= 0.01}
    for kind, words, verb in (
        ("new_category", sorted(set(column.words) - known), "new in"),
        ("lost_category", sorted(steady - set(column.words)), "gone from"),
    ):
        if words:
            sentence = f"{len(words)} {'value is' if len(words) == 1 else 'values are'} {verb} {name}."
            yield Finding(name, kind, severity, sentence, len(words), 0, ", ".join(words))


def write_findings(warehouse: Warehouse, findings: Sequence[Finding], *, stream: str, run_id: str) -> None:
    """Keep what was found about a load; a run that is done again replaces its own."""
    if warehouse.has(FINDINGS):
        warehouse.sql(f"DELETE FROM {FINDINGS} WHERE run_id = $run AND stream = $stream", run=run_id, stream=stream)
    now = datetime.now(UTC)
    rows = [
        {
            "run_id": run_id,
            "stream": stream,
            "column_name": it.column,
            **{name: getattr(it, name) for name in ("kind", "severity", "sentence", "detail", "value", "expected")},
            "found_at": now,
        }
        for it in findings
    ]
    warehouse.write(FINDINGS, arrow.Table.from_pylist(rows, _SCHEMA).to_batches(), schema=_SCHEMA, mode="append")
