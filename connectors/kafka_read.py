"""Read a topic from where the last read ended up to where it ends now, in memory that does not grow with it.

Each partition is read in its own order; between partitions, older messages come first. So a record whose messages
moved to another partition, as they do when a topic gets more of them, still ends as its last message says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Literal

from consentry.connectors.base import Page, State
from consentry.connectors.file_formats import Record, as_batch
from consentry.connectors.kafka_messages import Layout, Message
from consentry.errors import SourceFailed
from consentry.model.names import did_you_mean

if TYPE_CHECKING:
    from consentry.connectors.kafka_client import KafkaClient

PAGE_ROWS = 10_000
PAGE_BYTES = 16 * 1024 * 1024
# What may lie waiting until the other partitions have come as far, in all.
WAITING_BYTES = 32 * 1024 * 1024
Start = Literal["earliest", "latest"] | datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """One stream: its topic, where its first read begins, what to do about lost messages, its columns."""

    topic: str
    start: Start
    gaps: Literal["stop", "skip"]
    layout: Layout
    remark: Callable[[str], None]


@dataclass(slots=True)
class _Lane:
    """One partition on its way. next: the offset behind the last message that was given; end: where to stop."""

    partition: int
    next: int
    end: int
    waiting: deque[Message] = field(default_factory=deque)
    bytes: int = 0
    ended: bool = False
    paused: bool = False

    def put(self, message: Message) -> None:
        """Take in a message; those behind the end are left for the next read."""
        if message.offset < self.end:
            self.waiting.append(message)
            self.bytes += message.size
        self.ended = self.ended or message.offset >= self.end - 1

    def close(self, offset: int) -> None:
        """Take note that nothing is there from an offset on."""
        if not self.ended:
            self.ended, self.end = True, offset

    def take(self) -> Message:
        """Give the first message out."""
        message = self.waiting.popleft()
        self.bytes -= message.size
        self.next = message.offset + 1
        return message

    @property
    def position(self) -> int:
        """Where a later read goes on: offsets without a message (of transactions, of compaction) are passed over."""
        return self.end if self.ended and not self.waiting else self.next


class TopicRead:
    """One read of one topic, behind `state`."""

    def __init__(self, client: KafkaClient, wanted: Wanted, state: State) -> None:
        self._client, self._wanted, self._state = client, wanted, state
        partitions = partitions_of(client, wanted.topic)
        known = {int(partition): int(offset) for partition, offset in state.get("offsets", {}).items()}
        if not known.keys() <= set(partitions):
            self._lost(f"has only {len(partitions)} partitions now, where {max(known) + 1} were read")
        self._lanes = {partition: self._lane(partition, known) for partition in partitions}
        self._room = WAITING_BYTES // len(partitions)

    @property
    def offsets(self) -> dict[int, int]:
        """Where each partition stands."""
        return {partition: lane.position for partition, lane in self._lanes.items()}

    def pages(self) -> Iterator[Page]:
        """Yield the messages up to where each partition ended when the read began."""
        rows: list[Record] = []
        size = 0
        for message in self._merged():
            rows += self._wanted.layout.records(message)
            size += message.size
            if len(rows) >= PAGE_ROWS or size >= PAGE_BYTES:
                yield Page(as_batch(rows), self._now())
                rows, size = [], 0
        if rows or self._now() != self._state:
            yield Page(as_batch(rows), self._now())

    def _now(self) -> dict[str, object]:
        return {"offsets": {str(partition): offset for partition, offset in self.offsets.items()}}

    def _lane(self, partition: int, known: Mapping[int, int]) -> _Lane:
        low, high = self._client.bounds(self._wanted.topic, partition)
        begin = known.get(partition)
        if begin is None:
            begin = self._first(partition, low, high, fresh=not known)
        elif begin > high:
            self._lost(f"ends at message {high} of partition {partition}, where {begin} were read: it was made anew")
            begin = low
        elif begin < low:
            self._lost(f"holds partition {partition} only from message {low} on, and {begin} comes next")
            begin = low
        return _Lane(partition, begin, high, ended=begin >= high)

    def _first(self, partition: int, low: int, high: int, *, fresh: bool) -> int:
        """Return where a partition that was never read begins; one that came later is read from its beginning."""
        start = self._wanted.start
        if isinstance(start, datetime):
            found = self._client.at(self._wanted.topic, partition, int(start.timestamp() * 1000))
            return high if found is None else found
        return high if start == "latest" and fresh else low

    def _lost(self, what: str) -> None:
        """Refuse to go on over messages that nobody can read any more, or remark it where the stream says so."""
        sentence = f"Topic {self._wanted.topic!r} {what}."
        if self._wanted.gaps == "stop":
            raise SourceFailed(
                f"{sentence} Messages may be lost. Have them sent again to a topic, or write 'gaps: skip' in the "
                "stream's options to go on with the oldest ones there are; keep messages longer (retention.ms).",
                code="messages_gone",
            )
        self._wanted.remark(f"{sentence} It was read on from the oldest message there was; some may be missing.")

    def _merged(self) -> Iterator[Message]:
        open_lanes = {lane.partition: lane.next for lane in self._lanes.values() if not lane.ended}
        if open_lanes:
            self._client.begin(self._wanted.topic, open_lanes)
        heads = [head for partition in open_lanes for head in self._head(self._lanes[partition])]
        heapify(heads)
        while heads:
            _, partition = heappop(heads)
            lane = self._lanes[partition]
            yield lane.take()
            for head in self._head(lane):
                heappush(heads, head)

    def _head(self, lane: _Lane) -> Iterator[tuple[int, int]]:
        """Yield the time and the partition of the message that comes next in a lane, when there is one."""
        while not lane.waiting and not lane.ended:
            if lane.paused:
                self._client.resume(self._wanted.topic, lane.partition)
                lane.paused = False
            self._receive()
        if lane.waiting:
            yield lane.waiting[0].at or 0, lane.partition

    def _receive(self) -> None:
        for came in self._client.messages():
            lane = self._lanes[came.partition]
            if isinstance(came, Message):
                lane.put(came)
            else:
                lane.close(came.offset)
            if (lane.ended or lane.bytes > self._room) and not lane.paused:
                self._client.pause(self._wanted.topic, lane.partition)
                lane.paused = True


def partitions_of(client: KafkaClient, topic: str) -> list[int]:
    """Return the partitions of a topic; raises SourceFailed when there is no such topic."""
    if found := client.partitions(topic):
        return found
    hint = did_you_mean(topic, client.topics()) or "."
    message = f"There is no topic {topic!r} that this user may read{hint} Check 'topic' in the stream's options."
    raise SourceFailed(message, code="unknown_topic")
