"""Read the events of a log; whether it is whole is for `verify` to say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from consentry.audit.log import Json


def lines(folder: Path) -> Iterator[bytes]:
    """Yield every line of a log in the order it was written, without its end."""
    for path in sorted(folder.glob("[0-9]*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                yield line.removesuffix(b"\n")


def events(folder: Path) -> Iterator[dict[str, Json]]:
    """Yield every event of a log in order. A line that is not an event is passed over."""
    yield from filter(None, map(_event, lines(folder)))


def events_of(folder: Path, run: str) -> list[dict[str, Json]]:
    """Return the events of one run, in order. A line that is not an event is passed over."""
    # A log is long and a run's part of it short: only lines that name the run are taken apart.
    mark = run.encode()
    found = (_event(line) for line in lines(folder) if mark in line)
    return [event for event in found if event.get("run") == run]


def _event(line: bytes) -> dict[str, Json]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
