"""Fixed-window rate limits, counted per operation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests in a window of so many seconds; `name` is the vendor's word for the window."""

    requests: int
    seconds: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """What is left of a limit after a request, and after how many seconds it is full again."""

    limit: Limit
    remaining: int
    reset: float


class Limiter:
    """Counts requests against limits.

    Windows are fixed and begin with the first request in them, as Klaviyo describes its own
    (developers.klaviyo.com, rate limits, status codes and errors).
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._used: dict[tuple[str, Limit], tuple[float, int]] = {}

    def take(self, operation: str, limits: tuple[Limit, ...]) -> list[Window]:
        """Count one request; a window whose `remaining` is below zero was exceeded by it."""
        now = self._clock()
        return [self._take(operation, limit, now) for limit in limits]

    def _take(self, operation: str, limit: Limit, now: float) -> Window:
        begun, used = self._used.get((operation, limit), (now, 0))
        if now - begun >= limit.seconds:
            begun, used = now, 0
        self._used[operation, limit] = begun, used + 1
        return Window(limit, limit.requests - used - 1, limit.seconds - (now - begun))

    def clear(self) -> None:
        """Forget every request."""
        self._used.clear()


def exceeded(windows: list[Window]) -> Window | None:
    """Return the exceeded window that opens last, if any."""
    spent = [window for window in windows if window.remaining < 0]
    return max(spent, key=lambda window: window.reset, default=None)


def whole_seconds(window: Window) -> int:
    """Return the seconds until a window opens, rounded up, at least 1."""
    return max(1, math.ceil(window.reset))
