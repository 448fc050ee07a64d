"""How a run tells whoever watches how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the steps of a run as they happen; the command line draws bars of it."""

    def begin(self, stage: str, sentence: str) -> None:
        """Say that a stage has begun, and what it does."""
        ...

    def advance(self, stage: str, rows: int, total: int | None = None) -> None:
        """Say that so many more rows of a stage are done, and of how many if that is known."""
        ...

    def end(self, stage: str, sentence: str) -> None:
        """Say that a stage is done, and what came of it."""
        ...


class Silent:
    """A watcher that draws nothing."""

    def begin(self, stage: str, sentence: str) -> None:
        """Draw nothing."""

    def advance(self, stage: str, rows: int, total: int | None = None) -> None:
        """Draw nothing."""

    def end(self, stage: str, sentence: str) -> None:
        """Draw nothing."""
