"""Understand one answer of Google Analytics' runReport: its rows, what is incomplete about them, what it cost.

Source: discovery document analyticsdata v1beta (RunReportResponse, ResponseMetaData, PropertyQuota).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa

from consentry.errors import RetryLater, SourceFailed

# What stands beside each row about the report it is from.
FLAGS = {
    "other_row": pa.bool_(),
    "thresholded": pa.bool_(),
    "sampled": pa.bool_(),
    "samples_read": pa.int64(),
    "sampling_space": pa.int64(),
    "time_zone": pa.string(),
    "currency": pa.string(),
}
# Seconds after which each quota is full again.
_REFILLED = {"tokensPerDay": 86_400.0, "tokensPerHour": 3_600.0, "tokensPerProjectPerHour": 3_600.0}
_THRESHOLDED = "potentiallyThresholdedRequestsPerHour"


@dataclass(frozen=True, slots=True)
class Report:
    """One page of a report. total: rows of the whole report; zone: of the property's days."""

    names: tuple[str, ...]
    values: list[list[str]] = field(repr=False)
    total: int
    zone: str
    flags: Mapping[str, Any]
    quota: Mapping[str, Any]

    @classmethod
    def read(cls, body: Any) -> Report:
        """Read an answer; raises SourceFailed when it is of another shape."""
        try:
            about = body.get("metadata", {})
            names = [one["name"] for one in (*body.get("dimensionHeaders", []), *body.get("metricHeaders", []))]
            values = [
                [one["value"] for one in (*row.get("dimensionValues", []), *row.get("metricValues", []))]
                for row in body.get("rows", [])
            ]
            zone = str(about.get("timeZone", ""))
            ZoneInfo(zone)
            return cls(
                tuple(names), values, int(body.get("rowCount", 0)), zone, _flags(about), body.get("propertyQuota", {})
            )
        except (AttributeError, KeyError, TypeError, ValueError, ZoneInfoNotFoundError):
            pass
        raise SourceFailed(
            "Google Analytics answered in a shape that is not its own. Check base_url.", code="bad_answer"
        )

    def remarks(self, name: str) -> list[str]:
        """Return a sentence about each way in which this report is incomplete."""
        found = []
        if self.flags["other_row"]:
            found.append(f"Report {name!r} puts rare rows together as (other); ask for fewer dimensions.")
        if self.flags["thresholded"]:
            found.append(f"Report {name!r} leaves out rows of few people (thresholding).")
        if self.flags["sampled"]:
            read, space = self.flags["samples_read"], self.flags["sampling_space"]
            found.append(f"Report {name!r} is estimated from a sample ({read:,} of {space:,} events).")
        return found


def rows_of(report: Report) -> list[dict[str, Any]]:
    """Return the rows with the report's flags beside them; dates as yyyy-mm-dd."""
    found = []
    for values in report.values:
        row: dict[str, Any] = {**dict(zip(report.names, values, strict=True)), **report.flags}
        day = row["date"]
        found.append({**row, "date": f"{day[:4]}-{day[4:6]}-{day[6:]}", "time_zone": report.zone})
    return found


class Quotas:
    """What is left of the property's quotas, as the last answer told it."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[int, int]] = {}
        self._thresholded_left: int | None = None

    def note(self, quota: Mapping[str, Any]) -> None:
        """Take in what an answer says of each quota: what it cost and what remains."""
        for name in _REFILLED:
            one = quota.get(name) or {}
            if "remaining" in one:
                self._left[name] = int(one.get("consumed", 0)), int(one["remaining"])
        thresholded = quota.get(_THRESHOLDED) or {}
        self._thresholded_left = thresholded.get("remaining")

    def await_next(self) -> None:
        """Raise RetryLater when a request like the last one would overdraw a quota.

        A request that overdraws fails, and failures count against a quota of their own.
        """
        short = [name for name, (cost, remaining) in self._left.items() if remaining < max(cost, 1)]
        if self._thresholded_left is not None and self._thresholded_left <= 0:
            short.append(_THRESHOLDED)
        if not short:
            return
        after = max(_REFILLED.get(name, 3_600.0) for name in short)
        self._left, self._thresholded_left = {}, None
        raise RetryLater(
            f"The property's quota {short[0]} is used up. Run again in {after / 3600:.0f} h; the run goes on where it "
            "stopped.",
            after=after,
            code="quota",
        )


def _flags(about: Mapping[str, Any]) -> dict[str, Any]:
    samples = about.get("samplingMetadatas") or []
    return {
        "other_row": bool(about.get("dataLossFromOtherRow")),
        "thresholded": bool(about.get("subjectToThresholding")),
        "sampled": bool(samples),
        "samples_read": sum(int(one.get("samplesReadCount", 0)) for one in samples) if samples else None,
        "sampling_space": sum(int(one.get("samplingSpaceSize", 0)) for one in samples) if samples else None,
        "currency": about.get("currencyCode"),
    }
