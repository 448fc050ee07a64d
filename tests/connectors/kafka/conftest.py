"""A broker for all tests of a module, and a topic for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.connectors.kafka.broker import Broker, broker
from tests.connectors.kafka.reading import NAMES


@pytest.fixture(scope="module")
def cluster() -> Iterator[Broker]:
    with broker() as made:
        yield made


@pytest.fixture
def topic(cluster: Broker) -> str:
    name = next(NAMES)
    cluster.topic(name)
    return name
