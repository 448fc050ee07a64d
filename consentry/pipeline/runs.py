"""Remember runs: which began, which stages of them are done, and what came of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from consentry.model.ids import new_run_id
from consentry.pipeline.job import instant
from consentry.store import Store
from consentry.store.tables import run, stage_done


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that may go on: new, or one that a crash or a pause cut short, with the stages it has behind it."""

    run_id: str
    resumed: bool
    done: dict[str, dict[str, Any]]  # what each finished stage told, as plain JSON


def begin(store: Store, job: str, plan_sha256: str) -> Begun:
    """Begin a run, or take up the last one of this job if it did not end.

    A run is only taken up while the job's files are what they were; otherwise it is closed as abandoned, and a
    new one begins from what is stored.
    """
    with store.begin() as connection:
        last = connection.execute(
            sa.select(run).where(run.c.job == job).order_by(run.c.started_at.desc(), run.c.run_id.desc()).limit(1)
        ).first()
        unfinished = last is not None and last.status in ("running", "paused")
        if last is not None and unfinished and last.plan_sha256 == plan_sha256:
            connection.execute(sa.update(run).where(run.c.run_id == last.run_id).values(status="running"))
            stages = connection.execute(sa.select(stage_done).where(stage_done.c.run_id == last.run_id))
            return Begun(last.run_id, True, {row.stage: json.loads(row.result) for row in stages})
        if last is not None and unfinished:
            connection.execute(sa.update(run).where(run.c.run_id == last.run_id).values(status="abandoned"))
        run_id = new_run_id()
        values = {"run_id": run_id, "job": job, "plan_sha256": plan_sha256, "status": "running", "started_at": now()}
        connection.execute(sa.insert(run).values(values))
        return Begun(run_id, False, {})


def finish_stage(store: Store, run_id: str, stage: str, result: dict[str, Any]) -> None:
    """Note that a stage is done and what it told, in place of what it told before."""
    with store.begin() as connection:
        done = (stage_done.c.run_id == run_id) & (stage_done.c.stage == stage)
        connection.execute(sa.delete(stage_done).where(done))
        connection.execute(
            sa.insert(stage_done).values(run_id=run_id, stage=stage, done_at=now(), result=json.dumps(result))
        )


def finish(store: Store, run_id: str, summary: dict[str, Any]) -> None:
    """Close a run with its summary."""
    with store.begin() as connection:
        values = {"status": summary["status"], "ended_at": now(), "summary": json.dumps(summary)}
        connection.execute(sa.update(run).where(run.c.run_id == run_id).values(values))


@dataclass(frozen=True, slots=True)
class Earlier:
    """One run as it stands in the store."""

    run_id: str
    status: str
    started_at: str


def last(store: Store, job: str, *, plan_sha256: str | None = None) -> Earlier | None:
    """Return the last run of a job, or of one of its plans."""
    query = sa.select(run.c.run_id, run.c.status, run.c.started_at).where(run.c.job == job)
    if plan_sha256 is not None:
        query = query.where(run.c.plan_sha256 == plan_sha256)
    with store.begin() as connection:
        found = connection.execute(query.order_by(run.c.started_at.desc(), run.c.run_id.desc()).limit(1)).first()
    return Earlier(found.run_id, found.status, found.started_at) if found else None


def results(store: Store, run_id: str) -> dict[str, dict[str, Any]]:
    """Return what each finished stage of a run told."""
    with store.begin() as connection:
        stages = connection.execute(sa.select(stage_done).where(stage_done.c.run_id == run_id))
        return {row.stage: json.loads(row.result) for row in stages}


def recent(store: Store, job: str, limit: int = 10) -> list[dict[str, Any]]:
    """Return the last runs of a job, newest first."""
    query = sa.select(run).where(run.c.job == job).order_by(run.c.started_at.desc()).limit(limit)
    with store.begin() as connection:
        return [
            {
                "run_id": row.run_id,
                "status": row.status,
                "started_at": row.started_at,
                "ended_at": row.ended_at,
                "summary": json.loads(row.summary) if row.summary else None,
            }
            for row in connection.execute(query)
        ]


def now() -> str:
    """Return this instant as the store writes it."""
    return instant(datetime.now(UTC))
