"""Send what a sync has to do: removals first, sealed batch by sealed batch, each journalled before it leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Literal

from consentry.audit import AuditLog
from consentry.connectors.base import Destination
from consentry.consent.gate import Gate
from consentry.delivery.config import Sync
from consentry.delivery.follow import follow
from consentry.delivery.journal import under_way
from consentry.delivery.settle import recover, settle
from consentry.delivery.tables import make_tables
from consentry.delivery.withheld import withheld
from consentry.delivery.work import Delivery, Progress
from consentry.errors import Blocked, DestinationFailed, RetryLater
from consentry.store import Store
from consentry.warehouse import Warehouse

Status = Literal["ok", "paused", "failed", "blocked"]


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync set out to do and what came of it.

    adds, updates, removes: people the difference named. acknowledged: rows the destination took. skipped: rows
    it did not need. rejected: rows it refused, now dead letters. refused: people the consent gate held back, by
    reason. unknown: rows whose answer was lost. waiting: rows that are due again in a later run. pending: rows that
    the destination accepted and has not applied yet. dead_letters: rows of earlier runs still held back. message:
    why the sync did not end as `ok`. after: seconds to wait.
    """

    sync: str
    status: Status
    adds: int = 0
    updates: int = 0
    removes: int = 0
    acknowledged: int = 0
    skipped: int = 0
    rejected: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    waiting: int = 0
    pending: int = 0
    dead_letters: int = 0
    api_calls: int = 0
    message: str = ""
    after: float = 0.0


def deliver(
    warehouse: Warehouse,
    store: Store,
    gate: Gate,
    audit: AuditLog,
    destination: Destination,
    sync: Sync,
    *,
    run_id: str,
    progress: Progress = lambda _sync, _rows: None,
    allow: Collection[str] = (),
    patience: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
) -> SyncResult:
    """Bring one audience in step with what was decided; ops.decision must have been written for the sync.

    allow: guards to let pass this once, as `<sync>.<guard>`. patience: seconds to wait in all for rows that the
    destination asks to send again. What ends this sync alone (a guard, a destination that fails or asks for a
    long pause) is in the result; StopRun passes through when the log, the store or the warehouse fails.
    """
    make_tables(warehouse)
    calls = destination.api_calls
    work = Delivery(warehouse, store, gate, audit, destination, sync, run_id, progress, patience, sleep)
    status: Status = "ok"
    message, after = "", 0.0
    try:
        recover(warehouse, store, audit, sync, run_id=run_id)
        follow(work, taken_up=True)
        settle(warehouse, store, destination, sync)
        work.run(allow)
    except RetryLater as error:
        status, message, after = "paused", str(error), error.after
    except DestinationFailed as error:
        status, message = "failed", str(error)
    except Blocked as error:
        status, message = "blocked", str(error)
    work.close()
    if status == "ok" and work.waiting:
        status, after = "paused", work.longest_wait
        message = f"Sync {sync.name!r}: the destination asks to send {work.waiting:,} rows again later."
    elif status == "ok" and work.found.withheld:
        message = withheld(gate, sync, work.found.withheld, destination.capabilities)
    return _result(work, status, message, after, destination.api_calls - calls)


def _result(work: Delivery, status: Status, message: str, after: float, api_calls: int) -> SyncResult:
    found, tally = work.found, work.tally
    return SyncResult(
        sync=work.sync.name,
        status=status,
        adds=found.adds,
        updates=found.changes,
        removes=found.removes + work.taken_out,
        acknowledged=tally["ok"],
        skipped=tally["skipped"],
        rejected=tally["rejected"],
        refused=dict(sorted(work.refused.items())),
        unknown=tally["unknown"],
        waiting=work.waiting,
        pending=sum(len(job.rows) for job in under_way(work.store, work.sync.name)),
        dead_letters=found.waiting,
        api_calls=api_calls,
        message=message,
        after=after,
    )
