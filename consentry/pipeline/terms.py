"""By what a run evaluated segments: the definitions and what it worked out of the population, kept in the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from consentry.audit import Json, events_of
from consentry.segments.evaluate import Evaluated
from consentry.segments.scores import Figures

_EVALUATIONS = ("segment.evaluated", "segment.refreshed")


@dataclass(frozen=True, slots=True)
class Terms:
    """What the log has of an evaluation; None where it has not. plan: the hash of the job and its files.

    noted_at: when it was written to the log, by the real clock. definition: the fingerprint of the segments and the
    catalogue. thresholds: percentiles as rules spell them.
    """

    plan: str | None
    noted_at: datetime | None
    definition: str | None
    thresholds: Mapping[str, float | None] | None
    figures: Mapping[str, Figures | None] | None


def terms(found: Evaluated) -> dict[str, Json]:
    """Return the facts of an evaluation by which it can be understood later, as its event in the log holds them."""
    return {
        "definition": found.definition,
        "thresholds": {name: None if value is None else str(value) for name, value in found.thresholds.items()},
        "figures": {name: [str(value) for value in values or ()] for name, values in found.figures.items()},
    }


def terms_of(log: Path, run_id: str) -> Terms:
    """Read back by what a run evaluated; when it did so more than once, the last time."""
    # Whatever the log holds: JSON.
    events: list[dict[str, Any]] = [dict(event) for event in events_of(log, run_id)]
    plans = [event["plan_sha256"] for event in events if "plan_sha256" in event]
    evaluations = [event for event in events if event.get("action") in _EVALUATIONS]
    last = evaluations[-1] if evaluations else {}
    thresholds, figures = last.get("thresholds"), last.get("figures")
    return Terms(
        plan=plans[-1] if plans else None,
        noted_at=datetime.fromisoformat(last["ts"]) if last else None,
        definition=last.get("definition"),
        thresholds=thresholds and {name: None if v is None else float(v) for name, v in thresholds.items()},
        figures=figures and {name: tuple(map(float, values)) or None for name, values in figures.items()},
    )
