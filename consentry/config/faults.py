"""Gather the faults of a configuration, to show all of them at once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from consentry.errors import ConfigError


@dataclass(slots=True)
class Faults:
    """A list of faults that grows while files are read; `check` raises it once."""

    found: list[str] = field(default_factory=list)

    def add(self, path: Path, line: int, sentence: str) -> None:
        """Note a fault; line 0 means the file as a whole."""
        place = f"{shown(path)}:{line}" if line else shown(path)
        self.found.append(f"{place}: {sentence}")

    def check(self) -> None:
        """Raise ConfigError with every fault found so far, in the order of files and lines."""
        if self.found:
            raise ConfigError(*dict.fromkeys(self.found))


def shown(path: Path) -> str:
    """Write a path as the user would: relative to where they are, when it lies below."""
    try:
        return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)
    except OSError:
        return str(path)
