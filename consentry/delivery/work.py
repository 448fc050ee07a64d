"""One sync under way: people become sealed batches, batches outcomes, outcomes the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from consentry.audit import AuditLog
from consentry.connectors.base import Destination, KnowsByValue, Outcome, Pending, Polls, Rejected, Removes, Retry
from consentry.consent.gate import Gate, Sealed
from consentry.consent.present import Register
from consentry.delivery import deadletters, journal, report, tasks
from consentry.delivery.config import Sync
from consentry.delivery.diff import Difference, difference
from consentry.delivery.exchange import Answer, Call, exchange, notes
from consentry.delivery.follow import follow
from consentry.delivery.former import take_out_former, under_what
from consentry.delivery.golden import golden_of
from consentry.delivery.guards import check_guards
from consentry.delivery.identities import Seals
from consentry.delivery.ladder import take_out
from consentry.delivery.payloads import remember_sent
from consentry.delivery.people import FETCH_ROWS, Person, people_to_send
from consentry.delivery.settle import settle
from consentry.errors import DestinationFailed, RetryLater
from consentry.model.batch import Operation, Row
from consentry.model.ids import uuid7s
from consentry.store import Store
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON

Progress = Callable[[str, int], None]
# Rows answered before the ledger is brought up to the journal; until then the journal alone knows them.
FOLD_ROWS = 20_000
LEAST_WAIT_S = 1.0


@dataclass(slots=True)
class Delivery:
    """One sync under way: what it works with, and what it has counted."""

    warehouse: Warehouse
    store: Store
    gate: Gate
    audit: AuditLog
    destination: Destination
    sync: Sync
    run_id: str
    progress: Progress
    patience: float
    sleep: Callable[[float], None]
    found: Difference = field(default_factory=lambda: Difference(0, 0, 0, 0, 0, 0, 0, 0))
    tally: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    withdrawn: list[str] = field(default_factory=list)
    unremoved: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    wait: float = 0.0
    waiting: int = 0
    longest_wait: float = 0.0
    polling: float = 0.0
    unfolded: int = 0
    taken_out: int = 0

    def run(self, allow: Collection[str]) -> None:
        """Work out the difference and send it, unless a guard stops what is not a withdrawal."""
        least = self.destination.capabilities.audience_min
        self.found = difference(self.warehouse, self.store, self.gate, self.sync, audience_min=least)
        self.refused.update(self.found.refused)
        if self.found.withheld:
            report.withheld(self.audit, self.gate, self.sync, self.found.withheld, least=least, run_id=self.run_id)
        take_out(self, "consent")
        tasks.close_settled(self.warehouse, self.store, self.sync.name)
        check_guards(self.sync, self.found, allow=allow)
        journal.release(self.warehouse, self.sync.name)
        self.phase("remove", cause="left")
        take_out_former(self)
        self.phase("change")
        self.phase("add")
        self.take_out_withdrawn()

    def phase(self, operation: Operation, *, cause: str = "decided", only: Sequence[str] | None = None) -> None:
        """Send everything of one operation, and again what the destination asks for within the patience left."""
        if operation == "remove" and not isinstance(self.destination, Removes):
            self.cannot_remove(cause)
            return
        self.send_all(operation, cause, only)
        follow(self)
        while self.again and self.wait <= self.patience:
            due, wait = self.again, self.wait
            self.again, self.wait = [], 0.0
            self.patience -= wait
            self.sleep(wait)
            self.send_all(operation, cause, due)
            follow(self)
        self.waiting += len(self.again)
        self.longest_wait = max(self.longest_wait, self.wait)
        self.again, self.wait = [], 0.0
        self.fold()

    def people(
        self, operation: str, cause: str, *, size: int, only: Sequence[str] | None = None
    ) -> Iterator[list[Person]]:
        """Yield those who are due for one operation and cause, `size` at a time."""
        name, golden = self.sync.name, golden_of(self.warehouse, self.gate, self.sync.target())
        return people_to_send(self.warehouse, name, operation, cause, golden=golden, size=size, only=only)

    def send_all(self, operation: Operation, cause: str, only: Sequence[str] | None) -> None:
        capable = self.destination.capabilities.batch_max
        size = min(capable, self.sync.batch_size or capable)
        some = size * max(1, FETCH_ROWS // size)
        for people in self.people(operation, cause, size=some, only=only):
            ids = [person.person_id for person in people]
            register = None if operation == "remove" else self.gate.register(self.warehouse, ids)
            for first in range(0, len(people), size):
                self.send(people[first : first + size], operation, cause, register)
                if self.unfolded >= FOLD_ROWS:
                    self.fold()

    def send(self, people: Sequence[Person], operation: Operation, cause: str, register: Register | None) -> None:
        """Decide again, journal, send and note one batch; halve it when it is refused as a whole.

        register: what the gate reads of the people once for many batches; what they said is read for each.
        """
        known: dict[str, dict[str, str]] = {}
        if operation == "remove":
            people, known = under_what(self, people, cause)
        rows, target = [person.row for person in people], self.sync.target()
        sealed = self.gate.seal(
            self.warehouse, target, operation, rows, batch_id=uuid7s(1)[0], known=known, register=register
        )
        report.decided(self.audit, self.gate, self.sync, sealed, run_id=self.run_id)
        self.note_refused(sealed, people, operation)
        if not sealed.batch.rows:
            return
        answer, halved = self.send_sealed(sealed, people)
        if halved:
            self.unfolded += len(sealed.batch.rows)
        else:
            self.count(sealed.batch.rows, operation, answer.outcomes)
        if answer.stop:
            raise answer.stop
        if halved:
            sent = {row.person_id for row in sealed.batch.rows}
            left = [person for person in people if person.person_id in sent]
            self.send(left[: len(left) // 2], operation, cause, register)
            self.send(left[len(left) // 2 :], operation, cause, register)

    def send_sealed(self, sealed: Sealed, people: Sequence[Person], *, via: Call | None = None) -> tuple[Answer, bool]:
        """Journal a batch, hand it over, and note the answer; tell whether it is to be halved.

        via: what takes the batch in place of the destination's own `write`; never halved.
        """
        batch = sealed.batch
        known = {person.person_id: person.payload_hash for person in people}
        hashes = {row.person_id: sealed.payload_hashes.get(row.person_id) or known[row.person_id] for row in batch.rows}
        journal.begin(
            self.store,
            batch,
            hashes,
            sync=self.sync.name,
            run_id=self.run_id,
            sealed=self.identities(batch.rows),
            keep=isinstance(self.destination, KnowsByValue),
        )
        self.gate.verify(batch)
        answer = exchange(self.destination, batch, via=via)
        halved = answer.is_whole_refusal and answer.stop is None and via is None
        found = notes(batch, answer.outcomes)
        if halved:
            found = [journal.Note(note.person_id, "halved", code=note.code) for note in found]
        journal.answer(self.store, batch, found, hashes, sync=self.sync.name)
        report.answered(self.audit, self.sync, sealed, answer, run_id=self.run_id, halved=halved)
        return answer, halved

    def identities(self, rows: Sequence[Row]) -> dict[str, str]:
        """Return what people are sent under, sealed, for a destination that is asked later or takes them out by it."""
        there, seals = self.destination, Seals(self.gate.ledger.keyring, self.sync.destination)
        if isinstance(there, Polls):
            return {row.person_id: seals.seal(row.identifiers) for row in rows}
        if isinstance(there, KnowsByValue):
            return {row.person_id: seals.seal(there.known_by(row)) for row in rows}
        return {}

    def count(self, rows: Sequence[Row], operation: Operation, outcomes: Sequence[Outcome]) -> None:
        """Count outcomes, and note who is asked for again and who could not be taken out."""
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, Pending):
                continue
            self.tally[type(outcome).__name__.lower()] += 1
            self.unfolded += 1
            if isinstance(outcome, Rejected) and operation == "remove":
                self.unremoved.append(row.person_id)
            if isinstance(outcome, Retry):
                self.again.append(row.person_id)
                self.wait = max(self.wait, outcome.after, LEAST_WAIT_S)
        self.progress(self.sync.name, sum(not isinstance(outcome, Pending) for outcome in outcomes))

    def note_refused(self, sealed: Sealed, people: Sequence[Person], operation: Operation) -> None:
        """Remember whom the gate held back at the last moment: who is in the audience must go from it."""
        if operation == "remove":
            self.set_aside(people, dict(sealed.refused))
            return
        held = {person.person_id for person in people if person.held}
        self.refused.update(reason for _, reason in sealed.refused)
        self.withdrawn += [person_id for person_id, _ in sealed.refused if person_id in held]

    def take_out_withdrawn(self) -> None:
        """Take out whose consent ended while the sync was under way."""
        if not self.withdrawn:
            return
        self.taken_out = len(self.withdrawn)
        self.warehouse.sql(
            "UPDATE delivery.todo SET operation = 'remove', cause = 'withdrawn'"
            f" WHERE sync = $sync AND person_id IN (SELECT unnest($people::{PERSON}[]))",
            sync=self.sync.name,
            people=self.withdrawn,
        )
        take_out(self, "withdrawn")

    def cannot_remove(self, cause: str, only: Sequence[str] | None = None) -> None:
        for people in self.people("remove", cause, size=FOLD_ROWS, only=only):
            self.set_aside(people, {person.person_id: "cannot_remove" for person in people})

    def set_aside(self, people: Sequence[Person], codes: dict[str, str]) -> None:
        """Write a dead letter for each removal that cannot be sent at all; it stays owed."""
        rows = [
            journal.letter(person.person_id, codes[person.person_id], person.payload_hash)
            for person in people
            if person.person_id in codes
        ]
        self.tally["rejected"] += len(rows)
        self.unremoved += [row["person_id"] for row in rows]
        with self.store.begin() as connection:
            deadletters.note(connection, rows, sync=self.sync.name, operation="remove", at=journal.now())

    def fold(self) -> None:
        """Bring the ledger up to the journal."""
        folded = journal.fold(self.warehouse, self.store, self.sync.name)
        remember_sent(self.warehouse, self.sync.target(), folded)
        self.unfolded = 0

    def close(self) -> None:
        """Leave ledger and dead letters as the journal has them, however the sync ended."""
        self.fold()
        if self.tally["unknown"] and not journal.under_way(self.store, self.sync.name):
            try:
                settle(self.warehouse, self.store, self.destination, self.sync)
            except (DestinationFailed, RetryLater):
                # It does not answer now either: the next run settles these rows before anything else.
                return
