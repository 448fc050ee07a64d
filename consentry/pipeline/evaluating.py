"""Say how good the people of a job are, and draw what a clerk should look at."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consentry.consent.linking import LINK_REFUSED
from consentry.identity.evaluate import against_labels, clerical_sample, without_labels
from consentry.identity.labels import read_labels
from consentry.identity.report_html import identity_report
from consentry.pipeline.context import Context, decisions_of
from consentry.pipeline.load import Loaded
from consentry.pipeline.stewarding import stewarding


# Plain JSON.
def evaluated(loaded: Loaded, labels: Path | None, out: Path | None) -> dict[str, Any]:
    """Evaluate the people of the last run, against labels where there are some; write a page when asked for.

    Raises ConfigError when the labels cannot be read or name no record of the job.
    """
    told = read_labels(labels) if labels else None
    with stewarding(loaded) as context:
        refused = LINK_REFUSED if context.warehouse.has(LINK_REFUSED) else None
        found = without_labels(context.warehouse, loaded.job.identity, decisions=decisions_of(context), refused=refused)
        if told:
            found["labels"] = against_labels(context.warehouse, told)
        if out:
            _write_page(context, found, out)
    return found


def _write_page(context: Context, found: dict[str, Any], out: Path) -> None:
    # Splink takes half a second to load, which every other command would pay.
    from consentry.identity.charts import charts, libraries

    page = identity_report(
        found,
        job=context.loaded.job.job,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        charts=charts(context.warehouse, context.loaded.job.identity),
        libraries=libraries(),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")


def sampled(loaded: Loaded, out: Path, *, size: int, seed: int) -> dict[str, Any]:
    """Draw people for a clerk into a CSV file, in proportion to their records."""
    with stewarding(loaded) as context:
        rows = clerical_sample(context.warehouse, size=size, seed=seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["draw", "record_id", "person_id", "person"])
        writer.writeheader()
        writer.writerows(rows)
    return {"draws": len({row["draw"] for row in rows}), "records": len(rows), "file": str(out)}
