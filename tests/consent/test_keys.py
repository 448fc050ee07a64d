"""Keys: weak, exposed or missing ones stop the run, and no two uses share one."""

from __future__ import annotations

import base64
import os
import pickle
from itertools import pairwise
from pathlib import Path

import pytest
from consent_town import keyring
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from consentry.consent.keys import Keyring
from consentry.errors import StopRun

GOOD = bytes(range(32))


def test_hkdf_is_that_of_rfc_5869() -> None:
    # RFC 5869, appendix A.1 and A.3 (without salt and info).
    vector = HKDF(SHA256(), 42, salt=bytes(range(13)), info=bytes(range(0xF0, 0xFA))).derive(b"\x0b" * 22)
    assert vector.hex() == ("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    bare = HKDF(SHA256(), 42, salt=None, info=b"").derive(b"\x0b" * 22)
    assert bare.hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"


def test_a_sub_key_is_the_hkdf_of_its_place() -> None:
    info = b"pdx/v1|meta_eu|email|ads|k3"
    expected = HKDF(SHA256(), 32, salt=None, info=info).derive(bytes(range(3, 35)))
    assert keyring(3).key("meta_eu", "email", "ads") == expected


def test_t46_no_two_places_share_a_key() -> None:
    ring = keyring(1, 2)
    places = [("a", "b", "c"), ("ab", "c", "c"), ("a", "bc", "c"), ("a", "b", "cc"), ("b", "a", "c")]
    keys = [ring.key(*place, version=version) for place in places for version in (1, 2)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("part", ["a|b", "", "a\x1fb"])
def test_a_place_that_could_be_read_two_ways_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match="neither empty"):
        keyring().key("domain", part, "purpose")


@pytest.mark.parametrize(
    "weak", [b"", b"short", bytes(32), b"\x07" * 32, b"ab" * 16, bytes(range(16)) * 2, GOOD + b"x"]
)
def test_t46_a_weak_key_refuses_to_start(weak: bytes) -> None:
    with pytest.raises(StopRun) as caught:
        Keyring({1: weak}, active=1)
    assert caught.value.code == "weak_key"
    assert not weak or weak.hex() not in str(caught.value)


def test_t46_the_same_key_under_two_versions_refuses_to_start() -> None:
    with pytest.raises(StopRun, match="same key"):
        Keyring({1: GOOD, 2: GOOD}, active=2)


def test_a_new_key_file_is_its_owners_alone_and_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    made = Keyring.from_file(path, create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Keyring.from_file(path, create=True).key("a", "b", "c") == made.key("a", "b", "c")


def test_t46_a_missing_key_file_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(StopRun, match="There is no key file"):
        Keyring.from_file(tmp_path / "keys.json")


@pytest.mark.skipif(os.geteuid() == 0 and os.name != "posix", reason="needs file modes")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_can_read_refuses_to_start(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys.json"
    Keyring.from_file(path, create=True)
    path.chmod(mode)
    with pytest.raises(StopRun, match="chmod 600"):
        Keyring.from_file(path)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": 2, "active": 1, "keys": {}}', '{"format":1,"keys":[]}', "é"]
)
def test_a_file_that_is_no_key_file_refuses_to_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(StopRun):
        Keyring.from_file(path)


@pytest.mark.parametrize("text", [GOOD.hex(), base64.b64encode(GOOD).decode(), f" {GOOD.hex().upper()}\n"])
def test_a_key_comes_from_the_environment_in_hex_or_base64(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TOWN_KEY", text)
    assert Keyring.from_environment("TOWN_KEY").key("a", "b", "c") == Keyring({1: GOOD}, active=1).key("a", "b", "c")


@pytest.mark.parametrize("text", ["", "secret", "00" * 32, "ab" * 31, "zz" * 32])
def test_a_bad_key_in_the_environment_refuses_to_start_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TOWN_KEY", text)
    with pytest.raises(StopRun) as caught:
        Keyring.from_environment("TOWN_KEY")
    assert not text or text not in str(caught.value)


def test_keys_are_neither_shown_nor_pickled() -> None:
    ring = keyring(1, 2)
    assert repr(ring) == "Keyring(active=2, accepted=(1, 2))"
    with pytest.raises(TypeError):
        pickle.dumps(ring)


def test_a_version_that_is_not_held_is_said() -> None:
    with pytest.raises(StopRun, match="version 9"):
        keyring().key("a", "b", "c", version=9)
    assert all(a < b for a, b in pairwise(keyring(1, 2, 5).accepted))
