"""A Kafka broker of one node that keeps what tests put into it, and goes wrong when it is told to.

It speaks the oldest versions of the protocol that librdkafka's consumer takes: record batches of version 2, with
transactions. It can do what librdkafka's own mock cluster cannot: delete old messages, find them by time, give
transactions up, ask for a login, break off. Source: kafka.apache.org/protocol, read in November 2026.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, cast

FETCH, LIST_OFFSETS, METADATA, OFFSET_COMMIT = 1, 2, 3, 8
FIND_COORDINATOR, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 10, 17, 18, 36
# What is answered, and by which versions; Produce stands there for its features alone.
VERSIONS = {
    0: (3, 3), FETCH: (4, 4), LIST_OFFSETS: (2, 2), METADATA: (4, 4), OFFSET_COMMIT: (2, 2),
    FIND_COORDINATOR: (0, 0), SASL_HANDSHAKE: (0, 1), API_VERSIONS: (0, 0), SASL_AUTHENTICATE: (0, 0),
}  # fmt: skip
OUT_OF_RANGE, UNKNOWN_TOPIC, NOT_ALLOWED, NO_GROUP, UNSUPPORTED, BAD_LOGIN = 1, 3, 29, 30, 35, 58
Fault = Literal["reset", "truncated", "garbage", "silent"]


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC = _crc_table()


def crc32c(data: bytes) -> int:
    """Return the Castagnoli checksum, which batches carry."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(number: int) -> bytes:
    """Return a zigzag number."""
    number = number << 1 ^ number >> 63
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def sized(value: bytes | None) -> bytes:
    """Return bytes behind their length."""
    return varint(-1) if value is None else varint(len(value)) + value


def text(value: str | None) -> bytes:
    """Return a string of the protocol."""
    return struct.pack(">h", -1) if value is None else struct.pack(">h", len(value.encode())) + value.encode()


def array(items: Sequence[bytes]) -> bytes:
    """Return an array of the protocol."""
    return struct.pack(">i", len(items)) + b"".join(items)


class Reader:
    """Takes a request apart."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, form: str) -> Any:
        (value,) = struct.unpack_from(">" + form, self._data, self._at)
        self._at += struct.calcsize(">" + form)
        return value

    def text(self) -> str | None:
        size = self.take("h")
        return None if size < 0 else self.raw(size).decode()

    def raw(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def items(self) -> range:
        return range(max(0, self.take("i")))


@dataclass(frozen=True)
class Entry:
    """One message, or the mark at a transaction's end. producer: -1 outside of transactions."""

    offset: int
    at: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    producer: int = -1
    ends: Literal["commit", "abort", None] = None

    def batch(self) -> bytes:
        attributes = (0x10 if self.producer >= 0 else 0) | (0x20 if self.ends else 0)
        key = struct.pack(">hh", 0, self.ends == "commit") if self.ends else self.key
        headers = b"".join(sized(name.encode()) + sized(value) for name, value in self.headers)
        record = b"\0" + varint(0) * 2 + sized(key) + sized(self.value) + varint(len(self.headers)) + headers
        body = struct.pack(">hiqqqhii", attributes, 0, self.at, self.at, self.producer, 0, -1, 1) + sized(record)
        rest = struct.pack(">ibI", 0, 2, crc32c(body)) + body
        return struct.pack(">qi", self.offset, len(rest)) + rest


@dataclass
class Partition:
    """The log of one partition."""

    low: int = 0
    high: int = 0
    entries: list[Entry] = field(default_factory=list)
    # Transactions that were given up: producer, first offset, offset of the mark at the end.
    aborted: list[tuple[int, int, int]] = field(default_factory=list)
    open_from: int | None = None

    @property
    def stable(self) -> int:
        return self.high if self.open_from is None else self.open_from

    def add(self, **of: Any) -> int:
        self.entries.append(Entry(offset=self.high, **of))
        self.high += 1
        return self.high - 1

    def delete_before(self, offset: int) -> None:
        self.low = offset
        self.entries = [entry for entry in self.entries if entry.offset >= offset]


