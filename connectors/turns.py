"""When a call of an account may go out: what is declared for it, and what its vendor's answers say."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from consentry.connectors.quota import Limit, Quota, quota
from consentry.connectors.room import Room


class Turns:
    """The quotas of one account, by operation, shared with everybody in this process who calls it.

    account: the vendor and the account. limits: what is declared, by operation; "" is for calls that name none.
    room: reads from an answer's headers how long to wait before the next call. clock: seconds of any fixed origin.
    """

    def __init__(
        self, account: str, limits: Mapping[str, Sequence[Limit]], *, room: Room, clock: Callable[[], float]
    ) -> None:
        self._account, self._limits, self._room, self._clock = account, limits, room, clock

    def take(self, operation: str) -> float:
        """Take a turn, and return how many seconds to wait for it."""
        return self._quota(operation).reserve(self._clock())

    def listen(self, operation: str, headers: Mapping[str, str]) -> None:
        """Make everybody who calls this account wait when an answer says that nothing is left."""
        wait = self._room(headers, time.time())
        if wait > 0:
            self._quota(operation).hold(self._clock() + wait)

    def slow_down(self, operation: str, after: float | None) -> None:
        """Make everybody who calls this account wait as long as was asked, and go more slowly then."""
        now, shared = self._clock(), self._quota(operation)
        shared.refused(now)
        if after:
            shared.hold(now + after)

    def _quota(self, operation: str) -> Quota:
        return quota(self._account, operation, self._limits.get(operation, ()))
