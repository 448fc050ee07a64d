"""Draw the summary of a run."""

from __future__ import annotations

from typing import Any

from consentry.cli.output import console, table


# Summaries are plain JSON.
def show_summary(summary: dict[str, Any]) -> None:
    """Print a run's summary as tables a person can check."""
    rows = summary["rows"]
    console.print()
    counts = table(f"Run {summary['run_id']}: {summary['status']} in {summary['duration_s']} s", "what", "#number")
    counts.add_row("rows extracted", f"{rows['extracted']:,}")
    counts.add_row("rows clean", f"{rows['clean']:,}")
    counts.add_row("rows quarantined", f"{rows['quarantined']:,}")
    for reason, number in sorted(summary["quarantine_reasons"].items()):
        counts.add_row(f"  {reason}", f"{number:,}")
    if rows.get("erased"):
        counts.add_row("rows of the erased, kept out", f"{rows['erased']:,}")
    counts.add_row("cells imputed", f"{summary['imputed_cells']:,}")
    for why, number in summary["identifiers_unused"].items():
        counts.add_row(f"identifiers {why}", f"{number:,}")
    counts.add_row("people", f"{summary['persons']:,}")
    counts.add_row("records merged", f"{summary['merged_records']:,}")
    console.print(counts)
    segments = table("Segments", "segment", "#members")
    for name, members in sorted(summary["segments"].items()):
        segments.add_row(name, f"{members:,}")
    console.print(segments)
    syncs = table(
        "Syncs", "sync", "#adds", "#updates", "#removes", "#acknowledged", "#rejected", "#API calls", "refused"
    )
    for name, sync in summary["syncs"].items():
        numbers = [sync[key] for key in ("adds", "updates", "removes", "acknowledged", "rejected", "api_calls")]
        refused = ", ".join(f"{reason} {n:,}" for reason, n in sorted(sync["refused"].items()))
        syncs.add_row(name, *(f"{n:,}" for n in numbers), refused)
    console.print(syncs)
    for remark in summary["remarks"]:
        console.print(remark, style="yellow", markup=False)
    for name, told in summary["enriched"].items():
        filled = sum(told["filled"].values())
        console.print(f"{name}: {filled:,} gaps filled. {told['sentence']}".rstrip(), markup=False)
    for name, sync in summary["syncs"].items():
        if sync.get("sentence"):
            console.print(f"{name}: {sync['sentence']}", style="yellow", markup=False)
