"""The stages of a run before delivery: each reads tables, writes tables, and says in numbers what came of it.

Every stage is idempotent: it takes what lies before it, publishes its result in one atomic step, and can be done
again after a crash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from consentry.audit import Json
from consentry.connectors.base import Remarks
from consentry.connectors.landing import StreamSpec, land
from consentry.consent.erased import SET_ASIDE, Erased, set_aside_erased
from consentry.errors import Blocked, StopRun
from consentry.identity.golden import golden
from consentry.identity.resolution import headlines
from consentry.identity.resolve import resolve
from consentry.pipeline.agreement import watch_sources
from consentry.pipeline.canonical import stream_table, streams_of, write_canonical
from consentry.pipeline.consenting import rows_for_ledger, told
from consentry.pipeline.context import Context, decisions_of, refused_table
from consentry.pipeline.deleting import delete_records
from consentry.pipeline.enrich import enrich
from consentry.pipeline.freshness import hold, release, stale_inputs
from consentry.pipeline.inspect import versions_ending
from consentry.pipeline.job import StreamBlock
from consentry.pipeline.keeping_out import forget_recorded, kept_out, note_kept_out, sieve_of
from consentry.pipeline.modelling import score_due
from consentry.pipeline.profile import build_profile
from consentry.pipeline.purposes import uses
from consentry.pipeline.terms import terms
from consentry.segments.evaluate import evaluate
from consentry.validation.aside import Limits, trim
from consentry.validation.replay import replay
from consentry.validation.run import validate
from consentry.warehouse import Warehouse

# What a stage tells: plain JSON, kept in the store and shown in the run's summary.
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of every run: its name, what it does, and the function that does it.

    takes_in: it brings in what is new. A resumed run does it again, because answers may have come in meanwhile, and
    adds what it tells to what it told before.
    """

    name: str
    sentence: str
    work: Callable[[Context], Result]
    takes_in: bool = False


def extract(context: Context) -> Result:
    """Read every source and land what it gave in `raw`."""
    landed: dict[str, int] = {}
    erased = Erased.of(context.ledger)
    erased_rows = 0
    remarks = versions_ending(context.loaded)
    for name, block in context.loaded.job.sources.items():
        source = context.loaded.source(name)
        specs = [
            StreamSpec(stream, spec.mode, spec.drift, sieve_of(context, erased, name, spec))
            for stream, spec in block.streams.items()
        ]
        found = land(
            source,
            name=name,
            streams=specs,
            warehouse=context.warehouse,
            folder=context.loaded.state / "dlt",
            run_id=context.run_id,
            progress=_increments(context, "extract"),
        )
        landed |= {f"{name}__{item.stream}": item.rows for item in found}
        rows: dict[str, Json] = {item.stream: item.rows for item in found}
        context.audit.append("source.read", run=context.run_id, durable=False, source=name, type=block.type, rows=rows)
        for item in found:
            note_kept_out(context, f"{name}.{item.stream}", item.sieved)
            erased_rows += item.sieved
        remarks += [
            f"{name}.{item.stream} has new columns; its drift rule kept {item.left_out:,} records from raw."
            for item in found
            if item.left_out
        ]
        if isinstance(source, Remarks):
            remarks += source.remarks()
    if erased_rows:
        context.audit.append("erased.kept_out", run=context.run_id, durable=False, rows=erased_rows)
    return {"landed": landed, "remarks": remarks, "erased": erased_rows}


def _increments(context: Context, stage: str) -> Callable[[str, int], None]:
    """Turn rows so far, stream by stream, into rows since the last word."""
    seen: dict[str, int] = {}

    def tell(stream: str, rows: int) -> None:
        context.progress.advance(stage, rows - seen.get(stream, 0))
        seen[stream] = rows

    return tell


