"""Check calls of Segment's tracking API, and write each as a line that the format `segment` reads.

What is asked of a call is what Segment documents ("HTTP API Source", "Spec: Common fields", read on 2026-11-23): one of
six types, a user or anonymous id, the name of a tracked event, a unique `messageId` of at most 100 characters. Segment
gives a call without `messageId` one of its own; here it is refused, since nothing else tells a call that is sent again
from one that happened again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

CALLS = ("track", "page", "screen", "identify", "group", "alias")
# As the libraries of Segment count: 32 << 10.
MAX_CALL = 32_768
# Their batches end at 475,000 bytes and one call more.
MAX_BATCH = 512_000
MAX_ID = 100
_OBJECTS = ("context", "properties", "traits")
_EITHER = "'context', 'properties' or 'traits'"
_TIMES = ("timestamp", "originalTimestamp")
# NUL is spelled so in JSON, behind an even number of backslashes; no database takes it as text.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
# A call is any JSON object until it has been checked.
Call = Mapping[str, Any]


class Malformed(Exception):
    """A message that is refused as a whole; the text says why, and quotes nothing of it."""


def lines_of(body: bytes, kind: str | None, *, now: datetime) -> list[bytes]:
    """Return a line for each call of a message: one call of this kind, or a batch when kind is None.

    now: the time of calls that give none. The context of a batch is that of its calls, where they have no other. The
    write key is left out. Raises Malformed.
    """
    message = _parsed(body)
    return list(_batch(message, now)) if kind is None else [_line({**message, "type": kind}, now, "The call")]


def _batch(message: Call, now: datetime) -> Iterator[bytes]:
    calls, context = message.get("batch"), message.get("context") or {}
    if not isinstance(calls, list) or not calls or not isinstance(context, dict):
        raise Malformed("A batch is an object with a list of calls as 'batch', and an object as 'context' if any.")
    size = 0
    for number, call in enumerate(calls, 1):
        place = f"Call {number} of the batch"
        if not isinstance(call, dict):
            raise Malformed(f"{place} is no JSON object.")
        line = _line(_in_context(call, context), now, place)
        size += len(line)
        if size > MAX_BATCH:
            raise Malformed(f"The batch is longer than {MAX_BATCH:,} bytes with its context in each call.")
        yield line


def _in_context(call: Call, context: Call) -> Call:
    own = call.get("context") or {}
    return {**call, "context": {**context, **own}} if context and isinstance(own, dict) else call


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise Malformed("The body is no JSON object.")
    return message


def _line(call: Call, now: datetime, place: str) -> bytes:
    for holds, sentence in _RULES:
        if not holds(call):
            raise Malformed(f"{place} {sentence}")
    at = call.get("timestamp") or call.get("originalTimestamp") or now.isoformat(timespec="milliseconds")
    kept = {name: value for name, value in call.items() if name != "writeKey"}
    try:
        text = json.dumps({**kept, "timestamp": at}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        line = text.encode() + b"\n"
    except (ValueError, RecursionError):
        raise Malformed(f"{place} holds a number or a character that JSON cannot spell.") from None
    if len(line) > MAX_CALL:
        raise Malformed(f"{place} is longer than {MAX_CALL:,} bytes.")
    if "\\u0000" in text and _NUL.search(text):
        raise Malformed(f"{place} holds the character NUL.")
    return line


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_id(value: object) -> bool:
    return _is_text(value) or (isinstance(value, int) and not isinstance(value, bool))


def _names_somebody(call: Call) -> bool:
    ids = [call.get("userId"), call.get("anonymousId")]
    given = [one for one in ids if one not in (None, "")]
    return bool(given) and all(map(_is_id, given))


def _has_its_id(call: Call) -> bool:
    found = call.get("messageId")
    return isinstance(found, str) and 0 < len(found) <= MAX_ID


def _is_time(value: object) -> bool:
    if not isinstance(value, str):
        return value is None
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


_RULES: tuple[tuple[Callable[[Call], bool], str], ...] = (
    (lambda call: call.get("type") in CALLS, f"has no 'type' that is known. There are: {', '.join(CALLS)}."),
    (_has_its_id, f"needs a 'messageId', a text of at most {MAX_ID} characters that no other call has."),
    (_names_somebody, "needs a 'userId' or an 'anonymousId', a text or a whole number."),
    (lambda call: call["type"] != "track" or _is_text(call.get("event")), "needs the name of its 'event'."),
    (lambda call: all(_is_time(call.get(name)) for name in _TIMES), "has a time that is not ISO 8601."),
    (lambda call: all(isinstance(call.get(name) or {}, dict) for name in _OBJECTS), f"has no object as {_EITHER}."),
)
