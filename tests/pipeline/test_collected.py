"""What the collector keeps, as jobs read it: each call counts once, however often and whenever it was delivered."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.config.faults import Faults
from consentry.connectors.base import State, Stream
from consentry.connectors.event_log import EventLog
from consentry.connectors.files import Files, FilesConfig, FileStream
from consentry.connectors.landing import StreamSpec, land
from consentry.pipeline.collecting import collector
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.validation.contract import read_contract
from consentry.validation.run import validate
from consentry.warehouse import DuckDBWarehouse

KEY = "an-0penly-known-write-key-of-the-tests-9c1d"
TRACKING = Path(__file__).parents[2] / "configs" / "tracking"


def post(folder: Path, *batches: list[dict[str, Any]]) -> None:
    """Start a collector, have it keep batches, and end it."""

    async def send() -> None:
        app = collector(EventLog(folder, max_age_s=3_600), key=KEY.encode(), tell=print)
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", auth=(KEY, "")) as client,
        ):
            for calls in batches:
                assert (await client.post("/v1/batch", json={"batch": calls})).status_code == 200

    asyncio.run(send())


def bought(number: int) -> dict[str, Any]:
    """Return the call of an order; the number tells it from others."""
    return {"type": "track", "messageId": f"m-{number}", "userId": "10001", "event": "Order Completed"}


CALLS = st.lists(st.integers(0, 5), min_size=1, max_size=4)
# What happens: batches are delivered, a collector is killed before it answers one, and the job reads.
HAPPENS = st.one_of(
    st.tuples(st.just("deliver"), st.lists(CALLS, min_size=1, max_size=2)),
    st.tuples(st.just("kill"), CALLS),
    st.just(("read", None)),
)
SCHEDULES = st.lists(HAPPENS, max_size=6)
Read = Callable[[], list[str]]


def happens(folder: Path, schedule: list[tuple[str, Any]], read: Read) -> set[str]:
    """Have a schedule happen; return the ids that were acknowledged in the end."""
    acknowledged: set[str] = set()
    for what, of in schedule:
        if what == "read":
            read()
            continue
        batches = of if what == "deliver" else [of]
        if what == "kill":
            left_behind(folder, of)
        # After a kill nobody was told: the batch is sent again.
        post(folder, *([bought(number) for number in numbers] for numbers in batches))
        acknowledged |= {f"m-{number}" for numbers in batches for number in numbers}
    return acknowledged


def left_behind(folder: Path, numbers: list[int]) -> None:
    """Leave what a collector leaves that is killed amid a batch."""
    calls = [bought(number) | {"timestamp": "2026-11-01T00:00:00Z"} for number in numbers]
    lines = "".join(json.dumps(call) + "\n" for call in calls)
    (folder / "events.part").write_text(lines[:-10])


def source_of(folder: Path) -> Files:
    calls = FileStream(path="events-*.jsonl", format="segment")
    return Files(FilesConfig(), streams={"calls": calls}, base=folder)


@given(SCHEDULES)
@settings(deadline=None, max_examples=40)
def test_any_schedule_of_deliveries_kills_and_reads_brings_each_call_and_each_file_once(
    schedule: list[tuple[str, Any]],
) -> None:
    state: State = {}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def read() -> list[str]:
            nonlocal state
            for page in source_of(folder).read(Stream("calls", (), pa.schema([])), state):
                rows.extend(page.records.to_pylist())
                state = page.state
            return [row["message_id"] for row in rows]

        acknowledged = happens(folder, schedule, read)
        assert set(read()) == acknowledged
        assert len(rows) == sum(len(file.read_text().splitlines()) for file in folder.glob("events-*.jsonl"))
    assert not [row for row in rows if row["_malformed"] is not None]


@pytest.mark.slow
@given(SCHEDULES)
@settings(deadline=None, max_examples=25)
def test_any_schedule_of_deliveries_kills_and_reads_counts_each_call_once(schedule: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name, reading(Path(name)) as read:
        assert sorted(happens(Path(name) / "events", schedule, read)) == sorted(read())


@contextmanager
def reading(home: Path) -> Iterator[Read]:
    """Return what a job does with the folder: read what is new, check it, and tell the calls that count."""
    (home / "events").mkdir()
    contract = read_contract(TRACKING / "contracts" / "calls.yaml", Faults())
    assert contract is not None
    with closing(DuckDBWarehouse(home / "warehouse.duckdb")) as warehouse:

        def read() -> list[str]:
            streams = [StreamSpec("calls")]
            source = source_of(home / "events")
            land(source, name="web", streams=streams, warehouse=warehouse, folder=home / "dlt", run_id="r")
            validate(warehouse, contract, stream="web__calls", primary_key=["message_id"], mode="append", run_id="r")
            found: list[str] = warehouse.sql("SELECT message_id FROM clean.web__calls")["message_id"].to_pylist()
            return found

        yield read


def test_server_side_tracking_makes_a_member_of_whoever_bought_as_the_example_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(TRACKING, shop)
    monkeypatch.setenv("CONSENTRY_HOME", str(tmp_path / "state"))
    on_a_telephone = [
        {
            "type": "track",
            "messageId": "m-1",
            "anonymousId": "a-1",
            "event": "Order Completed",
            "properties": {"value": 9},
        },
        {"type": "identify", "messageId": "m-2", "anonymousId": "a-1", "userId": "10001"},
    ]
    who_refuses = [bought(3) | {"userId": "10003"}]
    post(shop / "events", on_a_telephone, who_refuses, on_a_telephone)
    post(shop / "events", on_a_telephone)
    assert run_of(shop) == {"ada@example.com"}
    post(shop / "events", on_a_telephone, [bought(4) | {"userId": "10002"}])
    assert run_of(shop) == {"ada@example.com", "ben@example.org"}
    with closing(DuckDBWarehouse(tmp_path / "state" / "tracking" / "warehouse.duckdb")) as warehouse:
        assert warehouse.count("profile.event__order_completed") == 3
        assert warehouse.count("segment.membership") == 3


def run_of(shop: Path) -> set[str]:
    """Run the job and return whose address the newsletter's file holds."""
    loaded = load_job(shop / "job.yaml")
    run(make_plan(loaded), Silent())
    with (loaded.state / "out" / "buyers.csv").open() as file:
        return {row["email"] for row in csv.DictReader(file)}
