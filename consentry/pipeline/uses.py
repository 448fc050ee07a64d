"""For what golden records are used in a job: the purposes that each use serves together."""

from __future__ import annotations

from collections.abc import Iterator

from consentry.identity.golden_for import golden_rows
from consentry.pipeline.context import Context
from consentry.pipeline.load import Loaded

Purposes = tuple[str, ...]


def uses(loaded: Loaded) -> Iterator[Purposes]:
    """Yield the purposes of profiling, and those that each sync and each enrichment serves together."""
    yield profiling(loaded)
    job, known = loaded.job, loaded.policy.destinations
    named = [sync.destination for sync in job.syncs.values()]
    named += [block.target(name).destination for name, block in job.enrichments.items()]
    yield from (tuple(known[name].purposes_all_of) for name in named if name in known)


def profiling(loaded: Loaded) -> Purposes:
    """Return the purpose of profiling, none where nobody is profiled."""
    told = loaded.policy.file.profiling
    return (told.purpose,) if told else ()


def golden_of(context: Context, destination: str) -> str:
    """Return the relation of golden records for what a destination of the policy serves."""
    return golden_rows(context.warehouse, context.loaded.policy.destinations[destination].purposes_all_of)
