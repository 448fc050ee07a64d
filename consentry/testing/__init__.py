"""The test kit: simulators, reference connectors and contracts for your own connectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consentry.testing.destination_contract import DestinationContract
    from consentry.testing.source_contract import SourceContract

__all__ = ["DestinationContract", "SourceContract"]


def __getattr__(name: str) -> Any:
    """Give the contracts when they are asked for: they need pytest, and the simulators do not."""
    if name == "SourceContract":
        from consentry.testing.source_contract import SourceContract

        return SourceContract
    if name == "DestinationContract":
        from consentry.testing.destination_contract import DestinationContract

        return DestinationContract
    raise AttributeError(name)
