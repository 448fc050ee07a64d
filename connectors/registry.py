"""Which connectors there are: ours and those of installed packages, found by the same entry points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from pathlib import Path
from typing import cast

from consentry.connectors.base import Connector, ConnectorConfig
from consentry.errors import ConfigError
from consentry.model.names import did_you_mean

GROUP = "consentry.connectors"


def connector(type: str) -> type[Connector]:
    """Return the connector class that `type:` names.

    Raises ConfigError when there is none of that name, or when its package cannot be imported.
    """
    found = _entries()
    if type not in found:
        hint = did_you_mean(type, found)
        raise ConfigError(
            f"There is no connector {type!r}{hint or '.'} Installed are: {', '.join(sorted(found))}.",
            code="unknown_connector",
        )
    loaded, problem = _load(found[type])
    if loaded is None:
        raise ConfigError(problem, code="broken_connector")
    return loaded


def connectors() -> dict[str, type[Connector]]:
    """Return every connector that can be imported, by name."""
    loaded = {name: _load(entry)[0] for name, entry in sorted(_entries().items())}
    return {name: found for name, found in loaded.items() if found is not None}


def broken() -> dict[str, str]:
    """Return the connectors that are installed but cannot be used, with a sentence each."""
    loaded = {name: _load(entry) for name, entry in sorted(_entries().items())}
    return {name: problem for name, (found, problem) in loaded.items() if found is None}


def connect(
    type: str,
    config: ConnectorConfig,
    *,
    streams: Mapping[str, ConnectorConfig] | None = None,
    account: str = "",
    base: Path = Path(),
    keep: Path = Path(),
) -> Connector:
    """Make a connector of the class that `type:` names; the arguments are described in `consentry.connectors.base`."""
    # The protocol says nothing of __init__, because a protocol's constructor is not its instances' business.
    make = cast("Callable[..., Connector]", connector(type))
    given: dict[str, object] = {"streams": streams or {}, "account": account, "base": base, "keep": keep}
    taken = signature(make).parameters
    return make(config, **{name: value for name, value in given.items() if name in taken})


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _load(entry: EntryPoint) -> tuple[type[Connector] | None, str]:
    package = entry.dist.name if entry.dist else entry.value
    try:
        found = entry.load()
    # A plug-in may fail in any way while it is imported, and must not take the others with it.
    except Exception as error:
        kind = type(error).__name__
        return None, f"The connector {entry.name!r} of package {package} cannot be imported ({kind}). Reinstall it."
    if not isinstance(found, type) or not hasattr(found, "Config"):
        return None, f"The connector {entry.name!r} of package {package} is not a class with a Config. Mend {package}."
    return found, ""
