"""Keep lines in the files of a folder, so that what was acknowledged survives whatever happens next.

    events.part                             the file that is written to
    events-20261123T044512.123456Z.jsonl    closed files, named after the time of their end, which never change again

A closed file comes into being by renaming: a reader of `events-*.jsonl` finds whole files alone. A crash leaves
`events.part` behind, with half a line at its end at most. Nobody was told that this line is kept, so the next writer
cuts it off and closes the file.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from consentry.errors import StopRun

MAX_BYTES = 64 * 1024 * 1024
_BLOCK = 65_536


class EventLog:
    """One writer's hold on a folder; a second writer is refused with StopRun.

    max_age_s, max_bytes: a file that is older or larger is closed. Files are readable by their owner alone.
    """

    def __init__(self, folder: Path, *, max_age_s: float, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self._max_age_s, self._max_bytes = max_age_s, max_bytes
        self._part = folder / "events.part"
        self._file: int | None = None
        self._kept, self._began = 0, 0.0
        try:
            self._lock = _locked(folder)
            self._finish()
        except OSError as error:
            message = f"Events cannot be kept in {folder} ({error.strerror}). Name a folder that can be written to."
            raise StopRun(message, code="folder_unwritable") from None

    def append(self, lines: Iterable[bytes]) -> None:
        """Write lines, each with its end; when this returns they are on the disk.

        Raises OSError when they are not: nothing of them counts then, and the next call begins a new file.
        """
        content = b"".join(lines)
        try:
            file = self._begun()
            _write(file, content)
            os.fsync(file)
        except OSError:
            self._abandon()
            raise
        self._kept += len(content)

    def close_if_due(self) -> None:
        """Close the file when it is old or large enough, or was abandoned. Raises OSError."""
        aged = time.monotonic() - self._began >= self._max_age_s
        if self._file is None or aged or self._kept >= self._max_bytes:
            self._finish()

    def close(self) -> None:
        """Close the file and let the next writer in. Raises OSError."""
        try:
            self._finish()
        finally:
            self._lock.close()

    def _begun(self) -> int:
        if self._file is None:
            self._finish()
            self._file = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            self._kept, self._began = 0, time.monotonic()
            # A file whose name is not on the disk is lost with the power, however well its content is kept.
            _sync(self.folder)
        return self._file

    def _abandon(self) -> None:
        """Let go of a file that took no more; what it took before stays.

        It is not tried again: after a failed fsync the system may say that all is well when it is not.
        """
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                os.ftruncate(file, self._kept)
            with suppress(OSError):
                os.close(file)

    def _finish(self) -> None:
        """Close the file that is written to, or was when a crash came, and give it its name."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
        if not self._part.exists():
            return
        if _cut(self._part):
            self._part.rename(self._free_name())
        else:
            self._part.unlink()
        _sync(self.folder)

    def _free_name(self) -> Path:
        at = datetime.now(UTC)
        while (path := self.folder / f"events-{at:%Y%m%dT%H%M%S.%f}Z.jsonl").exists():
            at += timedelta(microseconds=1)
        return path


def _locked(folder: Path) -> IO[str]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = (folder / ".lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        message = f"Another collector writes to {folder}. Stop it, or name another folder."
        raise StopRun(message, code="folder_in_use") from None
    return lock


def _write(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]


def _cut(path: Path) -> int:
    """Cut half a line off the end of a file; return how many bytes are left."""
    with path.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BLOCK)
            file.seek(start)
            if at := file.read(end - start).rfind(b"\n") + 1:
                end = start + at
                break
            end = start
        if end < size:
            file.truncate(end)
            os.fsync(file.fileno())
    return end


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
