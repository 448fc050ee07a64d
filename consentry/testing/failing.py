"""A destination that fails on request, by a schedule in its configuration; otherwise like `Memory`.

    type: failing
    connection:
      schedule:
        - {call: 1, kind: reject, rows: [0, 3], code: invalid_email}
        - {call: 2, kind: unknown, took_effect: true}

Calls are counted from 1, over `write` and `remove`; with a `path` the count goes on where a killed process ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field

from consentry.config import Model
from consentry.connectors.base import Check, ConnectorConfig, Outcome, Rejected, Retry, Skipped, Unknown
from consentry.errors import DestinationFailed, RetryLater
from consentry.model.batch import Batch, Row
from consentry.testing.memory import Memory, MemoryConfig


class Failure(Model):
    """One planned failure.

    reject, skip, retry, unknown: the outcome of `rows` (positions; every row when empty).
    raise: an error between two rows, just before the first of `rows`; the rows before it took effect.
    refuse_batch: DestinationFailed before any row. later: RetryLater before any row.
    """

    kind: Literal["reject", "skip", "retry", "unknown", "raise", "refuse_batch", "later"]
    call: int | None = Field(default=None, ge=1, description="The call that fails, from 1; every call when absent.")
    rows: tuple[int, ...] = Field(default=(), description="Positions in the batch; every row when empty.")
    persons: tuple[str, ...] = Field(default=(), description="Person ids; narrows the failure to them.")
    code: str = Field(default="refused", description="Reason code.")
    after: float = Field(default=0.0, ge=0, description="Seconds, for retry and later.")
    took_effect: bool = Field(default=False, description="Whether an unknown outcome is one that took effect.")


class FailingConfig(MemoryConfig):
    """Settings of the destination that fails on request."""

    schedule: tuple[Failure, ...] = Field(default=(), description="What fails, and when.")
    check_fails: bool = Field(default=False, description="Whether `check` refuses, as for wrong credentials.")


class Failing(Memory):
    """A destination that fails as its schedule says; `audiences` shows what took effect."""

    Config: ClassVar[type[ConnectorConfig]] = FailingConfig

    def __init__(
        self, config: FailingConfig, *, streams: Mapping[str, Mapping[str, Any]] | None = None, account: str = ""
    ) -> None:
        super().__init__(config, streams=streams, account=account)
        self._config = config

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
            yield work(batch, row) if met is None else _outcome(met, partial(work, batch, row))


def _concerns(failure: Failure, place: int, row: Row) -> bool:
    placed = not failure.rows or place in failure.rows
    return placed and (not failure.persons or row.person_id in failure.persons)


def _raise_before(failure: Failure) -> None:
    if failure.kind == "refuse_batch":
        raise DestinationFailed("The destination refused the batch as a whole.", code=failure.code)
    if failure.kind == "later":
        raise RetryLater("The destination asks for a pause.", after=failure.after, code="rate_limited")


def _outcome(failure: Failure, take_effect: Callable[[], Outcome]) -> Outcome:
    match failure.kind:
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
