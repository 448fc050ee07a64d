"""Read topics of a broker with the connector, as tests need it."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest

from consentry.connectors.base import State
from consentry.connectors.kafka import Kafka, KafkaConfig, KafkaStream
from consentry.errors import SourceFailed
from tests.connectors.kafka.broker import Broker

# Short names in a long list are more than librdkafka 2.16 sets memory aside for ("tmpabuf memory shortage").
NAMES = (f"topic-of-a-shop-{number}" for number in count())
Rows = list[dict[str, Any]]


def value(**of: Any) -> bytes:
    return json.dumps(of).encode()


def source(cluster: Broker, options: dict[str, Any] | None = None, **connection: Any) -> Kafka:
    config = {"brokers": [cluster.address], "tls": False, "timeout": 5, **connection}
    streams = {"people": KafkaStream.model_validate(options)} if options is not None else {}
    return Kafka(KafkaConfig.model_validate(config), streams=streams)


def read(cluster: Broker, topic: str, state: State | None = None, **options: Any) -> tuple[Rows, State]:
    made, rows, last = source(cluster, {"topic": topic, **options}), Rows(), dict(state or {})
    for page in made.read(made.discover()[0], state or {}):
        rows += page.records.to_pylist()
        last = json.loads(json.dumps(dict(page.state)))
    return rows, last


def refusal(cluster: Broker, topic: str, state: State | None = None, **options: Any) -> SourceFailed:
    with pytest.raises(SourceFailed) as caught:
        read(cluster, topic, state, **options)
    return caught.value


def ids(rows: Rows) -> list[str]:
    return [row["id"] for row in rows if row["id"] is not None]
