"""How often an account may be called: one quota an account, shared by all who use it in this process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `calls` calls in any `seconds` seconds."""

    calls: int
    seconds: float


@dataclass(slots=True)
class _Window:
    limit: Limit
    taken: deque[float] = field(default_factory=deque)

    def free_at(self, now: float) -> float:
        if len(self.taken) < self.limit.calls:
            return now
        return self.taken[-self.limit.calls] + self.limit.seconds

    def take(self, at: float) -> None:
        self.taken.append(at)
        while len(self.taken) > self.limit.calls:
            self.taken.popleft()


class Quota:
    """Hand out the instants at which calls may be made, oldest first, exact over any sliding window."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._windows = [_Window(limit) for limit in limits]
        self._lock = threading.Lock()
        self._not_before = float("-inf")

    def reserve(self, now: float) -> float:
        """Take the next free call and return how many seconds to wait for it. now: seconds, any fixed origin."""
        with self._lock:
            at = max([now, self._not_before, *(window.free_at(now) for window in self._windows)])
            for window in self._windows:
                window.take(at)
            return at - now

    def hold(self, until: float) -> None:
        """Let nobody call before `until`: the vendor asked one of us to wait, and meant all."""
        with self._lock:
            self._not_before = max(self._not_before, until)


_slots: dict[str, threading.BoundedSemaphore] = {}
_quotas: dict[tuple[str, str], Quota] = {}
_quotas_lock = threading.Lock()


def quota(account: str, operation: str, limits: Sequence[Limit]) -> Quota:
    """Return the quota of an account for one kind of call; the first to ask sets its limits."""
    with _quotas_lock:
        return _quotas.setdefault((account, operation), Quota(limits))


def slots(account: str, at_once: int) -> threading.BoundedSemaphore:
    """Return what bounds the calls of an account that are under way at once; the first to ask sets how many."""
    with _quotas_lock:
        return _slots.setdefault(account, threading.BoundedSemaphore(at_once))
