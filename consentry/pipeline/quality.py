"""The quality of a job's data, from what its runs left in the warehouse."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from consentry.pipeline.freshness import GOLDEN
from consentry.pipeline.left import left_warehouse
from consentry.pipeline.load import Loaded
from consentry.validation.metrics import prometheus
from consentry.validation.report import quality
from consentry.validation.report_html import report_html


# Plain JSON.
def quality_of(loaded: Loaded) -> dict[str, Any]:
    """Return scores, worst rules, alarms, columns and imputation of every stream."""
    with left_warehouse(loaded, "there is nothing to report") as warehouse:
        found = quality(warehouse, {**loaded.contracts, GOLDEN: loaded.profile})
    return {"job": loaded.job.job, "made_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", **found}


def quality_page(found: dict[str, Any]) -> str:
    """Return the report as one HTML page."""
    return report_html(found, job=found["job"], made_at=found["made_at"])


def quality_metrics(found: dict[str, Any]) -> str:
    """Return the report as Prometheus metrics."""
    return prometheus(found, job=found["job"])
