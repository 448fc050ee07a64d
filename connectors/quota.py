"""How often an account may be called: one quota an account, shared by all who use it in this process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from consentry.connectors.pace import Pace

# What is learned about an account without declared limits, and recovery where they span more than this: seconds.
SHORT = 10.0


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `calls` calls in any `seconds` seconds."""

    calls: int
    seconds: float


@dataclass(slots=True)
class _Window:
    limit: Limit
    taken: deque[float] = field(default_factory=deque)

    def free_at(self, now: float, share: float) -> float:
        calls = max(1, int(self.limit.calls * share))
        if len(self.taken) < calls:
            return now
        return self.taken[-calls] + self.limit.seconds

    def take(self, at: float) -> None:
        self.taken.append(at)
        while len(self.taken) > self.limit.calls:
            self.taken.popleft()


class Quota:
    """Hand out the instants at which calls may be made, oldest first, exact over any sliding window.

    A refusal slows all of it down for a while, and what was not declared is learned from it.
    """

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._windows = [_Window(limit) for limit in limits]
        self._lock = threading.Lock()
        self._not_before = float("-inf")
        self._pace = Pace(min([limit.seconds for limit in limits], default=SHORT))
        self._recent = deque[float]() if not limits else None

    def reserve(self, now: float) -> float:
        """Take the next free call and return how many seconds to wait for it. now: seconds, any fixed origin."""
        with self._lock:
            share = self._pace.at(now)
            at = max([now, self._not_before, *(window.free_at(now, share) for window in self._windows)])
            for window in self._windows:
                window.take(at)
            self._remember(at)
            return at - now

    def hold(self, until: float) -> None:
        """Let nobody call before `until`: the vendor asked one of us to wait, and meant all."""
        with self._lock:
            self._not_before = max(self._not_before, until)

    def refused(self, now: float) -> None:
        """Call more slowly: the account was called once too often."""
        with self._lock:
            if self._pace.refused(now) and self._recent is not None:
                calls = sum(now - SHORT < at <= now for at in self._recent)
                # One call that is refused tells nothing about a rate.
                self._windows = [_Window(Limit(calls, SHORT))] if calls > 1 else []

    def _remember(self, at: float) -> None:
        """Note a call of an account without declared limits: its rate is what a refusal is learned from."""
        if self._recent is None:
            return
        self._recent.append(at)
        while self._recent[0] <= at - SHORT:
            self._recent.popleft()
        # As fast again as before: what was learned may be out of date.
        if self._windows and self._pace.share >= 1:
            self._windows = []


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
