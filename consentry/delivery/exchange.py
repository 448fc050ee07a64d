"""Hand one batch to a destination, and make of whatever comes back exactly one outcome a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from consentry.connectors.base import Destination, Ok, Outcome, Pending, Rejected, Removes, Retry, Skipped, Unknown
from consentry.delivery.journal import Note
from consentry.errors import ConsentryError, DestinationFailed, RetryLater, SkipRecord
from consentry.model.batch import Batch


@dataclass(frozen=True, slots=True)
class Answer:
    """One outcome a row, in the order of the rows; `stop` says why nothing further should be sent, if so."""

    outcomes: tuple[Outcome, ...]
    stop: ConsentryError | None = None

    @property
    def is_whole_refusal(self) -> bool:
        """Tell whether every row came back with one and the same refusal: the batch was refused, not its rows."""
        return len(self.outcomes) > 1 and len(set(self.outcomes)) == 1 and isinstance(self.outcomes[0], Rejected)

    def counts(self) -> dict[str, int]:
        """Count the rows by outcome."""
        return dict(sorted(Counter(type(outcome).__name__.lower() for outcome in self.outcomes).items()))


Call = Callable[[Batch], Iterator[Outcome]]


def exchange(destination: Destination, batch: Batch, *, via: Call | None = None) -> Answer:
    """Send a batch and read its answer; a connector that breaks off leaves its rows unknown, never taken.

    via: what takes the batch in place of the destination's `write` and `remove`.
    Outcomes that came before the break count. SkipRecord from a connector means that it refused the batch as
    a whole. Any other number of outcomes than rows makes all of them unknown and stops the sync.
    """
    size, outcomes = len(batch.rows), list[Outcome]()
    stop: ConsentryError | None = None
    rest: Outcome
    try:
        for outcome in via(batch) if via else _call(destination, batch):
            outcomes.append(outcome)
            if len(outcomes) > size:
                break
    except RetryLater as error:
        stop, rest = error, Retry(error.after)
    except DestinationFailed as error:
        # By contract nothing of the batch was sent: its rows are simply due again.
        stop, rest = error, Retry(0)
    except SkipRecord as error:
        return _filled(outcomes, Rejected(error.code), size, None)
    except Exception as error:  # the border: a connector is foreign code, and its rows may have been taken
        stop, rest = _broke_off(batch, error), Unknown()
    else:
        if len(outcomes) != size:
            return Answer((Unknown(),) * size, _miscounted(batch, len(outcomes)))
        return Answer(tuple(outcomes))
    return _filled(outcomes, rest, size, stop)


def _filled(outcomes: list[Outcome], rest: Outcome, size: int, stop: ConsentryError | None) -> Answer:
    return Answer(tuple([*outcomes, *[rest] * (size - len(outcomes))][:size]), stop)


def _call(destination: Destination, batch: Batch) -> Iterator[Outcome]:
    if batch.operation != "remove":
        return destination.write(batch)
    if not isinstance(destination, Removes):
        raise TypeError("A removal was handed to a destination that cannot remove.")
    return destination.remove(batch)


def _broke_off(batch: Batch, error: Exception) -> DestinationFailed:
    # The error's own text may quote what was sent: only its kind is told.
    message = (
        f"Destination {batch.destination!r} broke off with {type(error).__name__} while {len(batch.rows)} rows were"
        " under way; what became of them is not known. Run again: they are settled first."
    )
    return DestinationFailed(message, code="broke_off")


def _miscounted(batch: Batch, answered: int) -> DestinationFailed:
    given = f"more than {len(batch.rows)}" if answered > len(batch.rows) else str(answered)
    message = (
        f"Destination {batch.destination!r} gave {given} outcomes for {len(batch.rows)} rows, so that none of"
        " them can be believed. This is a fault of its connector: report it, then run again."
    )
    return DestinationFailed(message, code="outcome_count")


def notes(batch: Batch, outcomes: Sequence[Outcome]) -> list[Note]:
    """Write outcomes in the words of the journal."""
    return [_note(row.person_id, outcome) for row, outcome in zip(batch.rows, outcomes, strict=True)]


def _note(person_id: str, outcome: Outcome) -> Note:
    match outcome:
        case Ok(remote_id):
            return Note(person_id, "ok", remote_id=remote_id)
        case Skipped(reason):
            return Note(person_id, "skipped", code=reason[:63])
        case Rejected(code, field):
            return Note(person_id, "rejected", code=code[:63], field=field)
        case Retry():
            return Note(person_id, "retry")
        case Unknown():
            return Note(person_id, "unknown")
        case Pending(job):
            return Note(person_id, "pending", job=job)
