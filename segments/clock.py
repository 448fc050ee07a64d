"""Turn windows, instants and days into microseconds since 1970: one measure of time for every way of evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from consentry.segments import ast

MICROS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BEGINNING = -(2**62)


def micros(instant: datetime | date) -> int:
    """Return microseconds since 1970 in UTC. A date is its midnight in UTC; an instant without zone is UTC."""
    if not isinstance(instant, datetime):
        instant = datetime.combine(instant, time(), UTC)
    elif instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    gap = instant - _EPOCH
    return (gap.days * 86_400 + gap.seconds) * MICROS + gap.microseconds


@dataclass(frozen=True, slots=True)
class Clock:
    """The one `now` of a run, and the zone in which its days begin."""

    now: datetime
    zone: ZoneInfo

    @property
    def now_us(self) -> int:
        return micros(self.now)

    def ago(self, seconds: int) -> int:
        """Return the instant that lies `seconds` before now."""
        return self.now_us - seconds * MICROS

    def bounds(self, window: ast.Window | None) -> tuple[int, int]:
        """Return the first and the last instant of a window, both included; never later than now."""
        match window:
            case ast.Last(duration):
                return self.ago(duration.seconds), self.now_us
            case ast.CalendarDays(days):
                today = self.now.astimezone(self.zone).date()
                return self.midnight(today - timedelta(days=days - 1)), self.now_us
            case ast.BetweenAgo(low, high, unit):
                return self.ago(high * ast.SECONDS[unit]), self.ago(low * ast.SECONDS[unit])
            case ast.Since(day):
                return self.midnight(day), self.now_us
            case ast.AnyWindow() | None:
                return BEGINNING, self.now_us

    def day(self, instant_us: int) -> date:
        """Return the day of an instant, in the zone."""
        return (_EPOCH + timedelta(microseconds=instant_us)).astimezone(self.zone).date()

    def next_midnight(self) -> int:
        """Return when the day after today begins, in the zone."""
        return self.midnight(self.day(self.now_us) + timedelta(days=1))

    def midnight(self, day: date) -> int:
        """Return when a day begins, in the zone."""
        return micros(datetime.combine(day, time(), self.zone).astimezone(UTC))
