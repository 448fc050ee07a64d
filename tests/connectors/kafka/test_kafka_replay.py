"""Kafka keeps the contract of sources, and replays and failures of any kind end in the same table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.connectors import kafka_read
from consentry.connectors.base import Source
from consentry.connectors.landing import StreamSpec, land
from consentry.errors import SourceFailed
from consentry.testing import SourceContract
from consentry.warehouse import DuckDBWarehouse
from tests.connectors.kafka.broker import Broker, Fault, broker
from tests.connectors.kafka.reading import NAMES, Rows, ids, read, source, value

pytest.importorskip("confluent_kafka", reason="needs the extra `kafka`")

FAULTS: dict[str, Fault] = {"reset": "reset", "delay": "silent", "truncated": "truncated", "garbage": "garbage"}

LOGIN = {"mechanism": "plain", "username": "us", "password": "canary-password"}


class TestKafka(SourceContract):
    secrets = ("canary-password",)

    @pytest.fixture(autouse=True)
    def _cluster(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(kafka_read, "PAGE_ROWS", 6)
        with broker(login=("us", "canary-password")) as self.broker:
            self._fill()
            yield

    def _fill(self, **more: str) -> None:
        self.broker.topics["people"] = []
        self.broker.topic("people", 3)
        for number in range(20):
            self.broker.put("people", value(id=str(number), **more), partition=number % 3, at=number)

    def make(self) -> Source:
        return source(self.broker, {"topic": "people", "key": ["id"]}, login=LOGIN)

    def expected(self) -> set[tuple[str, ...]]:
        return {(str(number),) for number in range(20)}

    def make_empty(self) -> Source:
        self.broker.topic("nothing")
        return source(self.broker, {"topic": "nothing"}, login=LOGIN)

    def inject(self, **fault: Any) -> None:
        if fault["kind"] not in FAULTS:
            pytest.skip("Kafka knows no such thing")
        self.broker.fail(FAULTS[fault["kind"]], after=fault.get("after", 0), times=fault.get("times", 1))

    def change_schema(self) -> str:
        self._fill(shoe="44")
        return "shoe"

    def change_while_paging(self) -> None:
        self.broker.put("people", value(id="7", name="new"), partition=1)


_calm = [HealthCheck.function_scoped_fixture]
Story = list[tuple[int, int]]
_stories = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=30)


@settings(max_examples=10, deadline=None, suppress_health_check=_calm)
@given(story=_stories, data=st.data())
def test_stream_input_replayed_from_any_offsets_gives_the_same_table(
    cluster: Broker, story: Story, data: st.DataObject
) -> None:
    """Who replays from anywhere, and how often, has the same last message of every record as who read once."""
    name = next(NAMES)
    cluster.topic(name, 3)
    # Messages of one record are in one partition; clocks of those who wrote them may be wrong.
    for number, (record, at) in enumerate(story):
        cluster.put(name, value(id=str(record), version=number), partition=record % 3, at=at)
    whole, end = read(cluster, name)
    assert sorted(int(row["version"]) for row in whole) == list(range(len(story)))
    replayed = list(whole)
    for _ in range(data.draw(st.integers(1, 2))):
        offsets = {place: data.draw(st.integers(0, offset)) for place, offset in end["offsets"].items()}
        rows, state = read(cluster, name, {"offsets": offsets})
        assert state == end
        replayed += rows
    assert table(replayed) == table(whole)


def table(rows: Rows) -> dict[str, str]:
    return {row["id"]: row["version"] for row in rows}


# What ends a read for good, after so many answers that went well.
_breaks = st.tuples(st.sampled_from(["reset", "truncated", "garbage"]), st.integers(0, 3))


@settings(max_examples=3, deadline=None, suppress_health_check=_calm)
@given(faults=st.lists(_breaks, min_size=1, max_size=2))
def test_whatever_breaks_off_the_landings_that_follow_end_in_the_same_table(
    cluster: Broker, faults: list[tuple[Fault, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    name, folder = next(NAMES), tmp_path_factory.mktemp("landed")
    cluster.topic(name, 2)
    for number in range(40):
        cluster.put(name, value(id=str(number)), partition=number % 2, at=number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka_read, "PAGE_ROWS", 7)
        patch.setattr("consentry.connectors.kafka_client.BATCH", 5)
        for fault, after in faults:
            cluster.fail(fault, after=after, times=1000)
            with suppress(SourceFailed):
                landed(cluster, name, folder, timeout=0.5)
            cluster.heal()
        assert landed(cluster, name, folder, timeout=5) == sorted(str(number) for number in range(40))


def landed(cluster: Broker, topic: str, folder: Path, **connection: Any) -> list[str]:
    warehouse = DuckDBWarehouse(folder / "w.duckdb")
    try:
        made, specs = source(cluster, {"topic": topic}, **connection), [StreamSpec("people")]
        land(made, name="bus", streams=specs, warehouse=warehouse, folder=folder / "dlt", run_id="run")
        return sorted(warehouse.sql("SELECT id FROM raw.bus__people")["id"].to_pylist())
    finally:
        warehouse.close()


def test_what_waits_for_other_partitions_is_bounded(cluster: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    name, waiting = next(NAMES), []
    cluster.topic(name, 2)
    # All of one partition is older than all of the other.
    for number in range(400):
        cluster.put(name, value(id=str(number), fill="x" * 200), partition=number // 200, at=number)
    monkeypatch.setattr(kafka_read, "WAITING_BYTES", 8_000)
    monkeypatch.setattr("consentry.connectors.kafka_client.BATCH", 50)
    put = kafka_read._Lane.put

    def watched(lane: Any, message: Any) -> None:
        put(lane, message)
        waiting.append(lane.bytes)

    monkeypatch.setattr(kafka_read._Lane, "put", watched)
    rows, _ = read(cluster, name)
    assert ids(rows) == [str(number) for number in range(400)]
    assert max(waiting) < 4_000 + 50 * 300
