"""Races and broken logs: a withdrawal at a bad moment, a crash, a full disk; nobody stays who said no."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from delivery_world import AUDIENCE, World, email, failing, person
from sqlalchemy import select

from consentry.audit import AuditLog
from consentry.connectors.base import Outcome
from consentry.delivery.deadletters import replay
from consentry.errors import StopRun
from consentry.model.batch import Batch
from consentry.store.tables import delivery_batch
from consentry.testing.failing import Failure
from consentry.testing.memory import Memory, MemoryConfig
from consentry.warehouse import DuckDBWarehouse


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world whose warehouse is in memory."""
    made = World(tmp_path, warehouse=DuckDBWarehouse(threads=1))
    yield made
    made.close()


class Interrupted(Memory):
    """A destination at which something happens just after its first batch took effect."""

    def __init__(self, then: Callable[[], object], *, size: int = 100) -> None:
        super().__init__(MemoryConfig(batch_max=size))
        self._then: Callable[[], object] | None = then

    def write(self, batch: Batch) -> Iterator[Outcome]:
        """Answer, and let it happen before anybody has read the answers."""
        answers = list(super().write(batch))
        then, self._then = self._then, None
        if then:
            then()
        return iter(answers)


def test_t28_a_batch_in_flight_ends_and_who_withdrew_meanwhile_is_taken_out_next(world: World) -> None:
    world.fill(range(4))
    destination = Interrupted(lambda: world.withdraw([1, 3]), size=2)
    first = world.run(destination)
    # Whose batch was not made yet is not sent at all.
    assert (first.adds, first.acknowledged, first.refused) == (4, 3, {"withdrawn": 1})
    began = datetime.now(UTC)
    assert world.run(destination).removes == 1
    assert destination.audiences.values(AUDIENCE, "email") == {email(0), email(2)}
    sent = [json.loads(line) for line in world.log().splitlines() if '"egress.sent"' in line]
    assert [one["operation"] for one in sent] == ["add", "add", "remove"]
    assert (datetime.fromisoformat(sent[-1]["ts"]) - began).total_seconds() < 5


def test_t30_a_retry_after_a_withdrawal_is_made_anew_and_leaves_the_person_out(world: World) -> None:
    world.fill(range(3))
    world.decide()
    destination = failing(Failure(call=1, kind="retry", rows=(0, 1, 2), after=1))

    def meanwhile(_seconds: float) -> None:
        world.withdraw([0])
        world.change([1], "gold")

    world.deliver(destination, sleep=meanwhile)
    assert destination.audiences.values(AUDIENCE, "email") == {email(1), email(2)}
    added = [effect for effect in destination.audiences.effects if effect.kind == "add"]
    assert {effect.identifiers["email"]: effect.fields["plan_name"] for effect in added}[email(1)] == "gold"


def test_t31_a_crash_after_sending_leaves_an_unknown_outcome_that_is_reconciled_without_a_double(world: World) -> None:
    world.fill(range(3))

    def die() -> None:
        raise KeyboardInterrupt

    destination = Interrupted(die)
    with pytest.raises(KeyboardInterrupt):
        world.run(destination)
    assert '"action":"egress.sent"' not in world.log()
    world.run(destination)
    assert '"action":"egress.unknown"' in world.log()
    assert len(destination.audiences.members(AUDIENCE)) == 3
    assert world.warehouse.count("delivery.ack") == 3
    with world.store.begin() as connection:
        assert set(connection.execute(select(delivery_batch.c.state)).scalars()) == {"folded"}


def test_t32_a_letter_replayed_days_later_is_decided_again(world: World) -> None:
    world.fill(range(2))
    destination = failing(Failure(call=1, kind="reject", rows=(0,)))
    world.run(destination)
    world.withdraw([0])
    replay(world.store, "insiders_mail")
    result = world.run(destination)
    assert destination.audiences.values(AUDIENCE, "email") == {email(1)}
    assert result.adds == 0


def test_t75_without_a_log_nothing_is_sent(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit")
    # A disk that is full: every write to it fails as the operating system says.
    audit._file.close()
    audit._file = open("/dev/full", "ab")  # noqa: SIM115
    world = World(tmp_path, warehouse=DuckDBWarehouse(threads=1), audit=audit)
    world.fill(range(3))
    destination = Memory(MemoryConfig())
    with pytest.raises(StopRun) as caught:
        world.run(destination)
    assert caught.value.code == "audit_unwritable"
    assert destination.audiences.calls == 0
    assert person(0) not in str(caught.value)
    with suppress(OSError):  # what could not be written is still in its buffer
        world.close()
    audit._lock.close()


def test_t75_a_log_that_another_run_holds_stops_the_second(tmp_path: Path) -> None:
    first = AuditLog(tmp_path / "audit")
    with pytest.raises(StopRun) as caught:
        World(tmp_path, warehouse=DuckDBWarehouse(threads=1))
    assert caught.value.code == "audit_locked"
    first.close()