def check(context: Context) -> Result:
    """Split what was landed into clean and quarantine."""
    rows: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    streams: dict[str, dict[str, int]] = {}
    held: dict[str, int] = {}
    for (source, name), stream in _in_order(context):
        _refuse_a_source_that_ran_dry(context, source, name)
        try:
            checked = validate(
                context.warehouse,
                context.loaded.contracts[f"{source}__{name}"],
                stream=f"{source}__{name}",
                primary_key=stream.primary_key,
                mode=stream.mode,
                run_id=context.run_id,
                accept=f"watch:{source}.{name}" in context.allow,
                now=context.as_of,
            )
        except StopRun as alarm:
            if alarm.code != "watch_failed" or not context.warehouse.has(stream_table("clean", source, name)):
                raise
            # What was clean stays; what reads it is stale until the load is right or somebody accepts it.
            hold(context.warehouse, f"{source}__{name}", str(alarm))
            held[f"{source}.{name}"] = 1
            continue
        release(context.warehouse, f"{source}__{name}")
        if checked.again:
            take_consents_again(context.warehouse, f"{source}__{name}")
        limits = context.loaded.job.quarantine
        trim(context.warehouse, f"{source}__{name}", Limits(limits.max_rows, limits.keep_days))
        if context.loaded.contracts[f"{source}__{name}"].refers_to():
            _take_late_references(context, source, name, stream)
        counts = {"in": checked.rows_in, "clean": checked.clean, "quarantined": checked.quarantined}
        rows.update(counts)
        reasons.update(checked.reasons)
        streams[f"{source}.{name}"] = counts
        context.progress.advance("check", checked.rows_in)
        context.audit.append(
            "contract.applied",
            run=context.run_id,
            durable=False,
            stream=f"{source}.{name}",
            counts=counts,
            reasons=dict(checked.reasons),
        )
    return {"rows": dict(rows), "reasons": dict(reasons), "streams": streams, "held": held}


def _take_late_references(context: Context, source: str, name: str, stream: StreamBlock) -> None:
    """Judge rows again that named what another stream did not have at the time, and may have by now."""
    again = replay(
        context.warehouse,
        context.loaded.contracts[f"{source}__{name}"],
        stream=f"{source}__{name}",
        primary_key=stream.primary_key,
        mode=stream.mode,
        run_id=context.run_id,
        code="unknown_reference",
    )
    if again.clean:
        take_consents_again(context.warehouse, f"{source}__{name}")


def _in_order(context: Context) -> list[tuple[tuple[str, str], StreamBlock]]:
    """Return the streams so that one whose rows another refers to comes before it."""
    left = dict(streams_of(context.loaded.job, "customer", "event", "consent", "link", "aggregate"))
    wanted = {key: context.loaded.contracts["__".join(key)].refers_to() for key in left}
    ordered: list[tuple[tuple[str, str], StreamBlock]] = []
    while left:
        names = {"__".join(key) for key in left}
        free = [key for key in left if not (set(wanted[key]) - {"__".join(key)}) & names]
        # Streams that refer to each other in a circle are taken as they stand in the job.
        ordered += [(key, left.pop(key)) for key in free or list(left)]
    return ordered


def _refuse_a_source_that_ran_dry(context: Context, source: str, name: str) -> None:
    """Stop before an empty or shrunken source takes everybody out of every audience."""
    stream = context.loaded.job.sources[source].streams[name]
    label = f"{source}.{name}"
    raw, clean = (context.warehouse.count(stream_table(zone, source, name)) for zone in ("raw", "clean"))
    if stream.allow_empty or label in context.allow or (not clean and kept_out(context, label)):
        return
    if raw == 0:
        held = f"; {clean:,} rows are kept from earlier runs" if clean else ""
        raise Blocked(
            f"The source {label} gave no rows{held}. An empty source never removes anybody. If it is empty on "
            f"purpose, run again with --allow {label}, or set allow_empty: true.",
            code="empty_source",
        )
    if stream.mode == "snapshot" and raw < clean * (1 - stream.max_shrink_pct / 100):
        raise Blocked(
            f"The source {label} shrank from {clean:,} rows to {raw:,}, more than max_shrink_pct "
            f"({stream.max_shrink_pct}) lets pass. If that is right, run again with --allow {label}.",
            code="shrunken_source",
        )


