"""Check a log offline: is every line the one that was written, and does none lack.

Exit codes: 0 ok, 2 tampered, 3 gap or truncation, 4 bad signature, 5 unreadable. Without a memory outside the
log (`expect`), lines cut off at the end leave no trace.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from consentry.audit.log import GENESIS, Json, canonical, line_hash
from consentry.audit.read import lines

OK, TAMPERED, GAP, UNREADABLE = 0, 2, 3, 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of a log found; `event` is the number of the first bad one."""

    code: int
    sentence: str
    events: int
    head: str
    event: int | None = None

    @property
    def ok(self) -> bool:
        """Tell whether the log is whole."""
        return self.code == OK


def verify(folder: Path, *, expect: tuple[int, str] | None = None) -> Verdict:
    """Read a log from its first line to its last and say whether it is whole.

    expect: the size and head hash that the auditor noted earlier; a log that is shorter now, or differs there,
    has been cut or rewritten.
    """
    if not sorted(folder.glob("[0-9]*.jsonl")):
        return Verdict(UNREADABLE, f"There is no audit log in {folder}.", 0, GENESIS)
    previous, number, seen_expected = GENESIS, 0, expect is None or expect == (0, GENESIS)
    unread = lines(folder)
    try:
        for line in unread:
            fault = _fault(line, number, previous)
            if fault and fault[0] == GAP and any(_seq(later) == number for later in unread):
                fault = TAMPERED, "the lines stand in another order than they were written."
            if fault:
                return Verdict(fault[0], f"Event {number}: {fault[1]}", number, previous, number)
            previous, number = line_hash(line), number + 1
            if expect and number == expect[0]:
                if previous != expect[1]:
                    sentence = f"Event {number - 1}: the log was rewritten since its head was noted."
                    return Verdict(TAMPERED, sentence, number, previous, number - 1)
                seen_expected = True
    except OSError as error:
        return Verdict(UNREADABLE, f"The log cannot be read ({error.strerror}).", number, previous)
    if not seen_expected and expect:
        sentence = f"The log ends after {number} events; {expect[0]} were noted earlier. Its end was cut off."
        return Verdict(GAP, sentence, number, previous, number)
    return Verdict(OK, f"The log is whole: {number} events.", number, previous)


def _spelling(event: dict[str, Json]) -> bytes | None:
    try:
        return canonical(event)
    except TypeError:
        return None


def _seq(line: bytes) -> int | None:
    try:
        number = json.loads(line)["seq"]
    except (ValueError, KeyError, TypeError):
        return None
    return number if isinstance(number, int) else None


def _fault(line: bytes, number: int, previous: str) -> tuple[int, str] | None:
    seq = _seq(line)
    if seq is None:
        return TAMPERED, "the line is not an event."
    event = json.loads(line)
    if _spelling(event) != line:
        return TAMPERED, "the line is not spelled as it was written."
    prev = event.get("prev")
    if seq > number and prev != previous:
        return GAP, f"events {number} to {seq - 1} are missing before event {seq}."
    if seq != number or prev != previous:
        return TAMPERED, "the line does not follow from the one before it."
    return None
