"""Every platform's own way to write a value before it is hashed, against golden vectors with source and date."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consentry.consent.match_rules import IN_BASE64, RULES
from consentry.consent.transforms import MatchField, MatchSha256, leave, leave_identifier, match_hash, rules_fault

_FILES = sorted((Path(__file__).parent / "vectors").glob("*.yaml"))
SETS: list[dict[str, Any]] = [one for file in _FILES for one in yaml.safe_load_all(file.read_text("utf-8")) if one]
VECTORS = [
    pytest.param(one["rules"], vector["kind"], vector["value"], vector["written"], id=f"{one['rules']}-{number}")
    for one in SETS
    for number, vector in enumerate(one["vectors"])
]


@pytest.mark.parametrize(("rules", "kind", "value", "written"), VECTORS)
def test_trap_10_each_platform_gets_the_hash_of_what_it_writes_itself(
    rules: str, kind: str, value: str, written: str | None
) -> None:
    assert RULES[rules][kind](value) == written
    digest = hashlib.sha256((written or "").encode()).digest()
    wanted = base64.b64encode(digest).decode() if rules in IN_BASE64 else digest.hex()
    assert match_hash(rules, kind, value) == (wanted if written else None)


def test_every_rule_has_vectors_with_source_and_date() -> None:
    named = {(one["rules"], vector["kind"]) for one in SETS for vector in one["vectors"]}
    assert named == {(rules, kind) for rules, kinds in RULES.items() for kind in kinds}
    assert all(one["source"] and one["read"] for one in SETS)


def test_trap_10_a_value_hashed_before_is_a_declared_kind_and_never_guessed() -> None:
    hashed = hashlib.sha256(b"ada@example.com").hexdigest()
    assert match_hash("meta@2026-08", "email_sha256", hashed) == hashed
    for wrong in (hashed.upper(), f"x{hashed}", hashed[:-1], f"{hashed}\n", "ada@example.com"):
        assert match_hash("meta@2026-08", "email_sha256", wrong) is None
    # A hash that stands where an address is expected is no address, and does not leave hashed twice.
    rule = MatchSha256(transform="match_sha256", rules="meta@2026-08")
    assert leave_identifier(rule, "email", hashed, b"k" * 32, 1) is None
    assert leave_identifier(rule, "email_sha256", hashed, b"k" * 32, 1) == hashed
    assert rules_fault("email_sha256", rule) is None and "say nothing" in str(rules_fault("device_sha256", rule))


def test_a_field_may_be_hashed_for_matching_too() -> None:
    rule = MatchField(transform="match_sha256", rules="meta@2026-08", kind="birth_year")
    assert leave(rule, 1986, b"k" * 32, 1, str) == hashlib.sha256(b"1986").hexdigest()
    assert leave(rule, "unknown", b"k" * 32, 1, str) is None
    with pytest.raises(ValueError, match="say nothing of 'city'"):
        MatchField(transform="match_sha256", rules="google@2026-11", kind="city")


@settings(deadline=None)
@example("meta@2026-08", "A\N{ACUTE ACCENT}")  # what is left of it is a letter and a mark, which compose
@given(st.sampled_from(sorted(RULES)), st.text(max_size=40))
def test_writing_twice_is_writing_once(rules: str, value: str) -> None:
    for write in RULES[rules].values():
        written = write(value)
        assert written is None or written
        if written is not None and not written.isdigit():
            assert write(written) == written


@settings(deadline=None)
@given(st.from_regex(r"\A[A-Za-z.+]{1,12}@(gmail\.com|googlemail\.com|Example\.org)\Z"))
def test_trap_10_googles_own_formatter_agrees(value: str) -> None:
    package = pytest.importorskip("google.ads.datamanager_util", reason="Install the dependency group `reference`.")
    formatter: Any = package.Formatter()
    ours = RULES["google@2026-11"]["email"](value)
    if ours is not None:
        assert ours == formatter.format_email_address(value)
        assert match_hash("google@2026-11", "email", value) == formatter.process_email_address(
            value, package.Encoding.HEX
        )
