"""Tests of the limits within which a sync may change an audience."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from delivery_world import World, person, sync

from consentry.delivery import Difference, check_guards
from consentry.errors import Blocked
from consentry.testing.memory import Memory, MemoryConfig


def found(**counts: int) -> Difference:
    return replace(Difference(0, 0, 0, 0, 0, 0, 0, 0), **counts)


@pytest.mark.parametrize(
    ("guards", "counts", "guard"),
    [
        ({}, {"members": 70, "held": 100, "removes_left": 31}, "max_delete_pct"),
        ({}, {"members": 0, "held": 3, "removes_left": 3}, "empty_segment"),
        ({"max_deletes": 4}, {"members": 95, "held": 100, "removes_left": 5}, "max_deletes"),
        ({"max_creates": 10}, {"members": 11, "adds": 11}, "max_creates"),
    ],
)
def test_a_change_beyond_a_guard_is_blocked(guards: dict[str, int], counts: dict[str, int], guard: str) -> None:
    with pytest.raises(Blocked, match=f"--allow insiders_mail.{guard}") as caught:
        check_guards(sync(guards=guards), found(**counts))
    assert (caught.value.code, caught.value.exit_code) == (guard, 5)
    check_guards(sync(guards=guards), found(**counts), allow=[f"insiders_mail.{guard}"])


@pytest.mark.parametrize(
    "counts",
    [
        {"members": 2, "held": 10, "removes_left": 8},  # below the floor
        {"members": 70, "held": 100, "removes_left": 30},
        {"members": 100, "held": 100, "removes_consent": 100},
    ],
)
def test_small_changes_and_withdrawals_trip_no_guard(counts: dict[str, int]) -> None:
    check_guards(sync(guards={}), found(**counts))


def test_an_audience_below_its_minimum_is_not_sent() -> None:
    with pytest.raises(Blocked, match="min_size is 20"):
        check_guards(sync(min_size=20), found(members=9, desired=9, adds=9))


def test_a_source_that_shrinks_to_nothing_removes_nobody_but_who_withdrew(world: World) -> None:
    world.fill(range(20))
    destination = Memory(MemoryConfig())
    world.run(destination)
    world.leave(range(20))
    world.withdraw([4])
    result = world.run(destination)
    assert (result.status, result.removes) == ("blocked", 20)
    assert "empty_segment" in result.message
    assert len(destination.audiences.members("insiders")) == 19


def test_a_lost_key_empties_no_audience(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill(range(20))
    destination = Memory(MemoryConfig())
    strict = sync(guards={})
    world.run(destination, strict)
    world.close()
    (world.folder / "keys.json").unlink()
    again = World(world.folder)
    result = again.run(destination, strict)
    again.close()
    assert result.refused == {"no_record": 20}
    assert (result.status, len(destination.audiences.members("insiders"))) == ("blocked", 20)


def test_a_withdrawal_is_no_deletion_for_the_guards(world: World) -> None:
    world.fill(range(20))
    destination = Memory(MemoryConfig())
    world.run(destination, sync(guards={}))
    world.withdraw(range(15))
    result = world.run(destination, sync(guards={}))
    assert (result.status, result.removes, result.acknowledged) == ("ok", 15, 15)


def test_a_blocked_sync_goes_on_once_it_is_allowed(world: World) -> None:
    world.fill(range(20))
    destination, strict = Memory(MemoryConfig()), sync(guards={})
    world.run(destination, strict)
    world.leave(range(12))
    assert world.run(destination, strict).status == "blocked"
    result = world.run(destination, strict, allow=["insiders_mail.max_delete_pct"])
    assert (result.status, result.acknowledged) == ("ok", 12)
    assert person(0) not in str(world.warehouse.sql("SELECT * FROM delivery.ack").to_pylist())
