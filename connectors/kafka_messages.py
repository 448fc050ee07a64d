"""Make records of Kafka messages: their value's JSON, their key, and what the broker says of them.

Everything comes as text, as of JSON lines in a file. A message without a value says that the record of its key is
gone (a tombstone). A message that is no record comes as one whose column `_malformed` holds its text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa

from consentry.connectors.consent_feeds import COLUMNS as CONSENT_COLUMNS
from consentry.connectors.consent_feeds import FEEDS
from consentry.connectors.file_formats import MALFORMED, Record, json_records, shape_of, shown
from consentry.connectors.segment_events import COLUMNS as SEGMENT_COLUMNS
from consentry.connectors.tombstones import DELETED

Metadata = Literal["key", "headers", "timestamp", "partition", "offset"]
ValueFormat = Literal[
    "json", "segment",
    # Consent in what carries it, see `consentry.connectors.consent_feeds`.
    "onetrust", "cookiebot", "segment_consent", "rudderstack_consent", "mparticle_consent", "tcf", "gpp",
]  # fmt: skip
# Serializers of schema registries put a zero byte and the schema's number, four bytes, before the JSON.
_REGISTRY_HEAD = 5


@dataclass(frozen=True, slots=True)
class Message:
    """One message. at: milliseconds since 1970, None when nobody set a time."""

    partition: int
    offset: int
    at: int | None
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: Sequence[tuple[str, bytes | None]] = field(default=(), repr=False)

    @property
    def size(self) -> int:
        """The bytes of key and value."""
        return len(self.key or b"") + len(self.value or b"")


@dataclass(frozen=True, slots=True)
class End:
    """Where a partition ends now: there is no message from an offset on."""

    partition: int
    offset: int


class Layout:
    """The columns of one stream. key: those that a message's key holds; metadata: what comes beside the value."""

    def __init__(self, format: ValueFormat, key: Sequence[str], metadata: Sequence[Metadata]) -> None:
        self._format, self._key, self._metadata = format, tuple(key), tuple(metadata)
        self._shape = shape_of(format)
        self._beside = tuple(f"kafka_{name}" for name in self._metadata)

    @property
    def schema(self) -> pa.Schema:
        """The columns that are known before a message is read."""
        of_format = SEGMENT_COLUMNS if self._format == "segment" else CONSENT_COLUMNS if self._format in FEEDS else ()
        gone = (DELETED,) if self._key else ()
        names = dict.fromkeys((*self._key, *of_format, *self._beside, *gone, MALFORMED))
        return pa.schema([(name, pa.string()) for name in names])

    def records(self, message: Message) -> list[Record]:
        """Return the records of a message; most have one, a consent receipt one for each identifier."""
        beside = {f"kafka_{name}": _told(message, name) for name in self._metadata}
        key = _key_columns(message.key, self._key)
        if message.value is None:
            gone: Record = {MALFORMED: _without_value(message)} if not key else {**key, DELETED: "true"}
            return [{MALFORMED: None, **gone, **beside}]
        found = json_records(_text(message.value), self._shape)
        return [row | beside if row[MALFORMED] else {**key, **self._free(row), **beside} for row in found]

    def _free(self, row: Record) -> Record:
        if row.keys().isdisjoint(self._beside):
            return row
        return {f"{name}_2" if name in self._beside else name: value for name, value in row.items()}


def _text(value: bytes) -> str:
    json_begins = value[_REGISTRY_HEAD : _REGISTRY_HEAD + 1] == b"{"
    bare = value[_REGISTRY_HEAD:] if value[:1] == b"\0" and json_begins else value
    # Bytes that are not UTF-8 become surrogates, which mark the text as malformed.
    return bare.decode("utf-8", "surrogateescape")


def _plain(value: bytes | None) -> str | None:
    return None if value is None else shown(value.decode("utf-8", "surrogateescape"))


def _key_columns(key: bytes | None, names: Sequence[str]) -> Record:
    """Return what a key holds; nothing when it does not hold every column, or none is asked for."""
    if not names or key is None:
        return {}
    text = shown(key.decode("utf-8", "surrogateescape"))
    found = next(json_records(text, shape_of("json")))
    if found[MALFORMED] is None:
        return {name: found[name] for name in names} if all(found.get(name) for name in names) else {}
    return {names[0]: _unquoted(text)} if len(names) == 1 and text else {}


def _unquoted(text: str) -> str:
    """Return the text of a JSON string, as Kafka Connect writes keys; another text as it is."""
    if not text.startswith('"'):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def _without_value(message: Message) -> str:
    return json.dumps({"key": _plain(message.key), "value": None}, ensure_ascii=False)


def _told(message: Message, name: Metadata) -> str | None:
    match name:
        case "key":
            return _plain(message.key)
        case "headers":
            # A header that comes twice has its last value, as Kafka's own clients read it.
            told = {shown(header): _plain(value) for header, value in message.headers}
            return json.dumps(told, ensure_ascii=False, separators=(",", ":"))
        case "timestamp":
            return None if message.at is None else _instant(message.at)
        case "partition":
            return str(message.partition)
        case "offset":
            return str(message.offset)


def _instant(milliseconds: int) -> str | None:
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
