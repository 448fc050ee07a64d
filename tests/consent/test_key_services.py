"""Keys that a service keeps: wrapped on the disk, opened by the service alone, and nothing runs without it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from key_simulators import TOKEN, KeyServer, key_server

from consentry.consent.key_services import AwsKms, KeyService, VaultTransit
from consentry.consent.wrapped import open_wrapped, rotate_wrapped
from consentry.errors import ConfigError, StopRun

pytest.importorskip("hvac", reason="needs the extra `vault`")
pytest.importorskip("boto3", reason="needs the extra `aws`")

Make = Callable[[], KeyService]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyServer]:
    """Both services on 127.0.0.1, and the credentials they take."""
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "simulated")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with key_server() as server:
        yield server


@pytest.fixture(params=["vault", "aws_kms"])
def service(request: pytest.FixtureRequest, served: KeyServer) -> Make:
    """Make a client of one service."""
    if request.param == "vault":
        return lambda: VaultTransit(served.url, "consentry")
    return lambda: AwsKms("alias/consentry", region="eu-central-1", endpoint=served.url)


def test_masters_are_wrapped_on_the_disk_and_opened_by_the_service(tmp_path: Path, service: Make) -> None:
    path = tmp_path / "keys.json"
    made = open_wrapped(path, service(), create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    master = made.masters()[1]
    assert master.hex() not in path.read_text()
    assert open_wrapped(path, service()).key("a", "b", "c") == made.key("a", "b", "c")


def test_t47_a_rotation_keeps_every_version_and_wraps_them_under_the_latest_key(
    tmp_path: Path, service: Make, served: KeyServer
) -> None:
    path = tmp_path / "keys.json"
    old = open_wrapped(path, service(), create=True)
    served.rotate()
    ring = rotate_wrapped(path, service())
    assert (ring.active, ring.accepted) == (2, (1, 2))
    assert ring.key("a", "b", "c", version=1) == old.key("a", "b", "c")
    # The service's own first key may be destroyed now.
    served.keys[0] = served.keys[1]
    assert open_wrapped(path, service()).accepted == (1, 2)


def test_t46_without_the_service_nothing_starts(tmp_path: Path, service: Make, served: KeyServer) -> None:
    path = tmp_path / "keys.json"
    open_wrapped(path, service(), create=True)
    served.down = True
    for attempt in (lambda: open_wrapped(path, service()), lambda: rotate_wrapped(path, service())):
        with pytest.raises(StopRun) as caught:
            attempt()
        assert caught.value.code == "keys_unreachable"
        assert caught.value.__cause__ is None and "http" not in str(caught.value)
    served.down = False
    assert open_wrapped(path, service()).active == 1


def test_masters_that_changed_places_are_not_opened(tmp_path: Path, service: Make) -> None:
    path = tmp_path / "keys.json"
    open_wrapped(path, service(), create=True)
    rotate_wrapped(path, service())
    content = json.loads(path.read_text())
    content["wrapped"] = {"1": content["wrapped"]["2"], "2": content["wrapped"]["1"]}
    path.write_text(json.dumps(content))
    with pytest.raises(StopRun) as caught:
        open_wrapped(path, service())
    assert caught.value.code == "keys_unreachable"


@pytest.mark.parametrize(
    "text", ["", "{}", '{"format": 1, "active": 1, "keys": {"1": "00"}}', '{"format":1,"service":"x","wrapped":[]}']
)
def test_a_file_that_holds_no_wrapped_keys_refuses_to_start(tmp_path: Path, service: Make, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(StopRun) as caught:
        open_wrapped(path, service())
    assert caught.value.code == "no_key"


def test_keys_of_one_service_are_not_asked_of_another(tmp_path: Path, served: KeyServer) -> None:
    path = tmp_path / "keys.json"
    open_wrapped(path, VaultTransit(served.url, "consentry"), create=True)
    with pytest.raises(StopRun, match="wrapped by 'vault:transit/consentry'"):
        open_wrapped(path, AwsKms("alias/consentry", region="eu-central-1", endpoint=served.url))


def test_a_wrong_token_is_no_way_in_and_is_not_shown(
    tmp_path: Path, served: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "canary-token")
    with pytest.raises(StopRun, match="Forbidden") as caught:
        open_wrapped(tmp_path / "keys.json", VaultTransit(served.url, "consentry"), create=True)
    assert "canary-token" not in str(caught.value)
    assert not (tmp_path / "keys.json").exists()


@pytest.mark.parametrize("url", ["http://vault.example.com", "vault.example.com:8200", "ftp://127.0.0.1", ""])
def test_keys_do_not_travel_in_the_open(served: KeyServer, url: str) -> None:
    with pytest.raises(ConfigError, match="without https"):
        VaultTransit(url, "consentry")


def test_no_token_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    with pytest.raises(StopRun, match="VAULT_TOKEN is not set"):
        VaultTransit("https://vault.example.com", "consentry")