class Broker:
    """Holds topics and answers requests; `faults` meet the fetches that come.

    login: user and password that must be given (PLAIN). tls: how the socket is wrapped.
    """

    def __init__(self, *, login: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.topics: dict[str, list[Partition]] = {}
        self.login, self.tls = login, tls
        self.forbidden: set[str] = set()
        self.groups_forbidden = False
        self.committed: dict[tuple[str, str, int], int] = {}
        self.fetched = 0
        self._faults: list[tuple[Fault, int, int]] = []
        self._producers = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.broker = self
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def topic(self, name: str, partitions: int = 1) -> None:
        """Make a topic, or give it more partitions."""
        held = self.topics.setdefault(name, [])
        held += [Partition() for _ in range(partitions - len(held))]

    def put(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, partition: int = 0, at: int = 0,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> int:  # fmt: skip
        """Add a message; return its offset."""
        return self.topics[topic][partition].add(at=at, key=key, value=value, headers=tuple(headers))

    def transaction(
        self, topic: str, values: Sequence[bytes], ends: Literal["commit", "abort", None], partition: int = 0
    ) -> None:
        """Add the messages of a transaction, and the mark at its end; None leaves it open."""
        log, self._producers = self.topics[topic][partition], self._producers + 1
        first = log.high
        for value in values:
            log.add(at=0, key=None, value=value, producer=self._producers)
        if ends is None:
            log.open_from = first
            return
        mark = log.add(at=0, key=None, value=b"\0" * 6, producer=self._producers, ends=ends)
        if ends == "abort":
            log.aborted.append((self._producers, first, mark))

    def fail(self, fault: Fault, *, after: int = 0, times: int = 1) -> None:
        """Let fetches go wrong, behind those that go well."""
        self._faults.append((fault, self.fetched + after, self.fetched + after + times))

    def heal(self) -> None:
        self._faults.clear()

    def fault(self) -> Fault | None:
        self.fetched += 1
        return next((fault for fault, first, end in self._faults if first < self.fetched <= end), None)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    broker: Broker


class _Handler(socketserver.BaseRequestHandler):
    @property
    def _broker(self) -> Broker:
        return cast(_Server, self.server).broker

    def handle(self) -> None:
        tls, connection = self._broker.tls, self.request
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A client that goes away or does not trust us is no fault of ours.
        with suppress(OSError), tls.wrap_socket(connection, server_side=True) if tls else connection as talk:
            self._serve(talk)

    def _serve(self, connection: socket.socket) -> None:
        broker = self._broker
        self._known = broker.login is None
        while (head := _exactly(connection, 4)) and (body := _exactly(connection, struct.unpack(">i", head)[0])):
            request = Reader(body)
            api, version, number = request.take("h"), request.take("h"), request.take("i")
            request.text()
            answer = self._answer(api, version, request)
            fault = broker.fault() if api == FETCH else None
            if answer is None or fault == "reset":
                return
            framed = struct.pack(">ii", len(answer) + 4, number) + answer
            if fault == "silent":
                time.sleep(1)
            if fault == "truncated":
                return connection.sendall(framed[:-7])
            if fault == "garbage":
                framed = framed[:-7] + bytes(255 - byte for byte in framed[-7:])
            connection.sendall(framed)

    def _answer(self, api: int, version: int, request: Reader) -> bytes | None:
        if api == API_VERSIONS:
            known = [struct.pack(">hhh", one, *between) for one, between in VERSIONS.items()]
            return struct.pack(">h", UNSUPPORTED if version > 0 else 0) + array(known)
        if api in (SASL_HANDSHAKE, SASL_AUTHENTICATE):
            return self._login(api, request)
        if not self._known:
            return None
        answers = {
            FETCH: _fetch, LIST_OFFSETS: _list_offsets, METADATA: _metadata, OFFSET_COMMIT: _commit,
            FIND_COORDINATOR: _coordinator,
        }  # fmt: skip
        return answers[api](self._broker, request)

    def _login(self, api: int, request: Reader) -> bytes | None:
        login = self._broker.login
        if login is None:
            return None
        if api == SASL_HANDSHAKE:
            return struct.pack(">h", 0) + array([text("PLAIN")])
        self._known = request.raw(request.take("i")).decode().split("\0")[1:] == list(login)
        return struct.pack(">h", 0 if self._known else BAD_LOGIN) + text(None) + struct.pack(">i", 0)


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = connection.recv(size - len(found))
        if not more:
            return b""
        found += more
    return found


def _metadata(broker: Broker, request: Reader) -> bytes:
    # No array is asked for by a length of -1: all topics.
    count = request.take("i")
    names = list(broker.topics) if count < 0 else [request.text() or "" for _ in range(count)]
    topics = []
    for name in names:
        error = NOT_ALLOWED if name in broker.forbidden else 0 if name in broker.topics else UNKNOWN_TOPIC
        logs = broker.topics.get(name, ()) if not error else ()
        places = [struct.pack(">hii", 0, place, 1) + array([struct.pack(">i", 1)]) * 2 for place in range(len(logs))]
        topics.append(struct.pack(">h", error) + text(name) + b"\0" + array(places))
    node = struct.pack(">i", 1) + text("127.0.0.1") + struct.pack(">i", broker.port) + text(None)
    return struct.pack(">i", 0) + array([node]) + text("cluster") + struct.pack(">i", 1) + array(topics)


def _list_offsets(broker: Broker, request: Reader) -> bytes:
    _ = request.take("i"), request.take("b")
    topics = []
    for _ in request.items():
        name = request.text() or ""
        found = []
        for _ in request.items():
            place, at = request.take("i"), request.take("q")
            log = broker.topics[name][place]
            later = (entry.offset for entry in log.entries if entry.at >= at and not entry.ends)
            offset = {-2: log.low, -1: log.stable}.get(at, next(later, -1) if at >= 0 else -1)
            found.append(struct.pack(">ihqq", place, 0, -1, offset))
        topics.append(text(name) + array(found))
    return struct.pack(">i", 0) + array(topics)


def _fetch(broker: Broker, request: Reader) -> bytes:
    request.take("i")
    wait, _, _, _ = request.take("i"), request.take("i"), request.take("i"), request.take("b")
    asked = []
    for _ in request.items():
        name = request.text() or ""
        asked.append((name, [(request.take("i"), request.take("q"), request.take("i")) for _ in request.items()]))
    parts = [
        (name, [_part(broker.topics[name][place], place, *rest) for place, *rest in places]) for name, places in asked
    ]
    if not any(full for _, places in parts for full, _ in places):
        time.sleep(wait / 1000)
    return struct.pack(">i", 0) + array([text(name) + array([part for _, part in places]) for name, places in parts])


def _part(log: Partition, place: int, offset: int, room: int) -> tuple[bool, bytes]:
    error = OUT_OF_RANGE if not log.low <= offset <= log.high else 0
    aborted = [one for one in log.aborted if one[2] >= offset]
    held = b""
    for entry in log.entries:
        if error or entry.offset >= log.stable or len(held) > room:
            break
        if entry.offset >= offset:
            held += entry.batch()
    told = array([struct.pack(">qq", producer, first) for producer, first, _ in aborted])
    head = struct.pack(">ihqq", place, error, log.high, log.stable)
    return bool(held or error), head + told + struct.pack(">i", len(held)) + held


def _coordinator(broker: Broker, request: Reader) -> bytes:
    error = NO_GROUP if broker.groups_forbidden else 0
    return struct.pack(">hi", error, 1) + text("127.0.0.1") + struct.pack(">i", broker.port)


def _commit(broker: Broker, request: Reader) -> bytes:
    group = request.text() or ""
    _ = request.take("i"), request.text(), request.take("q")
    topics = []
    for _ in request.items():
        name = request.text() or ""
        found = []
        for _ in request.items():
            place, offset = request.take("i"), request.take("q")
            request.text()
            broker.committed[group, name, place] = offset
            found.append(struct.pack(">ih", place, 0))
        topics.append(text(name) + array(found))
    return array(topics)


@contextmanager
def broker(**of: Any) -> Iterator[Broker]:
    """Run a broker."""
    made = Broker(**of)
    try:
        yield made
    finally:
        made.close()
