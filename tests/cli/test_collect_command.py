"""collect serve: the command as the shell runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from consentry.connectors.event_log import EventLog
from tests.cli.conftest import Cli

KEY = "an-0penly-known-write-key-of-the-tests-9c1d"
CALL: dict[str, object] = {
    "messageId": "m-1",
    "userId": "10001",
    "event": "Order Completed",
    "traits": {"email": "canary@example.com"},
}


@pytest.mark.parametrize("guessed", ["", "short", "a" * 64])
def test_without_a_write_key_that_cannot_be_guessed_it_refuses_to_start(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guessed: str
) -> None:
    monkeypatch.setenv("CONSENTRY_WRITE_KEY", guessed)
    code, _, err = cli("collect", "serve", tmp_path)
    assert code == 1
    assert "The environment variable CONSENTRY_WRITE_KEY holds no secret" in err
    assert not guessed or guessed not in err


def test_two_collectors_do_not_write_to_one_folder(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSENTRY_WRITE_KEY", KEY)
    with closing(EventLog(tmp_path, max_age_s=1)):
        code, _, err = cli("collect", "serve", tmp_path)
    assert code == 1
    assert f"Another collector writes to {tmp_path}." in err.replace("\n", " ")


def test_ctrl_c_closes_the_file_and_nothing_of_what_was_sent_is_shown(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "consentry.cli", "collect", "serve", str(tmp_path), "--port", str(port)]
    environment = {**os.environ, "CONSENTRY_WRITE_KEY": KEY}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert answer(port, CALL) == 200
            assert answer(port, CALL | {"messageId": None}) == 400
        finally:
            process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert f"Listening on http://127.0.0.1:{port}/v1/" in told
    assert not [word for word in (KEY, "Traceback", "canary", "10001") if word in told]
    (file,) = tmp_path.glob("events-*.jsonl")
    assert '"messageId":"m-1"' in file.read_text()


def answer(port: int, call: dict[str, object]) -> int:
    """Post a call as soon as somebody listens."""
    end = time.monotonic() + 60
    while True:
        try:
            url = f"http://127.0.0.1:{port}/v1/track"
            return httpx.post(url, json=call, auth=(KEY, ""), trust_env=False).status_code
        except httpx.TransportError:
            assert time.monotonic() < end
            time.sleep(0.05)
