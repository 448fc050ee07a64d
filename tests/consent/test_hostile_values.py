"""Values and settings that attack: hashes of hashes, lines within lines, secrets where they do not belong."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from consent_town import Town, keyring

from consentry.audit import AuditLog, verify
from consentry.consent.normal import normal, why_nobody
from consentry.consent.transforms import match_hash
from consentry.errors import ConfigError
from consentry.pipeline.load import load_job
from tests.conftest import TinyJob

HASHED = hashlib.sha256(b"ann@example.com").hexdigest()


@pytest.mark.parametrize("value", [HASHED.upper(), HASHED[:32].upper() + HASHED[32:], f"x{HASHED}", HASHED[:-1]])
def test_t49_a_hash_in_upper_case_or_inside_other_text_is_refused_with_a_hint(town: Town, value: str) -> None:
    imported = town.ledger.record([town.row(value, identifier_type="email_sha256")], policy=town.policy)
    assert imported.refused == {"no_lower_case_hash": 1}
    assert normal("email_sha256", value) is None
    assert match_hash("meta@2026-08", "email_sha256", value) is None
    with pytest.raises(ConfigError, match="64 hexadecimal digits in lower case") as caught:
        town.ledger.suppress("email_sha256", value, reason="objection")
    assert value not in str(caught.value)
    assert "not of another hash" in why_nobody("email_sha256")


def test_t49_what_is_hashed_already_is_not_hashed_again() -> None:
    assert match_hash("meta@2026-08", "email_sha256", HASHED) == HASHED
    # A hash in a column of addresses is no address, so that it is never hashed twice.
    assert normal("email", HASHED) is None
    assert match_hash("meta@2026-08", "email", HASHED) is None


NAMES = ['x\n{"action":"egress.sent"}', "x\r\nseq 7", "x\u2028y", "x\x85y", "x\x00y", "x\u2029{}", "\x1b[2Kx"]


@pytest.mark.parametrize("name", NAMES)
def test_t66_a_name_with_a_line_in_it_stays_one_line_of_the_log(tmp_path: Path, name: str) -> None:
    log = AuditLog(tmp_path / "audit", actor=name)
    log.append("policy.loaded", run="r", name=name)
    log.close()
    content = (tmp_path / "audit" / "000001.jsonl").read_bytes()
    assert len(content.decode().splitlines()) == 1
    assert json.loads(content)["name"] == name
    assert verify(tmp_path / "audit").events == 1


@pytest.mark.parametrize("name", NAMES)
def test_t66_a_refused_event_is_told_by_codes_alone(town: Town, name: str) -> None:
    told = town.ledger.record([town.row("ann@example.com", purpose=name, source_system=name)], policy=town.policy)
    assert told.noted == {"unknown_purpose": 1}
    assert all(name not in repr(row) for row in town.ledger.everything())


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"provider": "file", "path": "keys.json", "key": "00" * 32}, "key"),
        ({"provider": "environment", "variable": "K", "value": "00" * 32}, "value"),
    ],
)
def test_t68_a_key_in_the_job_file_is_an_error_that_does_not_show_it(
    tiny: TinyJob, block: dict[str, str], said: str
) -> None:
    tiny.spec["keys"] = block
    tiny.write()
    with pytest.raises(ConfigError, match=rf"job\.yaml:\d+: .*{said}") as caught:
        load_job(tiny.path)
    assert "00" * 32 not in str(caught.value)


def test_t68_a_secret_written_out_in_a_connection_is_an_error_that_does_not_show_it(tiny: TinyJob) -> None:
    tiny.spec["destinations"]["store"] = {"type": "klaviyo", "connection": {"api_key": "canary-secret-value"}}
    tiny.write()
    with pytest.raises(ConfigError, match=r"job\.yaml:\d+") as caught:
        load_job(tiny.path)
    assert "canary-secret-value" not in str(caught.value)


def test_t68_there_is_no_debug_switch_and_the_environment_is_not_shown(tiny: TinyJob) -> None:
    tiny.spec["keys"] = {"provider": "environment", "variable": "TOWN_KEY"}
    tiny.write()
    secret = "zz" + keyring().key("a", "b", "c").hex()
    told = b""
    for arguments in (["--debug", "check", str(tiny.path)], ["run", str(tiny.path)]):
        command = [sys.executable, "-X", "dev", "-m", "consentry.cli", *arguments]
        environment = {**os.environ, "TOWN_KEY": secret, "CONSENTRY_DEBUG": "1"}
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        told += done.stdout + done.stderr
    assert b"No such option" in told
    assert secret.encode() not in told
    assert b"Traceback" not in told
