"""Find checks that other packages bring, and register each with Pandera under its name.

A check is an entry point of the group `consentry.checks`: its name, and a function
`(data: PolarsData, *, limit: int) -> pl.LazyFrame` whose keyword arguments are what the contract gives. It answers
for each row, like every check of a contract.
"""

from __future__ import annotations

import inspect
from importlib.metadata import EntryPoint, entry_points

from pandera import extensions
from pandera.polars import Check

from consentry.errors import ConfigError

GROUP = "consentry.checks"
_loaded: set[tuple[str, str]] = set()


def load_checks() -> None:
    """Register the checks of all installed packages; one that is registered already is left alone."""
    for point in entry_points(group=GROUP):
        if (point.name, point.value) not in _loaded:
            _register(point)
            _loaded.add((point.name, point.value))


def _register(point: EntryPoint) -> None:
    try:
        function = point.load()
    except Exception as error:  # a package of somebody else may raise anything
        raise ConfigError(
            f"The check {point.name} ({point.value}) cannot be loaded ({type(error).__name__})."
        ) from None
    if point.name in Check.REGISTERED_CUSTOM_CHECKS:
        return  # its module registered it while it was loaded
    if not callable(function):
        raise ConfigError(f"The check {point.name} ({point.value}) is no function.")
    arguments = [name for name, it in inspect.signature(function).parameters.items() if it.kind is it.KEYWORD_ONLY]
    function.__name__ = point.name
    extensions.register_check_method(statistics=arguments or None)(function)
