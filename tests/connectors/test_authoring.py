"""Connectors of one's own: the package to begin with works, and every page says what its connector takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from consentry.connectors.pages import described, page, write_pages
from consentry.connectors.registry import connectors
from consentry.connectors.template import write_package
from consentry.errors import ConfigError
from consentry.testing.memory import Audiences
from tests.conftest import TinyJob, person

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "consentry-shop"


def test_every_connector_has_a_page_that_is_up_to_date() -> None:
    stale = write_pages(ROOT / "docs" / "connectors", check=True)
    assert not stale, f"Run python -m consentry.connectors.pages: {stale}"


def test_a_page_names_every_key_and_hides_no_default() -> None:
    shown = page("sql", connectors()["sql"])
    assert "| `url` | secret | needed |" in shown and "`deletes`" in shown
    assert described("files", connectors()["files"])["capabilities"]["idempotent"] is True


def test_the_example_is_what_the_command_writes(tmp_path: Path) -> None:
    for file in write_package("shop", tmp_path):
        assert file.read_text() == (EXAMPLE / file.name).read_text()
    with pytest.raises(ConfigError, match="there already"):
        write_package("shop", tmp_path)
    with pytest.raises(ConfigError, match="no name"):
        write_package("My Shop", tmp_path)


def test_a_new_connector_passes_its_own_test(tmp_path: Path) -> None:
    files = write_package("crm_two", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(files[0].parent)]
    done = subprocess.run(command, cwd=files[0].parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


class _People(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        begin = int(parse_qs(urlsplit(self.path).query).get("after", ["0"])[0])
        people = [person(number) for number in range(5)]
        body = {"people": people[begin : begin + 2], "next": str(begin + 2) if begin + 2 < 5 else None}
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def people_url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _People)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_the_example_package_is_installed_and_runs_from_yaml(tiny: TinyJob, people_url: str) -> None:
    installed = tiny.folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(installed), str(EXAMPLE)]
    subprocess.run(install, check=True)
    crm = tiny.spec["sources"]["crm"]
    crm |= {"type": "shop", "connection": {"base_url": people_url, "token": "${SHOP_TOKEN}"}}
    stream = crm["streams"]["people"]
    del stream["options"], stream["identifiers"]["phone"], stream["map"]
    stream["map"] = {"given_name": "name"}
    tiny.spec["profile"] = {"contract": "contracts/profile.yaml"}
    (tiny.folder / "contracts" / "people.yaml").write_text(_CONTRACT)
    (tiny.folder / "contracts" / "profile.yaml").write_text(_PROFILE)
    segment = "segment: adults\ndescription: All\npurpose: news\nrule: given_length >= 0 or not (given_length >= 0)\n"
    (tiny.folder / "segments" / "adults.yaml").write_text(segment.replace("given_length", "score"))
    stream["map"]["score"] = "score"
    tiny.write()
    environment = {**os.environ, "PYTHONPATH": str(installed), "SHOP_TOKEN": "t"}
    command = [sys.executable, "-m", "consentry.cli", "discover", str(tiny.path), "--output", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    command[3] = "run"
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"]["extracted"] >= 5
    assert len(Audiences.read(tiny.members_file).values("adults", "email")) == 5


_CONTRACT = """\
name: people
version: 1
columns:
  id: {dtype: String}
  email: {dtype: String, nullable: true}
  name: {dtype: String, nullable: true}
  score: {dtype: Int32, nullable: true, required: false}
  updated_at: {dtype: Datetime, nullable: true}
"""
_PROFILE = """\
name: profile
version: 1
columns:
  score: {dtype: Int32, nullable: true}
"""
