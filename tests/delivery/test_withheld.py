"""An audience of too few people, or a change that names somebody, is held back; a withdrawal never is."""

from __future__ import annotations

from dataclasses import replace

from delivery_world import AUDIENCE, World, email, sync

from consentry.delivery import Sync
from consentry.testing.memory import Memory, MemoryConfig


def limited(world: World, **limits: int) -> None:
    """Set limits of the policy's destination."""
    file = world.gate.policy.file
    mail = file.destinations["mail"].model_copy(update=limits)
    world.gate.policy = replace(world.gate.policy, file=file.model_copy(update={"destinations": {"mail": mail}}))


def held(destination: Memory) -> set[str]:
    """Return the addresses in the audience."""
    return destination.audiences.values(AUDIENCE, "email")


def test_t52_an_audience_of_three_is_not_sent(world: World) -> None:
    limited(world, min_segment=4)
    world.fill(range(3))
    destination = Memory(MemoryConfig())
    result = world.run(destination)
    assert (result.status, result.adds, result.api_calls) == ("ok", 0, 0)
    assert "fewer than 4 people" in result.message
    assert "3" not in result.message
    assert "suppressed_small" in world.log()
    world.fill([3])
    assert world.run(destination).adds == 4


def test_t52_an_audience_that_becomes_small_loses_only_who_withdrew(world: World) -> None:
    limited(world, min_segment=8)
    world.fill(range(10))
    destination = Memory(MemoryConfig())
    world.run(destination)
    world.leave([0, 1])
    world.withdraw([2])
    world.change([3], "premium")
    result = world.run(destination)
    assert (result.removes, result.updates, result.adds) == (1, 0, 0)
    assert held(destination) == {email(n) for n in range(10) if n != 2}


def test_t52_an_audience_that_ends_is_emptied(world: World) -> None:
    limited(world, min_segment=3)
    world.fill(range(5))
    destination = Memory(MemoryConfig())
    world.run(destination)
    world.leave(range(5))
    assert world.run(destination, allow=["insiders_mail.empty_segment"]).removes == 5


def test_t53_a_change_of_one_person_waits_until_it_is_one_of_several(world: World) -> None:
    limited(world, min_change=3)
    world.fill(range(10))
    destination = Memory(MemoryConfig())
    world.run(destination)
    world.fill([10])
    world.change([4], "premium")
    result = world.run(destination)
    assert (result.adds, result.updates) == (0, 1)
    assert "small_change" in world.log()
    world.fill([11])
    world.leave([0])
    result = world.run(destination)
    assert (result.adds, result.removes) == (2, 1)


def test_t53_a_withdrawal_never_waits(world: World) -> None:
    limited(world, min_change=5)
    world.fill(range(10))
    destination = Memory(MemoryConfig())
    world.run(destination)
    world.withdraw([7])
    assert world.run(destination).removes == 1


def test_a_sync_without_limits_is_brought_in_step(world: World) -> None:
    world.fill([0])
    one: Sync = sync()
    assert world.run(Memory(MemoryConfig()), one).adds == 1
