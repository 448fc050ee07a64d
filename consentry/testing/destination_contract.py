"""What every destination must do, as a class of tests: subclass it, and pytest runs them against yours.

    class TestMine(DestinationContract):
        simulator = MySimulator()

        def make(self):
            return Mine(MyConfig(base_url=..., token="..."), sleep=lambda seconds: None)

The simulator plays the destination without credentials. Its `members` are what it holds; a test that needs a fault
which it cannot play is skipped, and says so. Waits must be waited for by `sleep`, so that tests can skip them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Protocol

import pytest

from consentry.connectors.base import (
    Destination,
    Ok,
    Outcome,
    Pending,
    Polls,
    Rejected,
    Removes,
    Retry,
    Skipped,
    Unknown,
)
from consentry.delivery.exchange import Answer, exchange
from consentry.errors import DestinationFailed, RetryLater
from consentry.model.batch import Batch, Operation, Row, Value

Kind = Literal[
    "rate_limited",  # 429 with retry_after="1", "date" or None; "3600" is a longer wait than any client has
    "server_error",  # 503, and the next call goes well
    "lost_answer",  # the write takes effect, its answer never comes
    "partial",  # the first row of the write is refused inside a success
    "refused_batch",  # 400 for the whole request
    "expired_token",  # 401 in the middle
    "delay",  # what was accepted is applied late: the next three questions find it under way
]

# How often a job is asked about before a test gives up.
ASKED_MAX = 50


class Simulator(Protocol):
    """What plays the destination. faults: the kinds that it can play. audience: where people go."""

    audience: str
    faults: frozenset[str]

    def members(self) -> set[str]:
        """Return who is in the audience now: the identifier `email` as it was sent."""
        ...

    def reset(self) -> None:
        """Begin anew: an audience with nobody in it, nothing planned."""
        ...

    def fault(self, kind: Kind, **how: Any) -> None:
        """Let the next write meet a fault; `times` of them, one when absent."""
        ...


class DestinationContract:
    """The tests. Set `simulator`, and let `make` return a destination that writes to it; it is made anew each time.

    fields: what every row carries beside its identifiers, for a destination that refuses people without it.
    """

    simulator: ClassVar[Simulator]
    fields: ClassVar[Mapping[str, Value]] = {}

    def make(self) -> Destination:
        """Return the destination under test."""
        raise NotImplementedError("Return your destination here, made to write to the simulator.")

    def identifiers(self, email: str) -> dict[str, str]:
        """Return under what a person is sent; override it for a destination that takes hashes."""
        return {"email": email}

    def people(self, count: int, start: int = 0) -> tuple[Row, ...]:
        """Return rows of people who live at example.com."""
        numbers = range(start, start + count)
        return tuple(Row(f"person-{n}", self.identifiers(f"person{n}@example.com"), self.fields) for n in numbers)

    def known_as(self, *numbers: int) -> set[str]:
        """Return what the simulator calls people by their numbers."""
        return {self.identifiers(f"person{n}@example.com")["email"] for n in numbers}

    @pytest.fixture(autouse=True)
    def _begin(self) -> None:
        self.simulator.reset()

    def batch(self, rows: tuple[Row, ...], operation: Operation = "add") -> Batch:
        """Return a batch for the audience."""
        return Batch("0001", "contract", self.simulator.audience, "contract", operation, rows)

    def write(self, rows: tuple[Row, ...], *, to: Destination | None = None) -> Answer:
        """Write rows as delivery does, and check that the answer agrees with what the simulator holds."""
        answer = self.sent(to or self.make(), self.batch(rows))
        self.agree(rows, answer)
        return answer

    def sent(self, destination: Destination, batch: Batch) -> Answer:
        """Hand a batch over, and ask for what is applied later until it is."""
        answer = exchange(destination, batch)
        if not isinstance(destination, Polls):
            return answer
        outcomes = list(answer.outcomes)
        for job in dict.fromkeys(one.job for one in outcomes if isinstance(one, Pending)):
            places = [place for place, one in enumerate(outcomes) if one == Pending(job)]
            for place, outcome in zip(places, self.followed(destination, job, batch, places), strict=True):
                outcomes[place] = outcome
        return Answer(tuple(outcomes), answer.stop)

    def followed(self, there: Polls, job: str, batch: Batch, places: Sequence[int]) -> Sequence[Outcome]:
        """Ask about a job until it has ended, as a later run would: without the fields of its rows."""
        rows = [batch.rows[place] for place in places]
        bare = tuple(Row(row.person_id, row.identifiers, {}, row.remote_id) for row in rows)
        asked = replace(batch, rows=bare)
        for _ in range(ASKED_MAX):
            found = there.poll(job, asked)
            if found is not None:
                assert len(found) == len(places), "a job has one outcome a row"
                assert not any(isinstance(outcome, Pending) for outcome in found), "a job that ended is not pending"
                return found
        raise AssertionError(f"the job is still under way after {ASKED_MAX} questions")

    def agree(self, rows: tuple[Row, ...], answer: Answer) -> None:
        """Check one outcome a row, and that what is called Ok is there and what is called Rejected is not."""
        assert len(answer.outcomes) == len(rows)
        held = self.simulator.members()
        for row, outcome in zip(rows, answer.outcomes, strict=True):
            if isinstance(outcome, Ok):
                assert row.identifiers["email"] in held, f"{outcome} for a row that is not there"
            if isinstance(outcome, Rejected) and "email" in row.identifiers:
                assert row.identifiers["email"] not in held, f"{outcome} for a row that is there"
        assert "@" not in str(answer.stop), "an error holds a personal value"

    def written(self, rows: tuple[Row, ...], attempts: int = 3) -> Destination:
        """Write rows, again what is due again, as later runs do; everybody must be there in the end."""
        destination, due = self.make(), rows
        for _ in range(attempts):
            answer = self.write(due, to=destination)
            due = tuple(row for row, one in zip(due, answer.outcomes, strict=True) if not isinstance(one, Ok | Skipped))
            if not due:
                break
        assert not due, f"{len(due)} rows were not taken after {attempts} attempts"
        assert self.simulator.members() >= {row.identifiers["email"] for row in rows}
        return destination

    def plan(self, kind: Kind, **how: Any) -> None:
        """Plan a fault, or skip the test when the simulator cannot play it."""
        if kind not in self.simulator.faults:
            pytest.skip(f"the simulator cannot play {kind}")
        self.simulator.fault(kind, **how)

    def test_it_is_a_destination_that_can_log_in(self) -> None:
        destination = self.make()
        assert isinstance(destination, Destination)
        check = destination.check()
        assert check.ok, check.sentence
        assert check.sentence.endswith(".")
        assert destination.capabilities.batch_max > 0

    def test_who_is_written_is_in_the_audience(self) -> None:
        answer = self.write(self.people(5))
        assert all(isinstance(outcome, Ok) for outcome in answer.outcomes)
        assert self.simulator.members() == self.known_as(*range(5))

    def test_the_same_batch_twice_is_noticed_by_nobody(self) -> None:
        destination = self.make()
        self.write(self.people(3), to=destination)
        if not destination.capabilities.idempotent:
            pytest.skip("the destination says that it notices a repetition")
        assert all(isinstance(outcome, Ok | Skipped) for outcome in self.write(self.people(3), to=destination).outcomes)
        assert self.simulator.members() == self.known_as(0, 1, 2)

    def test_who_is_removed_is_out_and_nobody_else(self) -> None:
        destination = self.make()
        if not isinstance(destination, Removes):
            pytest.skip("the destination cannot remove")
        known = self._known(destination, self.people(4))
        answer = self.sent(destination, self.batch(known[1:3], "remove"))
        assert all(isinstance(outcome, Ok | Skipped) for outcome in answer.outcomes)
        assert self.simulator.members() == self.known_as(0, 3)

    def test_removing_somebody_who_is_not_in_it_is_ok(self) -> None:
        destination = self.make()
        if not isinstance(destination, Removes):
            pytest.skip("the destination cannot remove")
        self.write(self.people(2), to=destination)
        answer = self.sent(destination, self.batch(self.people(1, start=900), "remove"))
        assert all(isinstance(outcome, Ok | Skipped) for outcome in answer.outcomes)
        assert self.simulator.members() == self.known_as(0, 1)

    def _known(self, destination: Destination, rows: tuple[Row, ...]) -> tuple[Row, ...]:
        """Write rows and return them with the names that the destination gave them, as the ledger would."""
        answer = self.write(rows, to=destination)
        ids = [outcome.remote_id if isinstance(outcome, Ok) else None for outcome in answer.outcomes]
        return tuple(Row(row.person_id, row.identifiers, {}, id) for row, id in zip(rows, ids, strict=True))

    def test_two_rows_of_one_key_are_accounted_for_and_harm_nobody(self) -> None:
        first, second = self.people(2)
        twin = Row("person-twin", first.identifiers, self.fields)
        answer = self.sent(self.make(), self.batch((first, twin, second)))
        assert len(answer.outcomes) == 3
        assert isinstance(answer.outcomes[0], Ok)
        assert isinstance(answer.outcomes[2], Ok)
        assert self.simulator.members() == self.known_as(0, 1)

    def test_a_row_without_an_identifier_is_rejected_and_the_others_are_taken(self) -> None:
        destination = self.make()
        if not destination.capabilities.key_fields:
            pytest.skip("the destination takes rows without an identifier")
        answer = self.write(
            (*self.people(1), Row("person-nobody", {}, self.fields), *self.people(1, start=1)), to=destination
        )
        assert isinstance(answer.outcomes[1], Rejected)
        assert self.simulator.members() == self.known_as(0, 1)

    @pytest.mark.parametrize("retry_after", ["1", "date", None])
    def test_a_429_is_waited_for_whatever_its_form(self, retry_after: str | None) -> None:
        self.plan("rate_limited", retry_after=retry_after)
        self.written(self.people(3))
        assert self.simulator.members() == self.known_as(0, 1, 2)

    def test_a_wait_beyond_patience_pauses_and_loses_nothing(self) -> None:
        self.plan("rate_limited", retry_after="3600", times=50)
        answer = self.write(self.people(3))
        waits = [one.after for one in answer.outcomes if isinstance(one, Retry)]
        stop = answer.stop
        assert len(waits) == 3
        assert max(*waits, stop.after if isinstance(stop, RetryLater) else 0) >= 600

    def test_a_server_that_recovers_is_written_in_the_end(self) -> None:
        self.plan("server_error")
        self.written(self.people(3))
        assert self.simulator.members() == self.known_as(0, 1, 2)

    def test_an_answer_that_is_lost_is_never_called_refused_and_doubles_nobody(self) -> None:
        self.plan("lost_answer")
        answer = self.write(self.people(3))
        assert all(isinstance(outcome, Ok | Unknown | Retry) for outcome in answer.outcomes)
        self.written(self.people(3))
        assert self.simulator.members() == self.known_as(0, 1, 2)

    def test_a_refusal_inside_a_success_is_one_rows_and_not_the_others(self) -> None:
        self.plan("partial")
        answer = self.write(self.people(3))
        assert isinstance(answer.outcomes[0], Rejected | Retry | Unknown)
        assert all(isinstance(outcome, Ok) for outcome in answer.outcomes[1:])

    def test_a_batch_that_is_refused_as_a_whole_takes_nobody_with_it_for_good(self) -> None:
        self.plan("refused_batch")
        answer = self.write(self.people(4))
        assert not any(isinstance(outcome, Unknown) for outcome in answer.outcomes)
        self.written(self.people(4))

    def test_a_token_that_expires_loses_nothing(self) -> None:
        self.plan("expired_token")
        answer = self.write(self.people(3))
        assert answer.stop is None or isinstance(answer.stop, DestinationFailed | RetryLater)
        assert not any(isinstance(outcome, Rejected) for outcome in answer.outcomes)
        self.written(self.people(3))

    def test_what_is_applied_late_is_followed_to_its_end(self) -> None:
        self.plan("delay")
        self.written(self.people(3))
        assert self.simulator.members() == self.known_as(0, 1, 2)

    def test_what_is_under_way_is_taken_up_by_another_run(self) -> None:
        if not isinstance(self.make(), Polls):
            pytest.skip("the destination applies everything at once")
        self.plan("delay")
        batch = self.batch(self.people(3))
        pending = exchange(self.make(), batch).outcomes
        if not any(isinstance(outcome, Pending) for outcome in pending):
            pytest.skip("the destination applies so small a batch at once")
        assert all(isinstance(outcome, Pending) for outcome in pending), "it waited, or did not say what is under way"
        jobs = {one.job for one in pending if isinstance(one, Pending)}
        assert len(jobs) == 1
        later, job = self.make(), jobs.pop()
        assert isinstance(later, Polls)
        assert later.wait_seconds >= 0
        assert later.poll(job, batch) is None, "the job is under way, and nobody is told so"
        assert all(isinstance(outcome, Ok) for outcome in self.followed(later, job, batch, range(3)))
        assert self.simulator.members() == self.known_as(0, 1, 2)

    def test_a_job_that_nobody_knows_any_more_says_nothing_of_its_rows(self) -> None:
        destination = self.make()
        if not isinstance(destination, Polls):
            pytest.skip("the destination applies everything at once")
        batch = self.batch(self.people(2))
        assert self.followed(destination, "no-such-job", batch, range(2)) == [Unknown(), Unknown()]
