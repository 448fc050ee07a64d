"""Do the sources of a job agree about people? An alarm about an attribute makes what reads it stale."""

from __future__ import annotations

from consentry.pipeline.context import Context
from consentry.pipeline.freshness import SOURCES, hold_attributes
from consentry.validation.consistency import compare_sources, watch_agreement


def watch_sources(context: Context) -> list[str]:
    """Compare what sources say of merged people, and return the warnings; a failing alarm holds its attribute."""
    warehouse, prefix = context.warehouse, f"watch:{SOURCES}."
    found = compare_sources(warehouse, run_id=context.run_id)
    accepted = [name.removeprefix(prefix) for name in context.allow if name.startswith(prefix)]
    watch = context.loaded.profile.watch
    told = watch_agreement(warehouse, watch, found, run_id=context.run_id, accepted=accepted)
    remedy = "If it is right, run again with --allow"
    failed = {it.column: f"{it.sentence} {remedy} {prefix}{it.column}." for it in told if it.severity == "fail"}
    hold_attributes(warehouse, SOURCES, failed)
    return [it.sentence for it in told if it.severity == "warn"]
