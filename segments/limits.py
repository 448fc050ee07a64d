"""The limits of a job's segments: how small, how alike, how many and how old they may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from consentry.config import Model
from consentry.segments.examples import seconds_of

PERCENT = re.compile(r"\s*(\d{1,3}(?:\.\d+)?)\s*%\s*")
Action = Literal["ignore", "warn", "block"]


def share_of(written: object) -> object:
    """Turn `1%` into 0.01; anything else is left as it is."""
    percent = PERCENT.fullmatch(written) if isinstance(written, str) else None
    return float(percent[1]) / 100 if percent else written


def _length(written: object) -> object:
    seconds = seconds_of(written) if isinstance(written, str) else None
    if not seconds:
        raise ValueError("a length of time is written as '15 minutes', '1 hour' or '2 days'")
    return seconds


Share = Annotated[float, BeforeValidator(share_of), Field(ge=0, le=1)]
Seconds = Annotated[int, BeforeValidator(_length)]


class Limits(Model):
    """`segment_limits:` of a job.

    min_share: of the population, for segments that state no minimum themselves. on_small, on_anomaly, on_stale: what
    happens to the syncs of such a segment. warn_syncs, max_syncs: per destination. overlap: the Jaccard index from
    which two segments are called alike. anomaly: robust standard deviations from the segment's own history.
    shown_from: counts below it are shown as `<k`.
    """

    min_share: Share = 0.01
    on_small: Action = "warn"
    on_anomaly: Action = "warn"
    on_stale: Action = "block"
    warn_syncs: int = Field(default=10, ge=1)
    max_syncs: int = Field(default=15, ge=1)
    overlap: Share = 0.5
    anomaly: float = Field(default=6, gt=0)
    shown_from: int = Field(default=10, ge=0)


def crowded(syncs: Mapping[str, int], limits: Limits) -> dict[str, tuple[bool, str]]:
    """Return the destinations with more syncs than is wise: whether it is an error, and the sentence.

    syncs: how many a destination has. More than 10 to 15 segments a channel nobody can look after (seed 2).
    """
    found: dict[str, tuple[bool, str]] = {}
    for destination, count in syncs.items():
        if count > limits.warn_syncs:
            many = count > limits.max_syncs
            limit = f"max_syncs is {limits.max_syncs}" if many else f"above warn_syncs ({limits.warn_syncs})"
            found[destination] = (many, f"The destination {destination!r} has {count} syncs; {limit}. Merge some.")
    return found
