"""What comes over a message broker ends in the same memberships, however often and from wherever it is read again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TinyJob, copy_of
from tests.connectors.kafka.broker import Broker, broker
from tests.pipeline.test_capabilities import CALLS, FOUND, collecting, done, store_of

pytest.importorskip("confluent_kafka", reason="needs the extra `kafka`")


@pytest.fixture(scope="module")
def shop() -> Iterator[Broker]:
    """A broker whose topic holds the calls of a website, and one line that is none."""
    with broker() as made:
        made.topic("website.calls", 3)
        for number, call in enumerate(CALLS):
            made.put("website.calls", json.dumps(call).encode(), partition=number % 3, at=number)
        made.put("website.calls", b'{"message_id": "cut o', at=99)
        yield made


@pytest.fixture(scope="module")
def ran(shop: Broker, tmp_path_factory: pytest.TempPathFactory) -> TinyJob:
    """A job that has read the topic."""
    job = collecting(tmp_path_factory.mktemp("ran"))
    job.spec["sources"]["web"]["type"] = "kafka"
    job.spec["sources"]["web"]["connection"] = {"brokers": [shop.address], "tls": False}
    job.spec["sources"]["web"]["streams"]["calls"]["options"] = {"topic": "website.calls"}
    job.write()
    assert done(job) == FOUND
    return job


def test_stream_input_over_kafka_gives_the_memberships_that_files_give(ran: TinyJob) -> None:
    warehouse = store_of(ran)
    try:
        assert warehouse.count("raw.web__calls") == len(CALLS) + 1
        reasons = warehouse.sql("SELECT reasons FROM quarantine.web__calls")["reasons"].to_pylist()
    finally:
        warehouse.close()
    assert sorted("malformed" in reason for reason in reasons) == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize("begin", [0, 9])
def test_stream_input_over_kafka_sent_again_from_any_place_gives_identical_memberships(
    shop: Broker, ran: TinyJob, tmp_path: Path, begin: int
) -> None:
    job = copy_of(ran, tmp_path / "again")
    for number, call in enumerate(CALLS):
        if number // 3 >= begin:
            shop.put("website.calls", json.dumps(call).encode(), partition=(number + begin) % 3, at=number)
    assert done(job) == FOUND
    # Read from the first message on, as if nothing was remembered: the same again.
    anew = copy_of(ran, tmp_path / "anew")
    anew.spec["state"] = str(anew.folder / "other-state")
    anew.write()
    assert done(anew) == FOUND
