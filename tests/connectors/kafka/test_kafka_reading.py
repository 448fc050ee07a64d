"""Kafka as a source: from where the last read ended to where each partition ends now; nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from consentry.connectors import kafka_read
from tests.connectors.kafka.broker import Broker
from tests.connectors.kafka.reading import NAMES, Rows, ids, read, refusal, source, value

pytest.importorskip("confluent_kafka", reason="needs the extra `kafka`")


def test_a_later_read_brings_what_came_since_and_nothing_twice(cluster: Broker, topic: str) -> None:
    cluster.put(topic, value(id="1"))
    rows, state = read(cluster, topic)
    cluster.put(topic, value(id="2"))
    more, later = read(cluster, topic, state)
    assert (ids(rows), ids(more)) == (["1"], ["2"])
    assert read(cluster, topic, later) == ([], later)


def test_a_read_ends_where_the_topic_ended_when_it_began(
    cluster: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_read, "PAGE_ROWS", 1)
    for number in range(3):
        cluster.put(topic, value(id=str(number)))
    made, rows, state = source(cluster, {"topic": topic}), Rows(), dict[str, Any]()
    for page in made.read(made.discover()[0], {}):
        # Somebody writes without end.
        cluster.put(topic, value(id="later"))
        rows, state = [*rows, *page.records.to_pylist()], dict(page.state)
    assert ids(rows) == ["0", "1", "2"]
    assert state == {"offsets": {"0": 3}}


@pytest.mark.parametrize("times", [1, 3])
def test_messages_that_came_damaged_are_fetched_again_and_none_is_passed_over(cluster: Broker, times: int) -> None:
    name = next(NAMES)
    cluster.topic(name, 2)
    for number in range(40):
        cluster.put(name, value(id=str(number)), partition=number % 2)
    cluster.fail("garbage", times=times)
    rows, state = read(cluster, name)
    cluster.heal()
    assert sorted(ids(rows), key=int) == [str(number) for number in range(40)]
    assert state == {"offsets": {"0": 20, "1": 20}}


def test_what_stays_damaged_is_told(cluster: Broker, topic: str) -> None:
    cluster.put(topic, value(id="1"))
    cluster.fail("garbage", times=1000)
    refused = refusal(cluster, topic)
    cluster.heal()
    assert refused.code == "damaged"


def test_transactions_are_read_once_they_are_committed_and_never_when_given_up(cluster: Broker, topic: str) -> None:
    cluster.transaction(topic, [value(id="kept")], "commit")
    cluster.transaction(topic, [value(id="given up")], "abort")
    rows, state = read(cluster, topic)
    assert ids(rows) == ["kept"]
    # The marks at the ends of transactions are passed over: nothing is asked for again.
    assert state == {"offsets": {"0": 4}}
    cluster.transaction(topic, [value(id="open")], None)
    cluster.put(topic, value(id="behind it"))
    assert read(cluster, topic, state) == ([], state)


def test_the_first_read_begins_where_the_stream_says(cluster: Broker) -> None:
    name = next(NAMES)
    cluster.topic(name, 2)
    for number in range(6):
        cluster.put(name, value(id=str(number)), partition=number % 2, at=1_767_225_600_000 + number)
    since, _ = read(cluster, name, start="2026-01-01T00:00:00.003Z")
    assert sorted(ids(since)) == ["3", "4", "5"]
    assert read(cluster, name, start="2027-01-01T00:00:00Z") == ([], {"offsets": {"0": 3, "1": 3}})
    nothing, state = read(cluster, name, start="latest")
    assert (nothing, state) == ([], {"offsets": {"0": 3, "1": 3}})
    cluster.put(name, value(id="new"))
    cluster.topic(name, 3)
    cluster.put(name, value(id="in a new partition"), partition=2)
    rows, later = read(cluster, name, state, start="latest")
    assert sorted(ids(rows)) == ["in a new partition", "new"]
    assert later == {"offsets": {"0": 4, "1": 3, "2": 1}}


def test_a_record_that_moved_to_another_partition_ends_as_its_last_message_says(cluster: Broker) -> None:
    name = next(NAMES)
    cluster.topic(name, 4)
    versions = [(3, "1"), (3, "2"), (1, "3"), (0, "4"), (2, "5")]
    for at, (partition, version) in enumerate(versions):
        cluster.put(name, value(id="7", version=version), partition=partition, at=at)
    rows, _ = read(cluster, name)
    assert [row["version"] for row in rows] == ["1", "2", "3", "4", "5"]


def test_messages_that_were_deleted_unread_stop_the_read_unless_gaps_are_skipped(cluster: Broker, topic: str) -> None:
    for number in range(5):
        cluster.put(topic, value(id=str(number)))
    cluster.topics[topic][0].delete_before(3)
    refused = refusal(cluster, topic, {"offsets": {"0": 1}})
    assert refused.code == "messages_gone"
    assert "only from message 3 on, and 1 comes next" in str(refused) and "gaps: skip" in str(refused)
    made = source(cluster, {"topic": topic, "gaps": "skip"})
    (page,) = made.read(made.discover()[0], {"offsets": {"0": 1}})
    assert page.records["id"].to_pylist() == ["3", "4"]
    assert ["some may be missing" in remark for remark in made.remarks()] == [True]


def test_a_topic_that_was_made_anew_is_not_read_on(cluster: Broker, topic: str) -> None:
    cluster.put(topic, value(id="0"))
    assert "made anew" in str(refusal(cluster, topic, {"offsets": {"0": 5}}))
    assert "only 1 partitions now" in str(refusal(cluster, topic, {"offsets": {"0": 1, "1": 1}}))
    rows, state = read(cluster, topic, {"offsets": {"0": 5, "1": 1}}, gaps="skip")
    assert (ids(rows), state) == (["0"], {"offsets": {"0": 1}})


def test_messages_that_are_deleted_during_a_read_stop_it(
    cluster: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.put(topic, value(id="0"))
    bounds = kafka_client_bounds(cluster, topic)
    monkeypatch.setattr("consentry.connectors.kafka_client.KafkaClient.bounds", lambda *_: bounds)
    cluster.topics[topic][0].delete_before(1)
    cluster.put(topic, value(id="1"))
    assert refusal(cluster, topic).code == "messages_gone"


def kafka_client_bounds(cluster: Broker, topic: str) -> tuple[int, int]:
    log = cluster.topics[topic][0]
    return log.low, log.high


def test_a_topic_that_is_not_there_is_told_with_the_nearest_name(cluster: Broker) -> None:
    cluster.topic("customers")
    refused = refusal(cluster, "custmers")
    assert refused.code == "unknown_topic" and "did you mean 'customers'?" in str(refused)
    found = source(cluster, {"topic": "custmers"}).check()
    assert not found.ok and found.sentence == str(refused)
    assert source(cluster, {"topic": "customers"}).check().ok


def test_every_topic_is_discovered_when_the_job_names_none(cluster: Broker) -> None:
    cluster.topic("orders")
    cluster.topic("__consumer_offsets")
    found = [stream.name for stream in source(cluster).discover()]
    assert "orders" in found and "__consumer_offsets" not in found
