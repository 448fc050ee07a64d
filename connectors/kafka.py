"""Kafka topics as a source: JSON messages, read behind the offsets that are kept with what was landed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import AwareDatetime, Field, SecretStr, StringConstraints, model_validator

from consentry.connectors.base import Check, ConnectorConfig, Page, State, Stream
from consentry.connectors.kafka_messages import Layout, Metadata, ValueFormat
from consentry.connectors.kafka_read import TopicRead, Wanted, partitions_of
from consentry.errors import ConfigError, SourceFailed

if TYPE_CHECKING:
    from consentry.connectors.kafka_client import KafkaClient

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
Broker = Annotated[str, StringConstraints(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$")]


class KafkaLogin(ConnectorConfig):
    """A user of the cluster."""

    mechanism: Literal["plain", "scram-sha-256", "scram-sha-512"] = Field(
        default="scram-sha-512", description="How the cluster asks for the password (SASL)."
    )
    username: str = Field(description="The user; an API key at hosted clusters.")
    password: SecretStr = Field(description="The password, as ${VARIABLE}.")


class KafkaConfig(ConnectorConfig):
    """The cluster, and how to log in."""

    brokers: tuple[Broker, ...] = Field(min_length=1, description="Brokers to ask first, as host:port.")
    tls: bool = Field(default=True, description="Encrypt the connection; false in a network of your own alone.")
    ca: Path | None = Field(
        default=None, description="The authorities to trust, a PEM file; by default those of the system."
    )
    certificate: Path | None = Field(default=None, description="Our certificate for mutual TLS, a PEM file.")
    private_key: Path | None = Field(default=None, description="The certificate's key, a PEM file.")
    private_key_password: SecretStr | None = Field(default=None, description="The key's password, as ${VARIABLE}.")
    login: KafkaLogin | None = Field(default=None, description="The user, where the cluster wants one.")
    group: str | None = Field(
        default=None,
        min_length=1,
        description="Tell the cluster under this consumer group how far was read, for those who watch the lag.",
    )
    timeout: float = Field(default=30.0, gt=0, le=600, description="Seconds that the cluster may take to answer.")

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("a 'certificate' and its 'private_key' come together")
        if not self.tls and (self.ca or self.certificate):
            raise ValueError("'ca' and 'certificate' are for 'tls: true'")
        here = all(broker.rpartition(":")[0] in _LOOPBACK for broker in self.brokers)
        if self.login and self.login.mechanism == "plain" and not self.tls and not here:
            raise ValueError("the mechanism 'plain' sends the password as it is, and needs 'tls: true'")
        return self


class KafkaStream(ConnectorConfig):
    """A topic, and how it is read."""

    topic: str | None = Field(default=None, min_length=1, description="The topic; the stream's name by default.")
    start: Literal["earliest", "latest"] | AwareDatetime = Field(
        default="earliest",
        description="Where the first read begins: earliest, latest, or the messages since an instant with its zone.",
    )
    format: ValueFormat = Field(
        default="json",
        description="json, segment, or a consent feed (onetrust, cookiebot, segment_consent, rudderstack_consent, "
        "mparticle_consent, tcf, gpp).",
    )
    key: tuple[str, ...] = Field(
        default=(),
        description="The columns that a message's key holds: one takes its text, several the fields of a JSON object. "
        "With them, a message without a value deletes the record of its key.",
    )
    metadata: tuple[Metadata, ...] = Field(
        default=(), description="What comes beside the value, as kafka_key, kafka_headers and so on."
    )
    gaps: Literal["stop", "skip"] = Field(
        default="stop", description="When messages were deleted before they were read: stop, or skip them, remarked."
    )


class Kafka:
    """The topics of one Kafka cluster; nothing is written to them.

    A read ends where each partition ended when it began. Proof level C: read with librdkafka, against its own mock
    cluster and a simulated broker.
    """

    Config: ClassVar[type[ConnectorConfig]] = KafkaConfig
    StreamOptions: ClassVar[type[ConnectorConfig]] = KafkaStream

    def __init__(
        self, config: KafkaConfig, *, streams: Mapping[str, KafkaStream] | None = None, base: Path = Path()
    ) -> None:
        self._config, self._streams, self._base = config, dict(streams or {}), base
        self._remarks: list[str] = []

    def __repr__(self) -> str:
        return f"Kafka({', '.join(self._config.brokers)})"

    def check(self) -> Check:
        """Log in, and look for every stream's topic."""
        try:
            streams = self.discover()
        except (SourceFailed, ConfigError) as error:
            return Check(False, str(error))
        return Check(
            True, f"Kafka at {', '.join(self._config.brokers)} answers. Topics that can be read: {len(streams)}."
        )

    def discover(self) -> list[Stream]:
        """List the streams of the job, or every topic when it names none."""
        with self._client() as client:
            if not self._streams:
                return [self._described(topic, KafkaStream()) for topic in client.topics()]
            for name, options in self._streams.items():
                partitions_of(client, options.topic or name)
        return [self._described(name, options) for name, options in self._streams.items()]

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield the messages behind the offsets of `state`, up to where each partition ends now."""
        options = self._streams.get(stream.name, KafkaStream())
        wanted = Wanted(
            options.topic or stream.name, options.start, options.gaps, _layout(options), self._remarks.append
        )
        with self._client() as client:
            read = TopicRead(client, wanted, state)
            yield from read.pages()
            if self._config.group:
                client.commit(wanted.topic, read.offsets)

    def remarks(self) -> list[str]:
        """Say where messages were deleted before they were read, and the stream goes on without them."""
        return list(self._remarks)

    def _described(self, name: str, options: KafkaStream) -> Stream:
        described = f"Messages of topic {options.topic or name}."
        return Stream(name, options.key, _layout(options).schema, description=described)

    def _client(self) -> KafkaClient:
        try:
            from consentry.connectors.kafka_client import KafkaClient
        except ModuleNotFoundError:
            raise ConfigError("Install consentry[kafka] to read from Kafka.", code="no_driver") from None
        settings = _settings(self._config, self._base)
        return KafkaClient(settings, group=self._config.group or "consentry", timeout=self._config.timeout)


def _layout(options: KafkaStream) -> Layout:
    return Layout(options.format, options.key, options.metadata)


def _settings(config: KafkaConfig, base: Path) -> dict[str, object]:
    """Write the connection in librdkafka's words. Raises ConfigError when a file is missing."""
    protocol = ("sasl_" if config.login else "") + ("ssl" if config.tls else "plaintext")
    found: dict[str, object] = {"bootstrap.servers": ",".join(config.brokers), "security.protocol": protocol}
    files = {
        "ssl.ca.location": config.ca,
        "ssl.certificate.location": config.certificate,
        "ssl.key.location": config.private_key,
    }
    for name, path in files.items():
        if path is not None:
            if not (base / path).is_file():
                raise ConfigError(f"There is no file {path}, which the connection names.", code="file_missing")
            found[name] = str((base / path).resolve())
    if config.private_key_password:
        found["ssl.key.password"] = config.private_key_password.get_secret_value()
    if config.login:
        found["sasl.mechanism"] = config.login.mechanism.upper()
        found["sasl.username"] = config.login.username
        found["sasl.password"] = config.login.password.get_secret_value()
    # librdkafka waits no shorter than a second for a connection.
    milliseconds = max(1000, int(config.timeout * 1000))
    found |= {"socket.timeout.ms": milliseconds, "socket.connection.setup.timeout.ms": milliseconds}
    return found
