"""The collector as a process of its own: killed, out of room on the disk, and told of by the vendors' own libraries."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

KEY = "an-0penly-known-write-key-of-the-tests-9c1d"
# The command does the same, and takes ten times as long to be imported.
SERVE = """
import sys
from pathlib import Path
import uvicorn
from consentry.connectors.event_log import EventLog
from consentry.pipeline.collecting import collector
log = EventLog(Path(sys.argv[1]), max_age_s=1, max_bytes=20_000)
app = collector(log, key=sys.argv[3].encode(), tell=lambda sentence: print(sentence, flush=True))
uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
"""


@dataclass(frozen=True)
class Served:
    """A collector that runs, and a client of it."""

    process: subprocess.Popen[str]
    client: httpx.Client
    port: int

    def post(self, *ids: str) -> httpx.Response:
        calls = [
            {
                "type": "track",
                "messageId": one,
                "userId": "1",
                "event": "Order Completed",
                "properties": {"x": "y" * 99},
            }
            for one in ids
        ]
        return self.client.post("/v1/batch", json={"batch": calls})


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Run a collector until the end of the block, and end it as a service manager does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, str(folder), str(port), KEY]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with (
        subprocess.Popen(command, **pipes) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=(KEY, ""), trust_env=False) as client,
    ):
        try:
            wait_for(lambda: process.poll() is not None or answers(client))
            yield Served(process, client, port)
        finally:
            process.terminate()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/").status_code == 404
    except httpx.TransportError:
        return False


def wait_for(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.01)


def kept(folder: Path) -> list[dict[str, Any]]:
    """Return the calls in closed files; each line has to be whole."""
    files = sorted(folder.glob("events-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def posts(served: Served, name: str, acknowledged: list[str]) -> None:
    """Post until the collector is gone, and note what it acknowledged."""
    with httpx.Client(base_url=served.client.base_url, auth=(KEY, ""), trust_env=False) as client:
        mine = Served(served.process, client, served.port)
        for number in range(100_000):
            ids = [f"{name}-{number}-{part}" for part in range(5)]
            try:
                if mine.post(*ids).status_code == 200:
                    acknowledged += ids
            except httpx.TransportError:
                return


@pytest.mark.parametrize("after", [500, *(pytest.param(150 * n, marks=pytest.mark.slow) for n in range(1, 15))])
def test_a_collector_that_is_killed_loses_nothing_that_it_acknowledged(after: int, tmp_path: Path) -> None:
    acknowledged: list[str] = []
    with serving(tmp_path) as served:
        senders = [threading.Thread(target=posts, args=(served, str(n), acknowledged)) for n in range(4)]
        for sender in senders:
            sender.start()
        wait_for(lambda: len(acknowledged) >= after)
        served.process.send_signal(signal.SIGKILL)
        for sender in senders:
            sender.join()
    # Where the kill did not tear a line apart, it is torn here.
    with (tmp_path / "events.part").open("ab") as file:
        file.write(b'{"messageId":"torn')
    with serving(tmp_path) as served:
        assert served.post("again").status_code == 200
        served.process.terminate()
        assert served.process.wait(10) in (0, -signal.SIGTERM)
    found = {call["messageId"] for call in kept(tmp_path)}
    assert found >= {*acknowledged, "again"}
    assert not (tmp_path / "events.part").exists()


def test_while_the_disk_takes_no_more_nothing_is_acknowledged(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        before = [served.post("a").status_code]
        # Ten bytes of each file are taken, and no more: half a line.
        limits = resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (10, limits[1]))
        refused = [served.post("b"), served.post("c")]
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, limits)
        after = [served.post("d").status_code, served.post("e").status_code]
        served.process.terminate()
        told, _ = served.process.communicate(timeout=10)
    assert (before, after) == ([200], [200, 200])
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(503, "not_kept")] * 2
    assert [answer.headers["Retry-After"] for answer in refused] == ["10", "10"]
    assert [call["messageId"] for call in kept(tmp_path)] == ["a", "d", "e"]
    assert told.splitlines() == [
        f"Nothing can be written to {tmp_path} (File too large); what is sent is answered with 503 until that is"
        " mended.",
        f"{tmp_path} can be written to again.",
    ]


def test_the_library_of_segment_is_a_sender(tmp_path: Path) -> None:
    client = pytest.importorskip("segment.analytics.client").Client
    with serving(tmp_path) as served:
        send(client(KEY, host=f"http://127.0.0.1:{served.port}", on_error=fail, gzip=True))
    assert_sent(tmp_path)


def test_the_library_of_rudderstack_is_a_sender(tmp_path: Path) -> None:
    client = pytest.importorskip("rudderstack.analytics.client").Client
    with serving(tmp_path) as served:
        send(client(KEY, host=f"http://127.0.0.1:{served.port}", on_error=fail))
    assert_sent(tmp_path)


def fail(error: Exception, _: object) -> None:
    raise error


# The libraries ship no types.
def send(library: Any) -> None:
    library.identify("10001", traits={"email": "ada@example.com"})
    library.track("10001", "Order Completed", {"value": 12.5})
    library.page("10001", "shop", "Basket")
    library.screen("10001", "app", "Basket")
    library.group("10001", "g-1")
    library.alias("a-1", "10001")
    library.shutdown()


def assert_sent(folder: Path) -> None:
    found = kept(folder)
    assert [call["type"] for call in found] == ["identify", "track", "page", "screen", "group", "alias"]
    assert len({call["messageId"] for call in found}) == 6
    assert found[1]["properties"] == {"value": 12.5}
