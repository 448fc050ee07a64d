"""Errors, grouped by what the caller does about them.

    ConsentryError
    ├── ConfigError        mend the file and line it names, then run again          exit 1
    ├── RetryLater         nothing is wrong but the time: run again after `after`   exit 4
    ├── SkipRecord         set this one record aside with its code, go on
    └── StopRun            nothing further can be done safely                       exit 1
        ├── SourceFailed       a source could not be read; what was read is kept
        ├── DestinationFailed  a destination could not be written; other syncs go on
        └── Blocked            a guard or the consent policy refused                exit 5

A message is one sentence or more: what happened, to what, what to do next. It never holds a secret or a
personal value. `code` is the machine-readable reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class ConsentryError(Exception):
    """Base of every error that consentry raises on purpose."""

    exit_code: ClassVar[int] = 1
    code: str = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigError(ConsentryError):
    """A configuration that cannot be used; `faults` holds every fault found, one sentence each."""

    code = "config"

    def __init__(self, *faults: str, code: str | None = None) -> None:
        self.faults: Sequence[str] = faults
        super().__init__("\n".join(faults), code=code)


class RetryLater(ConsentryError):
    """The work can go on after `after` seconds, and not before."""

    exit_code = 4
    code = "retry_later"

    def __init__(self, message: str, *, after: float, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.after = after


class SkipRecord(ConsentryError):
    """One record that cannot be used; `code` says why."""

    code = "skipped"


class StopRun(ConsentryError):
    """The run cannot go on without risk to data or to people."""

    code = "stopped"


class SourceFailed(StopRun):
    """A source could not be read."""

    code = "source_failed"


class DestinationFailed(StopRun):
    """A destination could not be written."""

    code = "destination_failed"


class Blocked(StopRun):
    """A guard or the consent policy refused; nothing was written."""

    exit_code = 5
    code = "blocked"
