"""A destination that fails on request, by a schedule in its configuration; otherwise like `Memory`.

    type: failing
    connection:
      schedule:
        - {call: 1, kind: reject, rows: [0, 3], code: invalid_email}
        - {call: 2, kind: unknown, took_effect: true}

Calls are counted from 1, over `write` and `remove`; with a `path` the count goes on where a killed process ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field

from consentry.config import Model
from consentry.connectors.base import Check, ConnectorConfig, Ok, Outcome, Pending, Rejected, Retry, Skipped, Unknown
from consentry.errors import DestinationFailed, RetryLater
from consentry.model.batch import Batch, Row
from consentry.testing.memory import Memory, MemoryConfig, member_id


class Failure(Model):
    """One planned failure.

    reject, skip, retry, unknown: the outcome of `rows` (positions; every row when empty).
    raise: an error between two rows, just before the first of `rows`; the rows before it took effect.
    refuse_batch: DestinationFailed before any row. later: RetryLater before any row. pending: `rows` take effect, and
    are only told so when the call has been asked about `polls` times.
    """

    kind: Literal["reject", "skip", "retry", "unknown", "raise", "refuse_batch", "later", "pending"]
    call: int | None = Field(default=None, ge=1, description="The call that fails, from 1; every call when absent.")
    rows: tuple[int, ...] = Field(default=(), description="Positions in the batch; every row when empty.")
    persons: tuple[str, ...] = Field(default=(), description="Person ids; narrows the failure to them.")
    code: str = Field(default="refused", description="Reason code.")
    after: float = Field(default=0.0, ge=0, description="Seconds, for retry and later.")
    polls: int = Field(default=3, ge=1, description="Questions until a pending row is said to be applied.")
    took_effect: bool = Field(default=False, description="Whether an unknown outcome is one that took effect.")


class FailingConfig(MemoryConfig):
    """Settings of the destination that fails on request."""

    schedule: tuple[Failure, ...] = Field(default=(), description="What fails, and when.")
    wait_seconds: float = Field(default=60.0, ge=0, description="How long a run waits for what is pending.")
    check_fails: bool = Field(default=False, description="Whether `check` refuses, as for wrong credentials.")


class Failing(Memory):
    """A destination that fails as its schedule says; `audiences` shows what took effect."""

    Config: ClassVar[type[ConnectorConfig]] = FailingConfig

    def __init__(
        self, config: FailingConfig, *, streams: Mapping[str, Mapping[str, Any]] | None = None, account: str = ""
    ) -> None:
        super().__init__(config, streams=streams, account=account)
        self._config = config
        self._asked: Counter[str] = Counter()

    @property
    def wait_seconds(self) -> float:
        """Return how long a run waits for what is pending."""
        return self._config.wait_seconds

    def poll(self, job: str, batch: Batch) -> list[Outcome] | None:
        """Say that the rows were applied, once it was asked often enough; an unknown job says nothing of them."""
        number, _, polls = job.partition("/")
        if not (number.isdigit() and polls.isdigit()) or int(number) > self.audiences.calls:
            return [Unknown() for _ in batch.rows]
        self.api_calls += 1
        self._asked[job] += 1
        if self._asked[job] < int(polls):
            return None
        return [Ok(member_id(row, self._keys)) for row in batch.rows]

    def check(self) -> Check:
        """Say whether it can be written, as configured."""
        return Check(False, "The credentials were refused.") if self._config.check_fails else super().check()

    def write(self, batch: Batch) -> Iterator[Outcome]:
        """Add or change the people of a batch, except where the schedule says otherwise."""
        return self._run(batch, self.put)

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        """Take the people of a batch out, except where the schedule says otherwise."""
        return self._run(batch, self.take_out)

    def _run(self, batch: Batch, work: Callable[[Batch, Row], Outcome]) -> Iterator[Outcome]:
        number = self.audiences.calls + 1
        due = [one for one in self._config.schedule if one.call in (None, number)]
        self.begin(batch)
        for failure in due:
            if any(_concerns(failure, place, row) for place, row in enumerate(batch.rows)):
                _raise_before(failure)
        for place, row in enumerate(batch.rows):
            met = next((one for one in due if _concerns(one, place, row)), None)
            yield work(batch, row) if met is None else _outcome(met, partial(work, batch, row), number)


def _concerns(failure: Failure, place: int, row: Row) -> bool:
    placed = not failure.rows or place in failure.rows
    return placed and (not failure.persons or row.person_id in failure.persons)


def _raise_before(failure: Failure) -> None:
    if failure.kind == "refuse_batch":
        raise DestinationFailed("The destination refused the batch as a whole.", code=failure.code)
    if failure.kind == "later":
        raise RetryLater("The destination asks for a pause.", after=failure.after, code="rate_limited")


def _outcome(failure: Failure, take_effect: Callable[[], Outcome], call: int) -> Outcome:
    match failure.kind:
        case "pending":
            taken = take_effect()
            return Pending(f"{call}/{failure.polls}") if isinstance(taken, Ok) else taken
        case "reject":
            return Rejected(failure.code)
        case "skip":
            return Skipped(failure.code)
        case "retry":
            return Retry(failure.after)
        case "unknown":
            if failure.took_effect:
                take_effect()
            return Unknown()
        case _:
            raise DestinationFailed("The destination broke off in the middle of a batch.", code=failure.code)
