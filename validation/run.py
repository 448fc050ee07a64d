"""Check a stream: split its raw rows into clean and quarantine, and prove that none is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import pyarrow as arrow

from consentry.errors import StopRun
from consentry.model.names import did_you_mean, quoted, quoted_table
from consentry.validation.changes import changes
from consentry.validation.check import BAD, FAILED_RULES, MALFORMED_COLUMN
from consentry.validation.contract import Contract
from consentry.validation.expect import judge_expectations, stop_on_broken
from consentry.validation.publish import publish
from consentry.validation.quarantine import DUPLICATE_RULES, SCHEMA, SURVIVORS, Scribe
from consentry.validation.rules import MALFORMED, key_rules
from consentry.validation.score import score, write_scores
from consentry.validation.sift import sift
from consentry.validation.task import Task, bare, stream_task
from consentry.validation.unique import find_duplicates
from consentry.validation.watch import Observed, observe
from consentry.warehouse import Warehouse

WATERMARK = "ops.validated"
RESULTS = "ops.rule_result"
_TEXTS = ("run_id", "stream", "rule_id", "column_name", "code", "severity")
_RESULT = arrow.schema(
    [*((name, arrow.string()) for name in _TEXTS), ("evaluated", arrow.int64()), ("failed", arrow.int64())]
)


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of the rows of one load: rows_in = clean + quarantined + discarded, always.

    reasons: quarantined rows by reason code (a row with two codes counts under both).
    warnings: rows by the id of a rule of severity warn that they failed; most of them are clean.
    discarded: rows that somebody took out of the quarantine for good. again: rows of earlier loads were judged once
    more, so that clean may have gained rows with small numbers.
    """

    rows_in: int
    clean: int
    quarantined: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    warnings: Mapping[str, int] = field(default_factory=dict)
    discarded: int = 0
    again: bool = field(default=False, compare=False)


def validate(
    warehouse: Warehouse,
    contract: Contract,
    *,
    stream: str,
    primary_key: Sequence[str],
    mode: Literal["append", "snapshot"],
    run_id: str,
    accept: bool = False,
    now: datetime | None = None,
) -> Checked:
    """Check the raw rows of a stream that are new since the last time, and publish both halves in one step.

    A row replaces the clean row of an earlier load that has its key; in mode `snapshot` the load replaces all of
    them. When the contract has changed, every raw row is checked again. Raises StopRun, with nothing published,
    when the source lacks a column that the contract requires, when a rule of severity `fail` is broken, when what is
    watched with severity `fail` is not as it was (code `watch_failed`; accept: it is only told), and when clean and
    quarantined rows do not add up to the rows that came in.
    """
    raw = f"raw.{stream}"
    known = watermark(warehouse, stream)
    if not warehouse.has(raw):
        return Checked(0, 0, 0)
    task = stream_task(warehouse, contract, stream=stream, primary_key=tuple(primary_key), run_id=run_id)
    watched = known is None or known[1] == contract.digest
    task = dataclasses.replace(task, watched=watched, accept=accept, now=now)
    last = warehouse.sql(f"SELECT max(_rid) AS last FROM {task.raw}")["last"][0].as_py()
    changed = known is not None and known[1] != contract.digest
    after = known[0] if known and not changed else -1
    fresh = last is not None and last > after
    emptied = mode == "snapshot" and last is None
    if known and not (fresh or emptied or changed):
        _columns(task, raw)
        return Checked(0, 0, 0)
    after = -1 if mode == "snapshot" else after
    replace = mode == "snapshot" or changed or not warehouse.has(f"clean.{stream}")
    checked = split(
        task,
        raw,
        after=after,
        last=-1 if last is None else last,
        replace=replace,
        whole=mode == "snapshot",
        digest=contract.digest,
    )
    return dataclasses.replace(checked, again=changed)


def watermark(warehouse: Warehouse, stream: str) -> tuple[int, str] | None:
    """Return how far a stream was checked, and by which contract (its digest); None when it never was."""
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {WATERMARK} (stream TEXT, rid BIGINT, contract TEXT)")
    known = warehouse.sql(f"SELECT rid, contract FROM {WATERMARK} WHERE stream = $name", name=stream).to_pylist()
    return (known[0]["rid"], known[0]["contract"]) if known else None


