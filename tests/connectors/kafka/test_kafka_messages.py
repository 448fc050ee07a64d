"""What a Kafka message becomes: records as of JSON lines, tombstones, and what is no record."""

from __future__ import annotations

import json

import pytest

from tests.connectors.kafka.broker import Broker
from tests.connectors.kafka.reading import ids, read, value

pytest.importorskip("confluent_kafka", reason="needs the extra `kafka`")


def test_values_come_as_text_and_the_metadata_that_is_asked_for_beside_them(cluster: Broker, topic: str) -> None:
    sent = value(id=7, ok=True, nested={"a": [1]}, none=None, kafka_offset="own")
    headers = [("source", b"app"), ("trace", None), ("source", b"web")]
    cluster.put(topic, sent, key=b"k\xff", at=1_767_225_600_123, headers=headers)
    (row,), state = read(cluster, topic, metadata=["key", "headers", "timestamp", "partition", "offset"])
    assert row == {
        "id": "7",
        "ok": "true",
        "nested": '{"a":[1]}',
        "none": None,
        "kafka_offset_2": "own",
        "kafka_key": "k\\udcff",
        "kafka_headers": '{"source":"web","trace":null}',
        "kafka_timestamp": "2026-01-01T00:00:00.123Z",
        "kafka_partition": "0",
        "kafka_offset": "0",
        "_malformed": None,
    }
    assert state == {"offsets": {"0": 1}}


def test_what_is_no_json_object_comes_as_a_record_with_its_text(cluster: Broker, topic: str) -> None:
    for bad in (b"{", b"[1]", b"7", b"\xff", b'{"id": NaN}', b'{"id": "\\ud800"}', b"\0\0\0\0\1avro", b""):
        cluster.put(topic, bad)
    cluster.put(topic, b'\0\0\0\0\1{"id": "framed"}')
    cluster.put(topic, value(id="plain"))
    rows, _ = read(cluster, topic, metadata=["offset"])
    assert [row["_malformed"] for row in rows[:8]] == [
        "{", "[1]", "7", "\\udcff", '{"id": NaN}', '{"id": "\\ud800"}', "\\x00\\x00\\x00\\x00\x01avro", "",
    ]  # fmt: skip
    assert ids(rows) == ["framed", "plain"]
    assert [row["kafka_offset"] for row in rows] == [str(n) for n in range(10)]


@pytest.mark.parametrize("key", [b"7", b'"7"', b'{"id": "7", "shop": "x"}', b'{"id": 7}'])
def test_a_message_without_a_value_deletes_the_record_of_its_key(cluster: Broker, topic: str, key: bytes) -> None:
    cluster.put(topic, value(id="7"), key=key)
    cluster.put(topic, None, key=key)
    rows, _ = read(cluster, topic, key=["id"])
    assert [(row["id"], row["_deleted"], row["_malformed"]) for row in rows] == [("7", None, None), ("7", "true", None)]


@pytest.mark.parametrize(
    ("key", "columns"), [(b"7", ()), (None, ["id"]), (b"7", ["id", "shop"]), (b'{"no": 1}', ["id"]), (b"", ["id"])]
)
def test_a_message_without_a_value_whose_key_names_no_record_is_malformed(
    cluster: Broker, topic: str, key: bytes | None, columns: list[str]
) -> None:
    cluster.put(topic, None, key=key)
    (row,), _ = read(cluster, topic, key=columns)
    assert json.loads(row["_malformed"]) == {"key": None if key is None else key.decode(), "value": None}
    assert not row.get("_deleted")


def test_columns_of_the_key_fill_those_that_the_value_lacks(cluster: Broker, topic: str) -> None:
    cluster.put(topic, value(name="a"), key=b'{"id": 1, "shop": "x"}')
    cluster.put(topic, value(id="own"), key=b'{"id": 2, "shop": "y"}')
    rows, _ = read(cluster, topic, key=["id", "shop"])
    assert [(row["id"], row["shop"]) for row in rows] == [("1", "x"), ("own", "y")]


def test_segment_events_and_receipts_come_in_the_columns_that_files_give_them(cluster: Broker, topic: str) -> None:
    cluster.put(topic, value(messageId="m", type="track", event="Seen", userId="u", timestamp="2026-01-01T00:00:00Z"))
    (row,), _ = read(cluster, topic, format="segment")
    assert (row["message_id"], row["event"], row["user_id"]) == ("m", "Seen", "u")
    (bad,), _ = read(cluster, topic, format="onetrust")
    assert bad["_malformed"]
