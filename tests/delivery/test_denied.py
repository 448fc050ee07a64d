"""Who is erased, or merged into somebody who refuses, is taken out in every mode and whatever the guards say."""

from __future__ import annotations

from pathlib import Path

import pytest
from delivery_world import AUDIENCE, World, email, person, sync

from consentry.testing.memory import Memory, MemoryConfig
from consentry.warehouse import DuckDBWarehouse
from consentry.warehouse.people import PERSON


def become(world: World, number: int, status: str, into: int | None = None) -> None:
    """Let a person be gone as the resolution of identities leaves it."""
    gone = person(number)
    world.warehouse.sql(
        "CREATE TABLE IF NOT EXISTS"
        f" identity.person (person_id {PERSON}, status TEXT, merged_into {PERSON}, created_run TEXT)"
    )
    heir = None if into is None else person(into)
    world.warehouse.sql(
        "INSERT INTO identity.person VALUES ($gone, $status, $heir, 'run-0')", gone=gone, status=status, heir=heir
    )
    for table in ("identity.golden", "identity.membership", "segment.membership"):
        world.warehouse.sql(f"DELETE FROM {table} WHERE person_id = $gone", gone=gone)


@pytest.mark.parametrize("mode", ["mirror", "upsert", "update_only"])
def test_the_erased_and_those_merged_into_who_refuses_are_taken_out_in_every_mode(tmp_path: Path, mode: str) -> None:
    world = World(tmp_path, warehouse=DuckDBWarehouse(threads=1))
    world.fill(range(7))
    memory = Memory(MemoryConfig())
    world.run(memory)
    become(world, 0, "erased")
    become(world, 1, "merged", into=2)
    become(world, 2, "split", into=3)
    become(world, 4, "merged", into=0)
    become(world, 5, "merged", into=6)
    world.withdraw([3])
    result = world.run(memory, sync(mode=mode, guards={"max_deletes": 1, "max_delete_pct": 100}))
    # Nobody refused for the last but one: under a mode that removes nobody who left, that name stays.
    stay = {email(6)} if mode == "mirror" else {email(5), email(6)}
    assert (result.status, memory.audiences.values(AUDIENCE, "email")) == ("ok", stay)
    world.close()
