"""Which form an identifier takes, and which values are none."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.identity.config import IdentityConfig
from consentry.identity.email import canonical_emails
from consentry.identity.normalise import SCHEMA, canonical_batch

CONFIG = IdentityConfig.model_validate(
    {"identifiers": {"customer_number": {"blocked": ["^9999"]}, "email": {"blocked": [r"@internal\.example\.com$"]}}}
)


def judge(type_: str, *values: str, region: str = "") -> list[tuple[str | None, str, str | None]]:
    columns = {"type": [type_] * len(values), "value": list(values), "region": [region] * len(values)}
    rows = canonical_batch(CONFIG, pa.RecordBatch.from_pydict(columns)).to_pylist()
    by_value = {row["value"]: (row["canonical"], row["status"], row["reason"]) for row in rows}
    return [by_value[value] for value in values]


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("  Ann.Lee@Example.COM ", "ann.lee@example.com"),
        ("ann\u200b@exam\u00adple.com", "ann@example.com"),
        ("\ufeffann@example.com", "ann@example.com"),
        ("ａｎｎ＠example．com", "ann@example.com"),  # noqa: RUF001 - full-width letters are the point
        ("ann@bücher.example.org", "ann@xn--bcher-kva.example.org"),
        ("ann@XN--BCHER-KVA.example.org", "ann@xn--bcher-kva.example.org"),
        ("ann+news@example.com", "ann+news@example.com"),
        ("o'hara@example.net", "o'hara@example.net"),
    ],
)
def test_spellings_of_one_address_have_one_form(raw: str, canonical: str) -> None:
    assert judge("email", raw) == [(canonical, "ok", None)]


@pytest.mark.parametrize(
    "raw", ["ann", "ann@", "@example.com", "a b@example.com", "ann@@example.com", "a..b@example.com"]
)
def test_what_is_no_address_is_invalid(raw: str) -> None:
    assert judge("email", raw) == [(None, "invalid", "email_syntax")]


@pytest.mark.parametrize(
    "raw",
    ["n/a", "N/A", "none", "NULL", "-", "test@test.com", "noreply@example.com", "No-Reply@example.org",
     "aaaa@example.com", "unknown@example.com", "anonymous", "0", "someone@none.com"],
)  # fmt: skip
def test_placeholder_addresses_are_blocked(raw: str) -> None:
    assert judge("email", raw) == [(None, "blocked", "placeholder")]


def test_a_letter_from_another_alphabet_makes_another_address() -> None:
    latin, cyrillic = judge("email", "anna@example.com", "ann\u0430@example.com")
    assert latin[1] == cyrillic[1] == "ok"
    assert latin[0] != cyrillic[0]


@pytest.mark.parametrize(
    ("raw", "region", "canonical"),
    [
        ("+44 7700 900123", "", "+447700900123"),
        ("07700 900123", "GB", "+447700900123"),
        ("0044 7700 900123", "gb", "+447700900123"),
        ("+44 (0)7700 900123", "US", "+447700900123"),
        ("(202) 555-0123", "US", "+12025550123"),
        ("٠٧٧٠٠ ٩٠٠١٢٣", "GB", "+447700900123"),  # noqa: RUF001 - Arabic digits are the point
        ("\u202a+44 7700 900123\u202c", "", "+447700900123"),
    ],
)
def test_spellings_of_one_number_have_one_form(raw: str, region: str, canonical: str) -> None:
    assert judge("phone", raw, region=region) == [(canonical, "ok", None)]


@pytest.mark.parametrize(
    ("raw", "region", "status", "reason"),
    [
        ("07700 900123", "", "invalid", "phone_without_region"),
        ("0044 7700 900123", "", "invalid", "phone_without_region"),
        ("07700 900123", "Britain", "invalid", "phone_unknown_region"),
        ("07700 900123", "UK", "invalid", "phone_unknown_region"),
        ("+44 20 7946 0018 x 12", "", "invalid", "phone_with_extension"),
        ("+44 1", "", "invalid", "phone_syntax"),
        ("+44 12345", "", "invalid", "phone_not_assigned"),
        ("call me", "GB", "invalid", "phone_syntax"),
        ("0000000", "GB", "blocked", "placeholder"),
        ("+10000000000", "", "blocked", "repeated_digits"),
        ("1111111111", "US", "blocked", "repeated_digits"),
        ("123456789", "DE", "blocked", "repeated_digits"),
        ("-1", "GB", "blocked", "placeholder"),
        ("n/a", "", "blocked", "placeholder"),
        ("00-00-00", "GB", "blocked", "placeholder"),
    ],
)
def test_what_is_no_number_says_why(raw: str, region: str, status: str, reason: str) -> None:
    assert judge("phone", raw, region=region) == [(None, status, reason)]


@pytest.mark.parametrize("raw", ["-1", "null", "anonymous", "0", "000-000", "", "\u200b", "undefined", "N/A", "-----"])
@pytest.mark.parametrize("type_", ["customer_number", "anonymous_id"])
def test_placeholder_ids_are_blocked(type_: str, raw: str) -> None:
    assert judge(type_, raw) == [(None, "blocked", "placeholder")]


def test_the_job_blocks_more() -> None:
    assert judge("customer_number", "99991", "19999") == [(None, "blocked", "blocked_pattern"), ("19999", "ok", None)]
    assert judge("email", "Bot@Internal.example.com") == [(None, "blocked", "blocked_pattern")]


def test_external_ids_keep_their_case_and_zeros() -> None:
    assert judge("customer_number", " 00aB7 ") == [("00aB7", "ok", None)]


@pytest.mark.parametrize("type_", ["email", "phone", "customer_number", "anonymous_id"])
def test_very_long_values_are_refused_at_once(type_: str) -> None:
    values = [c * 10_000 for c in ("a", "a@", "+1", "-", "\u200b", "a.", "é")] + ["x@" + "a-" * 5_000 + ".com"]
    began = time.process_time()
    verdicts = judge(type_, *values, region="GB")
    assert time.process_time() - began < 1
    assert {status for _, status, _ in verdicts} == {"invalid"}
    assert {reason for _, _, reason in verdicts} == {"too_long"}


def test_values_of_many_types_come_back_whole() -> None:
    columns = {
        "type": ["phone", "email", "phone"],
        "value": ["x", "a@example.com", "+447700900123"],
        "region": ["", "", ""],
    }
    batch = canonical_batch(CONFIG, pa.RecordBatch.from_pydict(columns))
    assert batch.schema == SCHEMA
    assert batch.num_rows == 3
    empty = canonical_batch(CONFIG, batch.select(["type", "value", "region"]).slice(0, 0))
    assert empty.num_rows == 0


_TEXT = st.text(max_size=40) | st.from_regex(r"[a-zA-Z0-9 .@+()\-]{0,30}", fullmatch=True)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["email", "phone", "customer_number", "anonymous_id"]), _TEXT, st.sampled_from(["", "GB", "US"]))
def test_the_canonical_form_is_its_own_canonical_form(type_: str, raw: str, region: str) -> None:
    [(canonical, status, reason)] = judge(type_, raw, region=region)
    assert (status == "ok") == (canonical is not None) == (reason is None)
    if canonical is not None:
        assert judge(type_, canonical)[0][0] == canonical


@settings(max_examples=200, deadline=None)
@given(st.from_regex(r"[a-z0-9_+.\-]{1,12}@[a-z0-9.\-]{1,16}\.[a-z]{1,5}", fullmatch=True))
def test_the_quick_way_agrees_with_the_library(raw: str) -> None:
    canonical, _ = canonical_emails(pa.array([raw]))
    try:
        found = validate_email(raw, check_deliverability=False, test_environment=True)
        expected = f"{found.local_part}@{found.ascii_domain}".lower()
    except EmailNotValidError:
        expected = None
    assert canonical[0].as_py() == expected
