"""Sum up a log: what was done with data for which purpose, of which source or to which destination, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from consentry.audit.log import Json
from consentry.audit.read import events


@dataclass(frozen=True, slots=True)
class Flow:
    """All events of one purpose, action, place and actor.

    purpose: None of events that were written before events said theirs. of: the stream, the source, or the sync and its
    destination, None where an event is about the whole job. derived: the source states no purpose, so that this one
    follows from what the job serves.
    """

    purpose: str | None
    action: str
    of: str | None
    actor: str
    derived: bool
    events: int
    first: str
    last: str


def flows(folder: Path) -> list[Flow]:
    """Return the flows of a log, purpose by purpose, in the order in which each began.

    Whether the log is whole is for `verify` to say.
    """
    found: dict[_Key, tuple[int, str, str]] = {}
    for event in events(folder):
        at = str(event.get("ts", ""))
        for key in _keys(event):
            number, first, _ = found.get(key, (0, at, at))
            found[key] = number + 1, first, at
    listed = [Flow(*key, *counted) for key, counted in found.items()]
    return sorted(listed, key=lambda flow: (flow.purpose is None, flow.purpose or ""))


# Purpose, action, of, actor, derived.
_Key = tuple[str | None, str, str | None, str, bool]


def _keys(event: dict[str, Json]) -> Iterator[_Key]:
    stated = event.get("purposes")
    action, actor = str(event.get("action", "")), str(event.get("actor", ""))
    for name in (isinstance(stated, list) and stated) or [None]:
        purpose = None if name is None else str(name)
        yield purpose, action, _of(event), actor, bool(event.get("purposes_derived"))


def _of(event: dict[str, Json]) -> str | None:
    place = event.get("stream") or event.get("source") or event.get("enrichment") or event.get("model")
    if place:
        return str(place)
    named = [str(event[key]) for key in ("sync", "destination") if event.get(key)]
    return " to ".join(named) or None
