"""Follow work that a destination accepted to its end: ask, wait, ask again, within a budget; a later run goes on.

While something is under way nothing else is sent in that sync: a removal must not be overtaken by an add that is
still being applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from consentry.connectors.base import Outcome, Polls, Unknown
from consentry.delivery import journal, report
from consentry.delivery.exchange import Answer, notes
from consentry.delivery.identities import Seals, sealed_in
from consentry.delivery.journal import Job
from consentry.errors import DestinationFailed, RetryLater
from consentry.model.batch import Batch, Row

if TYPE_CHECKING:
    from consentry.delivery.work import Delivery

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
# Vendors end their jobs within hours; after this nobody waits for one any more, and its rows are sent again.
GIVEN_UP = timedelta(hours=24)


def follow(work: Delivery, *, taken_up: bool = False) -> None:
    """Ask for every job under way until all have ended, and note what became of their rows.

    taken_up: whether they were begun by an earlier run, and may be over. Raises RetryLater when the wait is used up.
    """
    jobs = journal.under_way(work.store, work.sync.name)
    pause = FIRST_WAIT_S
    if jobs and not taken_up:
        pause = _slept(work, pause)
    while jobs := [job for job in jobs if not _ended(work, job)]:
        if work.polling + pause > _budget(work):
            raise _later(work, jobs, pause)
        pause = _slept(work, pause)


def _slept(work: Delivery, pause: float) -> float:
    work.sleep(pause)
    work.polling += pause
    return min(2 * pause, LONGEST_WAIT_S)


def _budget(work: Delivery) -> float:
    return work.destination.wait_seconds if isinstance(work.destination, Polls) else 0.0


def _later(work: Delivery, jobs: Sequence[Job], pause: float) -> RetryLater:
    rows = sum(len(job.rows) for job in jobs)
    message = (
        f"Sync {work.sync.name!r}: {work.sync.destination!r} took {rows:,} rows and has not applied them yet. Run again"
        " later: they are asked about first, and nothing is sent twice."
    )
    return RetryLater(message, after=max(pause, LONGEST_WAIT_S), code="jobs_under_way")


def _ended(work: Delivery, job: Job) -> bool:
    outcomes = _asked(work, job)
    if outcomes is None:
        return False
    rows = _rows(work, job)
    batch = Batch(job.batch_id, job.destination, job.audience, work.sync.purpose, job.operation, rows)
    answer = Answer(tuple(outcomes))
    hashes = {line["person_id"]: line["payload_hash"] for line in job.rows}
    journal.answer(work.store, batch, notes(batch, outcomes), hashes, sync=work.sync.name)
    report.applied(work.audit, work.sync, job, answer, run_id=work.run_id)
    work.count(rows, job.operation, outcomes)
    return True


def _asked(work: Delivery, job: Job) -> Sequence[Outcome] | None:
    """Ask about one job; one that nobody can ask about any more, or that takes days, is unknown."""
    lost = [Unknown()] * len(job.rows)
    if not isinstance(work.destination, Polls) or datetime.now(UTC) - job.since > GIVEN_UP:
        return lost
    batch = Batch(job.batch_id, job.destination, job.audience, work.sync.purpose, job.operation, _rows(work, job))
    found: Sequence[Outcome] | None = None
    broken: DestinationFailed | None = None
    try:
        found = work.destination.poll(job.job, batch)
    except (DestinationFailed, RetryLater):
        raise
    except Exception as error:  # the border: a connector is foreign code
        name = type(error).__name__
        message = f"Destination {job.destination!r} broke off with {name} while a job of it was asked about. Run again."
        broken = DestinationFailed(message, code="broke_off")
    if broken:
        raise broken
    return lost if found is not None and len(found) != len(job.rows) else found


def _rows(work: Delivery, job: Job) -> tuple[Row, ...]:
    seals = Seals(work.gate.ledger.keyring, work.sync.destination)
    return tuple(
        Row(line["person_id"], seals.opened(sealed_in(line["identity"])), {}, line["remote_id"]) for line in job.rows
    )
