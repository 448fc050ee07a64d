"""Whoever takes consent back is taken out, by whatever the destination can do, in the policy's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import ClassVar

import pytest
from delivery_world import AUDIENCE, POLICY, World, email, failing, person, sync

from consentry.connectors.base import Check, ConnectorConfig, Outcome
from consentry.delivery import deadletters
from consentry.delivery.tasks import DEADLINE, finish, tasks
from consentry.model.batch import Batch
from consentry.testing.failing import Failure
from consentry.testing.memory import Memory, MemoryConfig
from consentry.warehouse import DuckDBWarehouse

Worlds = Callable[[str], World]


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Worlds]:
    """Make a world whose policy has the given ladder."""
    made: list[World] = []

    def make(ladder: str) -> World:
        policy = POLICY.replace("    min_segment: 0\n", f"    min_segment: 0\n    on_withdraw: {ladder}\n")
        made.append(World(tmp_path, warehouse=DuckDBWarehouse(threads=1), policy=policy))
        return made[-1]

    yield make
    for world in made:
        world.close()


class AddOnly:
    """A destination that can add and nothing else."""

    Config: ClassVar[type[ConnectorConfig]] = MemoryConfig

    def __init__(self) -> None:
        self.inner = Memory(MemoryConfig())
        self.capabilities, self.api_calls = self.inner.capabilities, 0

    def check(self) -> Check:
        return Check(True, "")

    def write(self, batch: Batch) -> Iterator[Outcome]:
        return self.inner.write(batch)


class Replacing(AddOnly):
    """One that can also replace its list."""

    def replace(self, batch: Batch) -> Iterator[Outcome]:
        return self.inner.replace(batch)


class Deleting(AddOnly):
    """One that can only delete the whole audience."""

    def delete_audience(self, audience: str) -> None:
        self.inner.delete_audience(audience)


def held(destination: AddOnly | Memory) -> set[str]:
    memory = destination if isinstance(destination, Memory) else destination.inner
    return memory.audiences.values(AUDIENCE, "email")


def test_who_cannot_be_taken_out_is_left_out_of_a_list_that_replaces_it(worlds: Worlds) -> None:
    world, destination = worlds("[remove_member, replace_list, manual]"), Replacing()
    world.fill(range(6))
    world.run(destination)
    world.withdraw([1, 4])
    result = world.run(destination)
    assert (result.status, result.removes, result.rejected) == ("ok", 2, 0)
    assert held(destination) == {email(n) for n in (0, 2, 3, 5)}
    assert (tasks(world.store), deadletters.letters(world.store)) == ([], [])
    again = world.run(destination)
    assert (again.adds, again.updates, again.removes) == (0, 0, 0)


def test_nobody_without_consent_is_in_a_list_that_replaces_another(worlds: Worlds) -> None:
    world, destination = worlds("[replace_list]"), Replacing()
    world.fill(range(4))
    world.run(destination)
    world.withdraw([0])
    world.decide()
    world.withdraw([1])
    world.deliver(destination)
    world.run(destination)
    assert held(destination) == {email(2), email(3)}


def test_a_list_may_be_replaced_by_nobody(worlds: Worlds) -> None:
    world, destination = worlds("[replace_list]"), Replacing()
    world.fill(range(3))
    world.run(destination)
    world.withdraw(range(3))
    assert world.run(destination).status == "ok"
    assert held(destination) == set()


def test_an_audience_is_deleted_when_nothing_else_helps_and_the_sync_says_so(worlds: Worlds) -> None:
    world, destination = worlds("[remove_member, replace_list, delete_audience, manual]"), Deleting()
    world.fill(range(3))
    world.run(destination)
    world.withdraw([2])
    result = world.run(destination)
    assert (result.status, "was deleted" in result.message) == ("failed", True)
    assert held(destination) == set()
    assert world.warehouse.count("delivery.ack") == 0
    assert "audience.deleted" in world.log()


def test_what_no_call_can_do_is_a_task_with_a_deadline(worlds: Worlds) -> None:
    world, destination = worlds("[remove_member, manual]"), AddOnly()
    world.fill(range(3))
    world.run(destination)
    world.withdraw([1])
    world.run(destination)
    world.run(destination)
    [task] = tasks(world.store)
    assert (task.person_id, task.audience, task.state, task.is_overdue) == (person(1), AUDIENCE, "open", False)
    assert datetime.fromisoformat(task.due_at) - datetime.fromisoformat(task.created_at) == DEADLINE
    assert "example.com" not in repr(task) + world.log()


def test_a_task_that_somebody_did_lets_the_ledger_go_of_the_person(worlds: Worlds) -> None:
    world, destination = worlds("[manual]"), AddOnly()
    world.fill(range(3))
    world.run(destination)
    world.withdraw([1])
    world.run(destination)
    [task] = tasks(world.store)
    assert finish(world.warehouse, world.store, task.task_id, by="operator") is not None
    assert finish(world.warehouse, world.store, task.task_id) is None
    result = world.run(destination)
    assert (result.removes, tasks(world.store)) == (0, [])
    assert [(one.state, one.closed_by) for one in tasks(world.store, closed=True)] == [("done", "operator")]


def test_a_removal_that_is_refused_becomes_a_task_until_it_succeeds(worlds: Worlds) -> None:
    world, destination = worlds("[remove_member, manual]"), failing(Failure(kind="reject", call=2, code="too_small"))
    world.fill(range(2))
    world.run(destination)
    world.withdraw([0])
    world.run(destination)
    assert [task.person_id for task in tasks(world.store)] == [person(0)]
    world.run(destination)
    assert held(destination) == {email(1)}
    assert tasks(world.store) == []
    assert [one.state for one in tasks(world.store, closed=True)] == ["obsolete"]


def test_a_task_ends_when_the_person_says_yes_again(worlds: Worlds) -> None:
    world, destination = worlds("[manual]"), AddOnly()
    world.fill(range(2))
    world.run(destination)
    world.withdraw([0])
    world.run(destination)
    world.grant([0])
    world.run(destination)
    assert tasks(world.store) == []


def test_a_pause_does_not_push_anybody_up_the_ladder(worlds: Worlds) -> None:
    world = worlds("[remove_member, replace_list, delete_audience, manual]")
    destination = failing(Failure(kind="retry", call=2, after=900))
    world.fill(range(3))
    world.run(destination)
    world.withdraw([0])
    assert world.run(destination).status == "paused"
    assert held(destination) == {email(n) for n in range(3)}
    assert world.run(destination).status == "ok"
    assert held(destination) == {email(1), email(2)}


def test_who_only_left_the_segment_is_never_a_reason_to_replace_or_delete(worlds: Worlds) -> None:
    world, destination = worlds("[replace_list, delete_audience]"), Deleting()
    world.fill(range(4))
    world.run(destination, sync())
    world.leave([0])
    world.run(destination)
    assert held(destination) == {email(n) for n in range(4)}
