"""Read ISO 8601 durations such as P13M or PT5M, and step back in time by them."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_SHAPE = re.compile(
    r"P(?=.)(?:(?P<years>\d{1,3})Y)?(?:(?P<months>\d{1,4})M)?(?:(?P<weeks>\d{1,4})W)?(?:(?P<days>\d{1,5})D)?"
    r"(?:T(?=.)(?:(?P<hours>\d{1,5})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,8})S)?)?"
)


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of calendar months and of exact seconds."""

    months: int = 0
    seconds: int = 0

    def before(self, instant: datetime) -> datetime:
        """Return the instant this span earlier; the day is cut to the length of the month it falls into."""
        count = instant.year * 12 + instant.month - 1 - self.months
        year, month = divmod(count, 12)
        day = min(instant.day, calendar.monthrange(year, month + 1)[1])
        return instant.replace(year=year, month=month + 1, day=day) - timedelta(seconds=self.seconds)

    @property
    def span(self) -> timedelta:
        """Return the span as a fixed one, thirty days a month."""
        return timedelta(days=30 * self.months, seconds=self.seconds)

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read an ISO 8601 duration; raises ValueError for anything else and for a span of nothing."""
        match = _SHAPE.fullmatch(text)
        if match is None:
            raise ValueError("write a duration as in ISO 8601: P13M (13 months), P30D (30 days), PT5M (5 minutes)")
        part = {name: int(number or 0) for name, number in match.groupdict().items()}
        days = part["weeks"] * 7 + part["days"]
        seconds = ((days * 24 + part["hours"]) * 60 + part["minutes"]) * 60 + part["seconds"]
        return cls(part["years"] * 12 + part["months"], seconds)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let a model take a duration as text or as it is."""
        return core_schema.no_info_plain_validator_function(_as_duration)


def _as_duration(value: object) -> Duration:
    if isinstance(value, Duration):
        return value
    if not isinstance(value, str):
        raise ValueError("write a duration as in ISO 8601: P13M (13 months), P30D (30 days), PT5M (5 minutes)")
    return Duration.parse(value)
