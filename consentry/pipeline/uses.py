"""For what golden records are used in a job: the purposes that each use serves together."""

from __future__ import annotations

from collections.abc import Iterator

from consentry.identity.golden_for import golden_rows, same_view
from consentry.pipeline.context import Context
from consentry.pipeline.load import Loaded
from consentry.validation.contract import served_columns

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


def imputed_fields(loaded: Loaded, name: str) -> list[str]:
    """Return the fields of a sync that leave with an imputed value where the observed one is missing."""
    sync, told = loaded.job.syncs[name], loaded.job.identity.linking.places()
    purposes = loaded.policy.destinations[sync.destination].purposes_all_of
    if not profiling(loaded) or not same_view(told, purposes, profiling(loaded)):
        return []
    served = served_columns(loaded.profile)
    return [remote for remote, column in sync.fields.items() if served.get(column) == "imputed"]
