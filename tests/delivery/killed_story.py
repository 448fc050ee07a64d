"""Deliver once in a process of its own that is killed at a named point; run by test_killed_laws.py.

    python killed_story.py <folder> <how as JSON>

how: point and number (where it dies, and the how-manieth time it passes there; "" for nowhere), stubborn (people whose
removal the destination refuses), polls (how often it is asked until what it took is said to be applied; 0 for at
once), noticing (whether it would notice a repetition).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from delivery_world import POLICY, World, sync
from killed import Countdown, KilledLog, KilledWarehouse

from consentry.connectors.base import Outcome, Rejected
from consentry.model.batch import Batch
from consentry.testing.failing import Failing, FailingConfig, Failure

LADDER = POLICY.replace("    min_segment: 0\n", "    min_segment: 0\n    on_withdraw: [remove_member, replace_list]\n")
SYNC = sync(batch_size=3)


@dataclass(frozen=True)
class How:
    """How one run goes wrong."""

    point: str = ""
    number: int = 1
    stubborn: tuple[str, ...] = ()
    polls: int = 0
    noticing: bool = False


class Dying(Failing):
    """A destination in whose calls the process may die."""

    countdown: Countdown
    how: How

    def write(self, batch: Batch) -> Iterator[Outcome]:
        return self._dying(super().write(batch))

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        taken = iter(list(super().remove(replace(batch, rows=self._willing(batch)))))
        return self._dying(
            Rejected("too_small") if row.person_id in self.how.stubborn else next(taken) for row in batch.rows
        )

    def replace(self, batch: Batch) -> Iterator[Outcome]:
        return self._dying(super().replace(batch))

    def poll(self, job: str, batch: Batch) -> list[Outcome] | None:
        self.countdown.passed("before poll")
        found = super().poll(job, batch)
        self.countdown.passed("after poll")
        return found

    def _willing(self, batch: Batch) -> tuple[object, ...]:
        return tuple(row for row in batch.rows if row.person_id not in self.how.stubborn)

    def _dying(self, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        self.countdown.passed("before effect")
        for outcome in list(outcomes):
            self.countdown.passed("amid effect")
            yield outcome
        self.countdown.passed("after effect")


def destination(folder: Path, how: How) -> Failing:
    """Return the destination, which keeps its effects in a file."""
    late = (Failure(kind="pending", polls=how.polls),) if how.polls else ()
    Dying.how, Dying.countdown = how, Countdown(how.point, how.number)
    made = Dying(FailingConfig(path=folder / "effects.jsonl", batch_max=3, schedule=late))
    made.capabilities = replace(made.capabilities, idempotent=not how.noticing)
    return made


def main(folder: Path, how: How) -> None:
    countdown = Countdown(how.point, how.number)
    warehouse = KilledWarehouse(folder / "warehouse.duckdb", threads=1)
    KilledLog.countdown = countdown
    world = World(folder, warehouse=warehouse, audit=KilledLog(folder / "audit"), policy=LADDER)
    world.decide(SYNC)
    there = destination(folder, how)
    Dying.countdown = KilledWarehouse.countdown = countdown
    world.deliver(there, SYNC, allow=["insiders_mail.empty_segment"])
    KilledWarehouse.countdown = None
    world.close()


if __name__ == "__main__":
    told = json.loads(sys.argv[2])
    main(Path(sys.argv[1]), How(**{**told, "stubborn": tuple(told["stubborn"])}))
