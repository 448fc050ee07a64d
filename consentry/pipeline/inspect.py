"""Ask connectors what they can do, before anything runs."""

from __future__ import annotations

from typing import Any

from consentry.connectors.base import Connector
from consentry.errors import ConsentryError
from consentry.pipeline.load import Loaded


# Both results are plain JSON.
def check_job(loaded: Loaded) -> list[dict[str, Any]]:
    """Log in to each source and destination; a refusal is a row, not an error."""
    sources = [("source", name, block.type) for name, block in loaded.job.sources.items()]
    destinations = [("destination", name, block.type) for name, block in loaded.job.destinations.items()]
    return [_checked(loaded, kind, name, type_) for kind, name, type_ in sources + destinations]


def _checked(loaded: Loaded, kind: str, name: str, type_: str) -> dict[str, Any]:
    try:
        made: Connector = loaded.source(name) if kind == "source" else loaded.destination(name)
        found = made.check()
        ok, sentence = found.ok, found.sentence
    except ConsentryError as error:
        ok, sentence = False, str(error)
    return {"kind": kind, "name": name, "type": type_, "ok": ok, "sentence": sentence}


def discover_job(loaded: Loaded) -> list[dict[str, Any]]:
    """List the streams of every source."""
    return [
        {
            "source": name,
            "stream": stream.name,
            "primary_key": list(stream.primary_key),
            "cursor": stream.cursor,
            "columns": {field.name: str(field.type) for field in stream.schema},
        }
        for name in loaded.job.sources
        for stream in loaded.source(name).discover()
    ]
