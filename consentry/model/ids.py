"""Person, run and batch ids: UUID version 7 (RFC 9562), ordered by time, never derived from personal data."""

from __future__ import annotations

import os
import time
import uuid
from typing import NewType

PersonId = NewType("PersonId", str)
RunId = NewType("RunId", str)


def uuid7s(count: int, *, at_ms: int | None = None) -> list[str]:
    """Make `count` UUIDv7 strings that sort in the order they are returned.

    at_ms: Unix time in milliseconds, now when absent. The 74 random bits count upwards inside one call
    (RFC 9562, section 6.2, method 2), so that a million ids of one millisecond still sort.
    """
    millis = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    first = int.from_bytes(os.urandom(9)) >> 1  # 71 bits: room to count without overflowing 74
    return [str(uuid.UUID(int=_assemble(millis, first + n))) for n in range(count)]


def _assemble(millis: int, tail: int) -> int:
    high, low = tail >> 62, tail & (1 << 62) - 1
    return millis << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low


def new_run_id() -> RunId:
    """Name a run; later runs sort after earlier ones."""
    return RunId(uuid7s(1)[0])
