"""Talk to a Kafka cluster: topics, offsets and messages, each call within a bounded time, each failure a sentence.

The one module that imports confluent-kafka (the extra `kafka`). Nothing is ever written to a topic, none is made by
asking for it, and no consumer group is joined: partitions and offsets are named by us.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Raw

from consentry.connectors.kafka_messages import End, Message
from consentry.errors import SourceFailed

T = TypeVar("T")
BATCH = 500
QUEUE_KILOBYTES = 16_384
# `consume` waits as long even when there are messages, as long as they are few.
_TICK = 0.05
_COMMIT_SECONDS = 5.0
_FIXED: Mapping[str, object] = {
    "client.id": "consentry",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    # Messages of transactions that were given up are never seen.
    "isolation.level": "read_committed",
    # An offset that is not there any more is an error, never another place to begin at.
    "auto.offset.reset": "error",
    "allow.auto.create.topics": False,
    "check.crcs": True,
    "fetch.wait.max.ms": 100,
    "fetch.max.bytes": QUEUE_KILOBYTES * 1024,
    "queued.max.messages.kbytes": QUEUE_KILOBYTES,
    # A run may work on what it has for longer than Kafka's five minutes before it reads on.
    "max.poll.interval.ms": 86_400_000,
    # What the library would print tells hosts and users.
    "log_level": 0,
}
_NO_LOGIN = (
    "login_refused",
    "{at} refuses the login. Check 'login' in the connection, and whether the user exists there.",
)
# The library's name of a message whose checksum is wrong; how often it is fetched again.
_DAMAGED, _TRIES = "_BAD_MSG", 3
# The library's names of errors that do not pass: our code, and the sentence.
_REFUSED = {
    "_AUTHENTICATION": _NO_LOGIN,
    "SASL_AUTHENTICATION_FAILED": _NO_LOGIN,
    "_SSL": (
        "tls_failed",
        "The TLS connection to {at} fails. Check 'tls', 'ca' and 'certificate' in the connection, and the host names "
        "in the broker's certificate.",
    ),
    "TOPIC_AUTHORIZATION_FAILED": (
        "not_allowed",
        "{at} does not let this user read the topic. Allow the user to describe and to read it.",
    ),
    "_AUTO_OFFSET_RESET": (
        "messages_gone",
        "{at} deleted messages while they were read. Keep messages longer there (retention.ms); run again.",
    ),
    _DAMAGED: ("damaged", "{at} gave a damaged message. Run again; tell those who run the cluster if it stays."),
}
_AWAY = (
    "{at} does not answer within {seconds:g} s. Check 'brokers' in the connection (host:port), the network, and "
    "whether the cluster wants TLS or a login."
)


class KafkaClient:
    """A connection to one cluster, to be used in a `with` block.

    settings: where the brokers are and how to log in, in librdkafka's words. timeout: seconds that an answer may take.
    """

    def __init__(self, settings: Mapping[str, object], *, group: str, timeout: float) -> None:
        self._at = f"Kafka at {settings['bootstrap.servers']}"
        self._timeout = timeout
        self._heard: set[str] = set()
        self._committed = False
        # The topic that is fetched, from where each partition goes on, and how often it came damaged in a row.
        self._topic, self._next = "", dict[int, int]()
        self._damaged: Counter[int] = Counter()
        own: dict[str, Any] = {"group.id": group, "error_cb": self._hear, "on_commit": self._note_commit}
        try:
            self._consumer = Consumer({**_FIXED, **settings, **own})
        except KafkaException:
            message = f"The connection to {self._at} cannot be made. Check the files and the password of 'certificate'."
            raise SourceFailed(message, code="bad_connection") from None

    def __enter__(self) -> KafkaClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def topics(self) -> list[str]:
        """Return the topics that this user may see, Kafka's own left out."""
        found = self._asked(lambda: self._consumer.list_topics(timeout=self._timeout))
        return sorted(name for name in found.topics if not name.startswith("__"))

    def partitions(self, topic: str) -> list[int]:
        """Return the partitions of a topic, none when there is no such topic."""
        found = self._asked(lambda: self._consumer.list_topics(topic, timeout=self._timeout)).topics.get(topic)
        if found is not None and found.error and found.error.name() in _REFUSED:
            raise self._refused(found.error.name())
        return sorted(found.partitions) if found is not None else []

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the offset of the first message there is, and the one behind the last that is settled."""
        return self._asked(
            lambda: self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=self._timeout)
        )

    def at(self, topic: str, partition: int, milliseconds: int) -> int | None:
        """Return the offset of the first message of a time or later, None when there is none."""
        asked = [TopicPartition(topic, partition, milliseconds)]
        (found,) = self._asked(lambda: self._consumer.offsets_for_times(asked, timeout=self._timeout))
        return found.offset if found.offset >= 0 else None

    def begin(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Begin to fetch partitions of a topic, each from its offset."""
        self._topic, self._next = topic, dict(offsets)
        self._consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in offsets.items()])

    def messages(self) -> list[Message | End]:
        """Wait until something comes, and return it.

        Raises SourceFailed when nothing comes for as long as an answer may take.
        """
        until = time.monotonic() + self._timeout
        while True:
            came = list(self._sound(self._consumer.consume(BATCH, _TICK)))
            if came:
                return came
            if time.monotonic() > until:
                raise self._away()

    def pause(self, topic: str, partition: int) -> None:
        """Stop fetching a partition; what came of it and was not yielded yet comes again."""
        self._consumer.pause([TopicPartition(topic, partition)])

    def resume(self, topic: str, partition: int) -> None:
        """Fetch a partition on."""
        self._consumer.resume([TopicPartition(topic, partition)])

    def commit(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Tell the broker how far was read, for those who watch it; a failure is nobody's trouble."""
        told = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        until = time.monotonic() + min(_COMMIT_SECONDS, self._timeout)
        with suppress(KafkaException):
            self._consumer.commit(offsets=told)
            while not self._committed and time.monotonic() < until:
                self._consumer.poll(_TICK)

    def _sound(self, received: Iterable[Raw]) -> Iterator[Message | End]:
        """Yield what is of use; a partition that came damaged is fetched anew from there, since the library goes on."""
        damaged = set[int]()
        for raw in received:
            partition, error = raw.partition() or 0, raw.error()
            if error is not None and error.name() == _DAMAGED:
                damaged.add(partition)
            elif partition not in damaged and (found := self._of_use(raw)):
                if isinstance(found, Message):
                    self._next[partition] = found.offset + 1
                    self._damaged.pop(partition, None)
                yield found
        for partition in damaged:
            self._damaged[partition] += 1
            if self._damaged[partition] > _TRIES:
                raise self._refused(_DAMAGED)
            self._consumer.seek(TopicPartition(self._topic, partition, self._next[partition]))

    def _of_use(self, raw: Raw) -> Message | End | None:
        """Return a message or an end; nothing of an error that may pass, or is about groups, which we do not join."""
        error = raw.error()
        if error is None:
            return _message(raw)
        if error.name() == "_PARTITION_EOF":
            return End(raw.partition() or 0, raw.offset() or 0)
        if error.name() in _REFUSED:
            raise self._refused(error.name())
        return None

    def _hear(self, error: KafkaError) -> None:
        self._heard.add(error.name())

    def _note_commit(self, error: KafkaError | None, partitions: Collection[TopicPartition]) -> None:
        self._committed = True

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except KafkaException as error:
            name = error.args[0].name()
        # Raised here, so that the library's own error, which quotes hosts and users, is not its context.
        raise self._refused(name) if name in _REFUSED else self._away()

    def _refused(self, name: str) -> SourceFailed:
        code, sentence = _REFUSED[name]
        return SourceFailed(sentence.format(at=self._at), code=code)

    def _away(self) -> SourceFailed:
        # Why no broker can be reached is told by a callback that only `poll` calls.
        self._consumer.poll(0)
        for name in _REFUSED:
            if name in self._heard:
                return self._refused(name)
        return SourceFailed(_AWAY.format(at=self._at, seconds=self._timeout), code="no_answer")


def _message(raw: Raw) -> Message:
    kind, at = raw.timestamp()
    return Message(
        partition=raw.partition() or 0,
        offset=raw.offset() or 0,
        at=at if kind else None,
        key=raw.key(),
        value=raw.value(),
        # Its type tells what may be sent as well; what is read is a list of names and bytes.
        headers=cast("list[tuple[str, bytes | None]]", raw.headers() or []),
    )
