"""Ask connectors what they can do, before anything runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from consentry.connectors.base import Connector
from consentry.connectors.registry import connector
from consentry.connectors.versions import ending
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
        ok, sentence = found.ok, " ".join(filter(None, (found.sentence, ending(made, datetime.now(UTC).date()))))
    except ConsentryError as error:
        ok, sentence = False, str(error)
    return {"kind": kind, "name": name, "type": type_, "ok": ok, "sentence": sentence}


def versions_ending(loaded: Loaded) -> list[str]:
    """Return a sentence about each vendor's API version that the job's connectors speak and that ends soon."""
    today = datetime.now(UTC).date()
    types = [block.type for block in loaded.job.sources.values()]
    types += [block.type for block in loaded.job.destinations.values()]
    return list(dict.fromkeys(filter(None, (ending(connector(type_), today) for type_ in types))))


def discover_job(loaded: Loaded) -> list[dict[str, Any]]:
    """List the streams of every source, each with the key that the source knows or else the job names.

    units: of the columns whose contract states one.
    """
    found = []
    for name, block in loaded.job.sources.items():
        keys = {stream: settings.primary_key for stream, settings in block.streams.items()}
        for stream in loaded.source(name).discover():
            contract = loaded.contracts.get(f"{name}__{stream.name}")
            row = {
                "source": name,
                "stream": stream.name,
                "primary_key": list(stream.primary_key or keys.get(stream.name, ())),
                "cursor": stream.cursor,
                "columns": {field.name: str(field.type) for field in stream.schema},
                "units": {it.name: it.unit for it in contract.columns if it.unit} if contract else {},
            }
            found.append(row)
    return found