def validate_table(
    warehouse: Warehouse,
    contract: Contract,
    *,
    table: str,
    key: str,
    into: str,
    run_id: str,
    rows: str | None = None,
    accept: bool = False,
    now: datetime | None = None,
) -> Checked:
    """Check a whole warehouse table by a contract: its good rows go to `into`, the others to quarantine.

    table, into: `zone.name`; the quarantine has the name of `table`. Rows are numbered by the order of `key` for
    the time of the check; neither `into` nor the payload keeps the number. For the second contract, over golden
    records; the table is watched like a load, see `validate` for accept, now and what it raises.
    rows: the relation to read in place of the table itself.
    """
    name = table.partition(".")[2]
    numbered = f"quarantine.{quoted(name + '__numbered')}"
    source = rows or quoted_table(table)
    query = f"SELECT *, row_number() OVER (ORDER BY {quoted(key)}) AS _rid FROM {source}"
    warehouse.sql(f"CREATE OR REPLACE TABLE {numbered} AS {query}")
    rules = (MALFORMED, *key_rules((key,)), *contract.rules)
    task = Task(warehouse, contract, name, numbered, numbered, quoted_table(into), (key,), run_id, rules)
    task = dataclasses.replace(task, watched=True, accept=accept, now=now)
    last = warehouse.count(f"quarantine.{name}__numbered")
    try:
        return split(task, f"quarantine.{name}__numbered", after=-1, last=last, replace=True, whole=True, digest=None)
    finally:
        warehouse.sql(f"DROP TABLE IF EXISTS {numbered}")


def _observed(task: Task, *, whole: bool) -> Observed | None:
    """Hold the load against those before it; None when it is no load of its own, or has no rows.

    whole: the load is a snapshot, and what clean has is the one before.
    """
    if not task.watched or not task.warehouse.count(bare(task.checked)):
        return None
    found = observe(
        task.warehouse,
        task.contract,
        stream=task.name,
        table=task.checked,
        key=task.key,
        run_id=task.run_id,
        accept=task.accept,
        now=task.now,
        more=changes(task) if whole else (),
    )
    found.stop_on_failures(task.warehouse)
    return found


def _beside(task: Task, failed: Sequence[int], observed: Observed | None) -> None:
    """Judge all rows together, and write down what is known about the load, in the step that publishes it."""
    stop_on_broken(task.name, judge_expectations(task.warehouse, task.contract.expectations, task.clean))
    if observed is not None:
        observed.write(task.warehouse)
        scores = score(task.contract, task.rules, failed, observed.load, observed.findings)
        write_scores(task.warehouse, scores, stream=task.name, run_id=task.run_id)


def split(task: Task, raw: str, *, after: int, last: int, replace: bool, whole: bool, digest: str | None) -> Checked:
    """Judge the rows of a task and publish both halves; see `validate`."""
    try:
        carried = _columns(task, raw)
        sift(task, carried, after=after, last=last)
        content = _content(task, carried)
        find_duplicates(
            task.warehouse,
            task.rules,
            staged=task.checked,
            into=task.duplicates,
            content=content,
            survivor=task.contract.survivor,
            older=None if replace else task.clean,
            key=task.key,
            again=task.chosen is not None,
        )
        failed = _results(task)
        _stop_on_failures(task, failed)
        observed = _observed(task, whole=whole)
        codes = _write_quarantine(task)
        clean, quarantined, discarded = publish(
            task,
            content=content,
            replace=replace,
            bounds=(after, last),
            digest=digest,
            whole=whole,
            beside=lambda: _beside(task, failed, observed),
        )
    finally:
        task.drop()
    warnings = {r.rule_id: n for r, n in zip(task.rules, failed, strict=True) if r.severity == "warn" and n}
    return Checked(clean + quarantined + discarded, clean, quarantined, codes, warnings, discarded)


