"""Deliver in a process of its own that is killed at a named point; run by test_crash.py.

    python killed.py <folder> <point> <batch>

The collaborators given to `deliver` kill the process: the log when an event is written, the destination around
its effect, the warehouse inside or just after the transaction that folds.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from delivery_world import World, sync

from consentry.audit import AuditLog
from consentry.connectors.base import Outcome
from consentry.model.batch import Batch
from consentry.testing.memory import Memory, MemoryConfig
from consentry.warehouse import DuckDBWarehouse

BATCH = 5


def die() -> None:
    """Die at once, as from `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Die when the named point is passed for the n-th time."""

    def __init__(self, point: str, number: int) -> None:
        self.point, self.left = point, number

    def passed(self, point: str) -> None:
        if point == self.point:
            self.left -= 1
            if not self.left:
                die()


class KilledLog(AuditLog):
    countdown: Countdown

    def append(self, action: str, *more: Any, **facts: Any) -> int:
        number = super().append(action, *more, **facts)
        self.countdown.passed(f"after {action}")
        return number


class KilledDestination(Memory):
    countdown: Countdown

    def write(self, batch: Batch) -> Iterator[Outcome]:
        return self._killed(batch, super().write)

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        return self._killed(batch, super().remove)

    def _killed(self, batch: Batch, send: Any) -> Iterator[Outcome]:
        self.countdown.passed("before effect")
        outcomes = []
        for outcome in send(batch):
            self.countdown.passed("amid effect")
            outcomes.append(outcome)
        self.countdown.passed("after effect")
        yield from outcomes


class KilledWarehouse(DuckDBWarehouse):
    countdown: Countdown | None = None

    def sql(self, query: str, **params: Any) -> pa.Table:
        if self.countdown and query.startswith("INSERT INTO delivery.ack"):
            self.countdown.passed("amid fold")
        return super().sql(query, **params)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with super().transaction():
            yield
        if self.countdown:
            self.countdown.passed("after fold")


def main(folder: Path, point: str, number: int) -> None:
    countdown = Countdown(point, number)
    KilledLog.countdown = KilledDestination.countdown = countdown
    warehouse = KilledWarehouse(folder / "warehouse.duckdb", threads=1)
    world = World(folder, warehouse=warehouse, audit=KilledLog(folder / "audit"))
    world.decide(sync())
    KilledWarehouse.countdown = countdown
    world.deliver(KilledDestination(MemoryConfig(path=folder / "effects.jsonl", batch_max=BATCH)))
    world.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
