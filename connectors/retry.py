"""When a failed call is tried again, and how long to wait before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tenacity import RetryCallState, wait_random_exponential

# Answers that say nothing about the request itself; everything else is final.
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
# Of these the request was certainly not carried out.
TURNED_AWAY = frozenset({425, 429})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patient a client is.

    attempts: tries in all. base, cap: seconds; the n-th wait is drawn evenly from 0 to min(cap, base * 2^n)
    ("full jitter", AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
    max_wait: the longest wait, in seconds, that a server may ask for; beyond it the run pauses instead.
    """

    attempts: int = 6
    base: float = 0.5
    cap: float = 30.0
    max_wait: float = 120.0


class Transient(Exception):
    """A call that failed in a way that passes.

    after: what the server asked to wait, in seconds. doubtful: whether it may have taken effect all the same.
    turned_away: whether it was one call too many.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        after: float | None = None,
        doubtful: bool = False,
        turned_away: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason, self.status, self.after = reason, status, after
        self.doubtful, self.turned_away = doubtful, turned_away


def retry_after(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header (RFC 9110, section 10.2.3): seconds, or an HTTP date; None when it says nothing."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _until(value, now)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(value: str, now: datetime) -> float | None:
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


class AsAsked:
    """Wait as long as the server asked, else with jittered exponential backoff."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._backoff = wait_random_exponential(multiplier=policy.base, max=policy.cap)

    def __call__(self, state: RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        asked = failure.after if isinstance(failure, Transient) else None
        return self._backoff(state) if asked is None else asked