def _columns(task: Task, raw: str) -> list[str]:
    """Return the raw columns that pass as they are; raise StopRun when one that the contract requires is gone.

    Text formats and APIs show their columns with their first record: a stream without one lacks nothing yet.
    """
    there = task.warehouse.columns(raw)
    lacking = [c.name for c in task.contract.columns if c.name not in there and c.required and not c.nullable]
    lacking += [name for name in task.key if name not in there and name not in lacking]
    if lacking and task.warehouse.count(raw):
        offered = [name for name in there if not name.startswith("_")]
        told = " ".join(f"It has no column {name!r}{did_you_mean(name, offered) or '.'}" for name in lacking)
        sentence = f"The stream {task.name} does not have the columns of its contract {task.contract.name}. {told}"
        remedy = "Mend the source, or make the column nullable in the contract."
        raise StopRun(f"{sentence} {remedy}", code="schema_changed")
    own = {column.name for column in task.contract.columns}
    others = [name for name in there if name not in own and name != MALFORMED_COLUMN and not name.startswith("_dlt_")]
    unknown = [name for name in others if not name.startswith("_") and name not in task.key]
    if task.contract.strict is True and unknown:
        told = ", ".join(unknown[:5])
        sentence = f"The stream {task.name} has columns that its strict contract {task.contract.name} lacks: {told}."
        raise StopRun(f"{sentence} Name them in the contract, or write strict: filter.", code="schema_changed")
    return [name for name in others if task.contract.strict is False or name not in unknown]


def _content(task: Task, carried: Sequence[str]) -> list[str]:
    return [c.name for c in task.contract.columns] + [name for name in carried if not name.startswith("_")]


def _results(task: Task) -> list[int]:
    """Return how many rows failed each rule, and write it down for every rule, passed ones too."""
    pairs = f"SELECT unnest({FAILED_RULES}) AS rule FROM {task.broken} UNION ALL SELECT rule FROM {task.duplicates}"
    found = task.warehouse.sql(f"SELECT rule, count(*) AS failed FROM ({pairs}) AS pairs GROUP BY rule").to_pylist()
    by_rule = {row["rule"]: row["failed"] for row in found}
    failed = [by_rule.get(number, 0) for number in range(len(task.rules))]
    evaluated = task.warehouse.count(bare(task.checked))
    _record(task, failed, evaluated)
    return failed


def _record(task: Task, failed: Sequence[int], evaluated: int) -> None:
    told = ((task.run_id, task.name, r.rule_id, r.column, r.code, r.severity, evaluated) for r in task.rules)
    rows = [dict(zip(_RESULT.names, (*row, n), strict=True)) for row, n in zip(told, failed, strict=True)]
    task.warehouse.write(RESULTS, arrow.Table.from_pylist(rows, _RESULT).to_batches(), schema=_RESULT, mode="append")


def _stop_on_failures(task: Task, failed: Sequence[int]) -> None:
    broken = [(r, n) for r, n in zip(task.rules, failed, strict=True) if n and r.severity == "fail"]
    if broken:
        told = " ".join(f"{n:,} rows break the rule {rule.rule_id}: {rule.sentence}" for rule, n in broken)
        sentence = f"The stream {task.name} breaks rules of severity fail. {told} Nothing of it was published."
        raise StopRun(sentence, code="contract_failed")


def _write_quarantine(task: Task) -> dict[str, int]:
    """Stage the raw content and the reasons of every row that is kept from clean; return rows by reason code."""
    repeated = (
        f"SELECT _rid, array_agg(rule ORDER BY rule) AS {DUPLICATE_RULES},"
        f" array_agg(survivor ORDER BY rule) AS {SURVIVORS} FROM {task.duplicates}"
        f" WHERE rule IN ({task.stopping}) GROUP BY _rid"
    )
    query = (
        f"WITH repeated AS ({repeated}), kept AS"
        f" (SELECT _rid FROM {task.broken} WHERE {BAD} UNION SELECT _rid FROM repeated)"
        f" SELECT source.*, broken.{FAILED_RULES}, repeated.{DUPLICATE_RULES}, repeated.{SURVIVORS}"
        f" FROM {task.source} AS source JOIN kept ON kept._rid = source._rid"
        f" LEFT JOIN {task.broken} AS broken ON broken._rid = source._rid"
        " LEFT JOIN repeated ON repeated._rid = source._rid"
    )
    scribe = Scribe(task.rules, task.run_id)
    task.warehouse.map_batches(query, scribe, into=bare(task.staged), schema=SCHEMA)
    return dict(sorted(scribe.codes.items()))
