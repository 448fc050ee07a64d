"""Run a job: the stages in their order, then each sync; say at the end what came of it.

A run that was cut off is taken up where it stopped: stages that are done are not done again, and what was sent
is known from the journal.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from consentry.audit import Json
from consentry.delivery.send import SyncResult, deliver
from consentry.errors import ConsentryError, RetryLater
from consentry.pipeline import runs
from consentry.pipeline.approval import would_send, write_plan
from consentry.pipeline.context import Context, opened
from consentry.pipeline.freshness import held_sentences
from consentry.pipeline.job import instant
from consentry.pipeline.optouts import pull
from consentry.pipeline.plan import Plan
from consentry.pipeline.progress import Progress
from consentry.pipeline.stages import Result

EXIT_CODES = {"ok": 0, "failed": 1, "rejected": 3, "paused": 4, "blocked": 5}


# Summaries are plain JSON.
def run(plan: Plan, progress: Progress, *, allow: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Carry out a plan and return the summary of the run.

    allow: guards and alarms to let pass this once, by the names their messages give.

    Raises ConsentryError when a stage before delivery cannot be done; nothing was sent then. A sync that fails
    stands in the summary with its sentence, and the others go on.
    """
    started = time.monotonic()
    with opened(plan.loaded, progress, allow=allow) as context:
        begun = runs.begin(context.store, plan.loaded.job.job, plan.sha256)
        context = replace(context, run_id=begun.run_id)
        context.audit.append("run.resumed" if begun.resumed else "run.started", facts(plan), run=begun.run_id)
        with noted(context):
            results = prepare(plan, context, begun.done)
            summary = deliver_all(plan, context, results, resumed=begun.resumed, started=started)
        return summary


def deliver_all(
    plan: Plan, context: Context, results: dict[str, Result], *, resumed: bool, started: float
) -> dict[str, Any]:
    """Bring every destination in step, close the run, and return its summary.

    What people told a destination itself is read first; where that fails, nothing is sent.
    """
    unread = pull(context, plan.syncs)
    syncs = {name: bring_in_step(context, name, unread) for name in plan.syncs}
    summary = _summary(context, results, syncs, resumed, time.monotonic() - started)
    runs.finish(context.store, context.run_id, summary)
    context.audit.append("run.ended", run=context.run_id, result=summary["status"])
    return summary


def pending(
    plan: Plan, progress: Progress, *, allow: frozenset[str] = frozenset(), out: Path | None = None
) -> dict[str, Any]:
    """Do everything but deliver, and return what each sync would send. No destination is called.

    out: a file that the plan is written to, sealed, for `consentry apply`.
    """
    with opened(plan.loaded, progress, allow=allow) as context:
        begun = runs.begin(context.store, plan.loaded.job.job, plan.sha256)
        context = replace(context, run_id=begun.run_id)
        context.audit.append("plan.started", facts(plan), run=begun.run_id)
        with noted(context):
            results = prepare(plan, context, begun.done)
            syncs = {name: would_send(context, name) for name in plan.syncs}
        told = {"run_id": begun.run_id, "status": "planned", "plan_sha256": plan.sha256, "syncs": syncs}
        told["segments"] = results["segment"]["members"]
        runs.finish(context.store, begun.run_id, told)
        if out:
            write_plan(out, plan, context, results, syncs)
        return told


def facts(plan: Plan) -> dict[str, Json]:
    """Name a plan and its policy for the audit log."""
    policy = plan.loaded.policy
    return {
        "job": plan.loaded.job.job,
        "plan_sha256": plan.sha256,
        "policy": {"id": policy.policy_id, "sha256": policy.sha256},
    }


@contextmanager
def noted(context: Context) -> Iterator[None]:
    """Note how a run ended that could not go on; a pause leaves it open, to be taken up again."""
    try:
        yield
    except ConsentryError as error:
        status = {4: "paused", 5: "blocked"}.get(error.exit_code, "failed")
        runs.finish(context.store, context.run_id, {"status": status, "error": error.code})
        context.audit.append("run.ended", run=context.run_id, result=status, code=error.code)
        raise


