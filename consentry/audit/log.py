"""Append what was decided to a log that nobody can alter unseen.

The log is a folder of files `000001.jsonl`, `000002.jsonl`, ...: one event a line, canonical JSON (keys sorted,
no spaces, no floats), each line with the SHA-256 of the line before it as `prev`. The first `prev` is 64 zeros.
`leaf_hash` is the leaf of an RFC 6962 Merkle tree over the lines, for the tree that will stand beside the chain.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from consentry.errors import StopRun
from consentry.model.ids import uuid7s

GENESIS = "0" * 64
# 1: events have an actor; 2: and the purposes that they serve.
VERSION = 2
SEGMENT_BYTES = 64 * 1024 * 1024
_LINE_SEPARATORS = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"})

Json = str | int | bool | None | list["Json"] | Mapping[str, "Json"]
# What an event, by its action and its facts, is further known to serve.
Serves = Callable[[str, Mapping[str, Json]], Mapping[str, Json]]


def canonical(event: Mapping[str, Json]) -> bytes:
    """Return the one spelling of an event: RFC 8785 for events without floats, on one line in every editor."""
    _refuse_floats(event)
    text = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.translate(_LINE_SEPARATORS).encode()


def line_hash(line: bytes) -> str:
    """Return what the next line holds as `prev`."""
    return hashlib.sha256(line).hexdigest()


def leaf_hash(line: bytes) -> bytes:
    """Return the Merkle leaf of a line (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\x00" + line).digest()


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        raise TypeError("A float has no canonical spelling; write an integer in a smaller unit.")
    if isinstance(value, Mapping):
        for inner in value.values():
            _refuse_floats(inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_floats(inner)


class AuditLog:
    """One writer's hold on a log folder; a second writer is refused.

    actor: who acts, as `service@host` when not given. serves: says which purposes an event serves. No event may hold
    a personal value: only codes, counts, names from the configuration, ids of ours and hashes.
    """

    def __init__(self, folder: Path, *, actor: str | None = None, serves: Serves | None = None) -> None:
        self.folder = folder
        self._serves = serves
        self.actor = actor or f"consentry@{socket.gethostname()}"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / ".lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            message = f"The audit log {folder} is being written by another run. Wait for it to end, or stop it."
            raise StopRun(message, code="audit_locked") from None
        self._seq, self._prev = 0, GENESIS
        dropped = self._recover()
        if dropped:
            self.append("log.recovered_partial", bytes=dropped)

    def append(
        self,
        action: str,
        shared: Mapping[str, Json] | None = None,
        *,
        run: str | None = None,
        durable: bool = True,
        **facts: Json,
    ) -> int:
        """Write one event and return its number.

        shared: facts that stand in several events, such as those of the policy in force.
        durable: wait until the disk has it, so that what follows may rely on it. Raises StopRun when the event
        cannot be written: what is not logged does not happen.
        """
        event: dict[str, Json] = {
            "v": VERSION,
            "seq": self._seq,
            "id": uuid7s(1)[0],
            "ts": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "actor": self.actor,
            "action": action,
            "prev": self._prev,
            **(shared or {}),
            **facts,
        }
        if run:
            event["run"] = run
        if self._serves:
            event |= self._serves(action, event)
        line = canonical(event)
        try:
            self._file.write(line + b"\n")
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())
            self._rotate_when_full()
        except OSError as error:
            message = f"The audit log {self.folder} cannot be written ({error.strerror}). Nothing more is sent."
            raise StopRun(message, code="audit_unwritable") from None
        self._prev = line_hash(line)
        self._seq += 1
        return self._seq - 1

    @property
    def head(self) -> dict[str, Json]:
        """Return the number of events and the hash of the last one."""
        return {"size": self._seq, "hash": self._prev}

    def close(self) -> None:
        """End the log and let the next writer in."""
        self._file.close()
        self._lock.close()

    def _recover(self) -> int:
        """Take up the log where it ends; a last line that a crash cut short is dropped. Return its length."""
        segments = sorted(self.folder.glob("[0-9]*.jsonl"))
        path = segments[-1] if segments else self.folder / "000001.jsonl"
        content = path.read_bytes() if segments else b""
        whole, _, partial = content.rpartition(b"\n")
        self._file: IO[bytes] = path.open("ab")
        if partial:
            self._file.truncate(len(content) - len(partial))
        last = whole.rpartition(b"\n")[2] or self._last_line_before(segments)
        if last:
            self._seq, self._prev = json.loads(last)["seq"] + 1, line_hash(last)
        return len(partial)

    def _last_line_before(self, segments: list[Path]) -> bytes:
        return segments[-2].read_bytes().rstrip(b"\n").rpartition(b"\n")[2] if len(segments) > 1 else b""

    def _rotate_when_full(self) -> None:
        if self._file.tell() < SEGMENT_BYTES:
            return
        number = int(Path(self._file.name).stem) + 1
        self._file.close()
        self._file = (self.folder / f"{number:06d}.jsonl").open("ab")
