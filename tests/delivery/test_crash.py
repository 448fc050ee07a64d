"""Tests with real kills: whatever the instant, the next run ends with exactly the right members."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from delivery_world import AUDIENCE, World, email

from consentry.audit import verify
from consentry.store.tables import delivery_batch
from consentry.testing.memory import Audiences, Memory, MemoryConfig

# Where the process dies, and the how-manieth time it passes there.
POINTS = [
    ("after egress.decide", 2),  # before the journal
    ("before effect", 1),  # journalled, not sent
    pytest.param(*("amid effect", 3), marks=pytest.mark.slow),
    ("after effect", 2),  # sent, its outcomes lost
    ("after egress.sent", 2),  # outcomes committed, not in the ledger
    pytest.param(*("amid fold", 1), marks=pytest.mark.slow),
    pytest.param(*("after fold", 2), marks=pytest.mark.slow),  # in the ledger, the journal does not know
]


def _killed(folder: Path, point: str, number: int) -> None:
    script = Path(__file__).parent / "killed.py"
    command = [sys.executable, str(script), str(folder), point, str(number)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def _resumed(folder: Path, expected: set[str]) -> None:
    world = World(folder)
    destination = Memory(MemoryConfig(path=folder / "effects.jsonl", batch_max=5))
    result = world.run(destination)
    again = world.run(destination)
    with world.store.begin() as connection:
        states = {row.state for row in connection.execute(delivery_batch.select())}
    acknowledged = world.warehouse.count("delivery.ack")
    world.close()
    audiences = Audiences.read(folder / "effects.jsonl")
    assert result.status == "ok"
    assert audiences.values(AUDIENCE, "email") == expected
    assert len(audiences.members(AUDIENCE)) == len(expected) == acknowledged
    assert (again.adds, again.updates, again.removes, again.api_calls) == (0, 0, 0, 0)
    assert states == {"folded"}
    assert verify(folder / "audit").ok


def _filled(folder: Path) -> None:
    world = World(folder)
    world.fill(range(12))
    world.close()


@pytest.mark.parametrize(("point", "number"), POINTS)
def test_a_killed_first_sync_is_completed_by_the_next_run(tmp_path: Path, point: str, number: int) -> None:
    _filled(tmp_path)
    _killed(tmp_path, point, number)
    _resumed(tmp_path, {email(n) for n in range(12)})


@pytest.mark.parametrize("point", ["after effect", pytest.param("after egress.sent", marks=pytest.mark.slow)])
def test_who_withdraws_after_a_kill_is_not_left_in_the_audience(tmp_path: Path, point: str) -> None:
    _filled(tmp_path)
    _killed(tmp_path, point, 1)
    world = World(tmp_path)
    world.withdraw(range(6))
    world.close()
    _resumed(tmp_path, {email(n) for n in range(6, 12)})


@pytest.mark.parametrize(
    ("point", "number"), [("amid effect", 2), pytest.param("after fold", 2, marks=pytest.mark.slow)]
)
def test_a_killed_second_sync_removes_and_changes_exactly_once(tmp_path: Path, point: str, number: int) -> None:
    _filled(tmp_path)
    world = World(tmp_path)
    world.run(Memory(MemoryConfig(path=tmp_path / "effects.jsonl", batch_max=5)))
    world.withdraw([0, 1, 2])
    world.leave([3])
    world.change([4, 5], "gold")
    world.close()
    _killed(tmp_path, point, number)
    _resumed(tmp_path, {email(n) for n in range(4, 12)})


@pytest.mark.slow
def test_killed_again_and_again_it_still_ends_right(tmp_path: Path) -> None:
    _filled(tmp_path)
    for point in ("after egress.decide", "before effect", "amid effect", "after effect"):
        _killed(tmp_path, point, 1)
    _resumed(tmp_path, {email(n) for n in range(12)})