def prepare(plan: Plan, context: Context, done: dict[str, Result]) -> dict[str, Result]:
    """Do every stage before delivery, and decide who may be in which audience.

    done: what a resumed run has behind it. It takes in what is new, and goes on from there: a stage that is done
    is done again only when something new came in.
    """
    results: dict[str, Result] = {}
    news = False
    for stage in plan.stages:
        context.progress.begin(stage.name, stage.sentence)
        before = done.get(stage.name)
        if before is None or stage.takes_in or news:
            told = stage.work(context)
            news = news or before is None or _brought_rows(told)
            results[stage.name] = added(before, told) if before and stage.takes_in else told
            runs.finish_stage(context.store, context.run_id, stage.name, results[stage.name])
        else:
            results[stage.name] = before
        context.progress.end(stage.name, stage.sentence)
    # Decided in every run, a resumed one too: an answer may have come in since.
    context.gate.decide(context.warehouse, [plan.loaded.target(name) for name in plan.syncs])
    return results


def _brought_rows(told: Result) -> bool:
    return bool(told.get("rows", {}).get("in") or told.get("new"))


def added(before: Result, now: Result) -> Result:
    """Add up what a stage told in two attempts, number by number."""
    total: Result = dict(before)
    for key, value in now.items():
        if isinstance(value, dict):
            total[key] = added(before.get(key, {}), value)
        else:
            total[key] = before.get(key, 0) + value
    return total


def bring_in_step(context: Context, name: str, unread: Mapping[str, ConsentryError]) -> dict[str, Any]:
    """Bring one audience in step and return what came of it.

    unread: the destinations of which it could not be read who opted out there; nothing is sent to them.
    """
    sync = context.loaded.job.syncs[name]
    stage = f"sync {name}"
    context.progress.begin(stage, f"Bring {sync.destination} in step")
    if error := unread.get(sync.destination):
        result = _not_begun(name, error)
    else:
        result = deliver(
            context.warehouse,
            context.store,
            context.gate,
            context.audit,
            context.loaded.destination(sync.destination),
            sync,
            run_id=context.run_id,
            progress=lambda _name, rows: context.progress.advance(stage, rows),
            allow=context.allow,
        )
    told = asdict(result)
    told["sentence"] = told.pop("message")
    if result.status != "ok":
        context.audit.append("sync.stopped", run=context.run_id, sync=name, result=result.status)
    sentence = f"{result.adds:,} added, {result.updates:,} updated, {result.removes:,} removed"
    context.progress.end(stage, sentence if result.status == "ok" else result.message)
    return told


def _not_begun(name: str, error: ConsentryError) -> SyncResult:
    message = f"Who opted out there could not be read, so that nothing was sent. {error}"
    if isinstance(error, RetryLater):
        return SyncResult(name, "paused", message=message, after=error.after)
    return SyncResult(name, "failed", message=message)


def _summary(
    context: Context, results: dict[str, Result], syncs: dict[str, dict[str, Any]], resumed: bool, seconds: float
) -> dict[str, Any]:
    check, merge, profile, segment = (results[name] for name in ("check", "merge", "profile", "segment"))
    reasons: Counter[str] = Counter(check["reasons"]) + Counter(profile["reasons"])
    return {
        "run_id": context.run_id,
        "job": context.loaded.job.job,
        "status": _status(syncs),
        "resumed": resumed,
        "as_of": instant(context.as_of),
        "rows": {
            "extracted": check["rows"].get("in", 0),
            "clean": check["rows"].get("clean", 0),
            "quarantined": check["rows"].get("quarantined", 0),
            "erased": results["extract"].get("erased", 0),
        },
        "quarantine_reasons": dict(reasons),
        "imputed_cells": sum(profile["imputed"].values()),
        "identifiers_unused": {name: merge[name] for name in ("blocked", "invalid")},
        "persons": merge["persons"],
        "merged_records": merge["merged_records"],
        "profiles": profile["profiles"],
        "profiles_refused": profile["refused"],
        "remarks": _remarks(context, results),
        "consent": results["consent"],
        "enriched": results["enrich"]["enriched"],
        "segments": segment["members"],
        "syncs": syncs,
        "duration_s": round(seconds, 2),
    }


def _remarks(context: Context, results: dict[str, Result]) -> list[str]:
    told = [remark for stage in ("extract", "merge") for remark in results[stage].get("remarks", [])]
    return [*told, *held_sentences(context.warehouse)]


def _status(syncs: dict[str, dict[str, Any]]) -> str:
    """Return the gravest thing that happened to any sync."""
    statuses = {sync["status"] for sync in syncs.values()}
    for status in ("failed", "blocked", "paused"):
        if status in statuses:
            return status
    return "rejected" if any(sync["rejected"] for sync in syncs.values()) else "ok"
