"""Stop a sync that would change more than its owner expects."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from consentry.delivery.config import Sync
from consentry.delivery.diff import Difference
from consentry.errors import Blocked


def check_guards(sync: Sync, found: Difference, *, allow: Collection[str] = ()) -> None:
    """Raise Blocked when the difference trips a guard of the sync.

    allow: guards to let pass this once, as `<sync>.<guard>`. Removals for want of consent count for no guard.
    """
    for guard, fact in tripped(sync, found):
        name = f"{sync.name}.{guard}"
        if name not in allow:
            remedy = f"If that is right, run again with --allow {name}{_raising(guard)}."
            raise Blocked(f"Sync {sync.name!r}: {fact} Nothing of that was sent. {remedy}", code=guard)


def tripped(sync: Sync, found: Difference) -> Iterator[tuple[str, str]]:
    """Yield every guard that a difference trips, and the sentence that says why."""
    guards, leaving = sync.guards, found.removes_left
    if leaving and not found.members:
        yield "empty_segment", f"segment {sync.segment!r} is empty, which would take out {leaving:,} people."
    if guards.max_deletes is not None and leaving > guards.max_deletes:
        yield "max_deletes", f"{leaving:,} people would be taken out; max_deletes is {guards.max_deletes:,}."
    share = 100 * leaving / found.held if found.held else 0
    if leaving > guards.delete_floor and share > guards.max_delete_pct:
        limit = f"max_delete_pct is {guards.max_delete_pct:g}"
        yield "max_delete_pct", f"{leaving:,} of {found.held:,} people ({share:.0f}%) would be taken out; {limit}."
    if guards.max_creates is not None and found.adds > guards.max_creates:
        yield "max_creates", f"{found.adds:,} people would be added; max_creates is {guards.max_creates:,}."
    if 0 < found.desired < sync.min_size and (found.adds or found.changes or leaving):
        yield "min_size", f"the audience would have {found.desired:,} people; min_size is {sync.min_size:,}."
    if found.adds or found.changes or leaving:
        yield from found.holds.items()


def _raising(guard: str) -> str:
    return "" if guard in ("empty_segment", "stale", "small", "anomaly") else f", or change {guard} in the job"
