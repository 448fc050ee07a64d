"""Which golden records a destination sees, and what of them leaves imputed."""

from __future__ import annotations

from consentry.identity.golden_for import golden_rows, same_view
from consentry.pipeline.context import Context
from consentry.pipeline.load import Loaded
from consentry.pipeline.purposes import profiling
from consentry.validation.contract import served_columns


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