def consent(context: Context) -> Result:
    """Take new answers of people from the consent feeds into the ledger."""
    totals: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    warehouse = context.warehouse
    warehouse.sql("CREATE TABLE IF NOT EXISTS ops.consent_taken (stream TEXT, rid BIGINT)")
    erased = Erased.of(context.ledger)
    for (source, name), stream in streams_of(context.loaded.job, "consent").items():
        table = stream_table("clean", source, name)
        if not warehouse.has(table):
            continue
        top = _highest_rid(warehouse.sql(f"SELECT max(_rid) AS rid FROM {table}"))
        taken = _highest_rid(
            warehouse.sql("SELECT max(rid) AS rid FROM ops.consent_taken WHERE stream = $s", s=f"{source}__{name}")
        )
        if top <= taken:
            continue
        policy, batches = context.loaded.policy, told(warehouse, stream, source=source, table=table, rid=taken)
        imported = context.ledger.record(rows_for_ledger(_counted(context, batches), stream, policy), policy=policy)
        totals.update(new=imported.new, duplicate=imported.duplicate)
        refused.update(imported.refused)
        warehouse.sql("INSERT INTO ops.consent_taken VALUES ($s, $rid)", s=f"{source}__{name}", rid=top)
        forget_recorded(context, erased, source, name, above=taken)
    size, head = context.ledger.head()
    context.audit.append(
        "consent.recorded",
        run=context.run_id,
        counts=dict(totals),
        refused=dict(refused),
        ledger_head={"size": size, "hash": head},
    )
    return {"new": totals["new"], "duplicate": totals["duplicate"], "refused": dict(refused)}


def take_consents_again(warehouse: Warehouse, stream: str) -> None:
    """Let the next reading of a consent feed begin anew: rows with small numbers have become clean.

    The ledger knows the answers that it has, so that none is taken twice.
    """
    if warehouse.has("ops.consent_taken"):
        warehouse.sql("DELETE FROM ops.consent_taken WHERE stream = $s", s=stream)


def _highest_rid(found: pa.Table) -> int:
    value = found["rid"][0].as_py()
    return -1 if value is None else int(value)


def _counted(context: Context, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        context.progress.advance("consent", batch.num_rows)


def merge(context: Context) -> Result:
    """Find out which records are the same person, and make one golden record each."""
    write_canonical(context.warehouse, context.loaded.job, context.loaded.unified.conversions)
    erased = set_aside_erased(context.warehouse, context.ledger, run_id=context.run_id)
    if erased:
        delete_records(context, SET_ASIDE)
    config = context.loaded.job.identity
    found = resolve(
        context.warehouse,
        config,
        run_id=context.run_id,
        decisions=decisions_of(context),
        erased=SET_ASIDE if erased else None,
        refused=refused_table(context),
    )
    golden(context.warehouse, config, run_id=context.run_id, uses=uses(context.loaded))
    disagreements = watch_sources(context)
    context.audit.append(
        "identity.resolved",
        run=context.run_id,
        durable=False,
        counts={"persons": found.persons, "records": found.records, "merged_records": found.merged_records},
        suppressed=erased,
        events=dict(found.events),
    )
    return {
        "persons": found.persons,
        "records": found.records,
        "merged_records": found.merged_records,
        "suppressed": erased,
        "blocked": found.blocked,
        "invalid": found.invalid,
        "events": dict(found.events),
        "remarks": [*headlines(found.alarms), *disagreements],
    }


def segment(context: Context) -> Result:
    """Evaluate every rule over the people whose profile may be used, and score them where that is due."""
    notes = score_due(context) if context.loaded.models else []
    found = evaluate(
        context.warehouse,
        context.loaded.segments,
        context.loaded.catalog,
        now=context.as_of,
        run_id=context.run_id,
        limits=context.loaded.job.segment_limits,
        stale=stale_inputs(context.warehouse, context.loaded.job, now=context.as_of),
    )
    context.audit.append(
        "segment.evaluated",
        terms(found),
        run=context.run_id,
        durable=False,
        members=dict(found.members),
        population=found.population,
        held_out={name: split.held for name, split in found.holdouts.items()},
        findings=[{"segment": item.segment, "code": item.code, "action": item.action} for item in found.findings],
    )
    return {"members": dict(found.members), "population": found.population, "notes": [*notes, *found.notes]}


STAGES = (
    Stage("extract", "Read the sources", extract, takes_in=True),
    Stage("check", "Check each row against its contract", check, takes_in=True),
    Stage("consent", "Take in what people allowed and refused", consent, takes_in=True),
    Stage("merge", "Find the records of one person", merge),
    Stage("enrich", "Complete golden records where people allow it", enrich),
    Stage("profile", "Build the profiles that may be used", build_profile),
    Stage("segment", "Evaluate the segments", segment),
)
