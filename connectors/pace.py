"""How fast an account may be called now: slower after a refusal, and slowly back to what is declared.

The declared limits are the vendor's documentation; plans differ and others call the same account. A refusal cuts the
pace by 30 per cent; every two windows without one give 10 per cent of the limit back. These are the numbers of
RudderStack's adaptive throttler (rudder-server, router/throttler/internal/pickup/adaptive/algorithm, August 2026).
"""

from __future__ import annotations

from dataclasses import dataclass

CUT, BACK, LEAST = 0.7, 0.1, 0.05
CLEAN_WINDOWS = 2


@dataclass(slots=True)
class Pace:
    """A share of the declared limits, from LEAST to 1. window: seconds by which recovery is counted."""

    window: float
    share: float = 1.0
    _since: float = float("-inf")

    def refused(self, now: float) -> bool:
        """Slow down after a refusal; refusals of one window count as one. Return whether it slowed down."""
        if now - self._since < self.window:
            return False
        self.share, self._since = max(LEAST, self.share * CUT), now
        return True

    def at(self, now: float) -> float:
        """Return the share that may be used now; it grows while nothing is refused."""
        clean = CLEAN_WINDOWS * self.window
        while self.share < 1 and now - self._since >= clean:
            self.share, self._since = min(1.0, self.share + BACK), self._since + clean
        return self.share
