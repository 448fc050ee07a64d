"""Tokens, match hashes and the other transforms: equal where they must be, unlinkable where they must be."""

from __future__ import annotations

import base64
import hashlib
import hmac
from itertools import combinations

import pyarrow as pa
import pytest
from consent_town import keyring
from hypothesis import given
from hypothesis import strategies as st

from consentry.consent.normal import normal, normal_forms
from consentry.consent.tokens import Hmac, canonical, token, tokens
from consentry.consent.transforms import band, generalise_date, generalise_geo, generalise_ip, match_hash


@pytest.mark.parametrize(
    ("key", "data", "digest"),
    [
        # RFC 4231, cases 1, 2, 3, 6 and 7.
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
)
def test_hmac_is_that_of_rfc_4231(key: bytes, data: bytes, digest: str) -> None:
    assert Hmac(key).digest(data).hex() == digest


@given(st.binary(max_size=100), st.lists(st.binary(max_size=80), max_size=4))
def test_hmac_is_that_of_the_standard_library(key: bytes, values: list[bytes]) -> None:
    mac = Hmac(key)
    for value in values:
        assert mac.digest(value) == hmac.digest(key, value, "sha256")


def test_a_token_is_prefixed_versioned_lower_case_base32_of_128_bits() -> None:
    key = keyring().key("mailer", "customer_number", "newsletter")
    digest = hmac.digest(key, b"C-1001", "sha256")[:16]
    expected = "p1.7." + base64.b32encode(digest).decode().rstrip("=").lower()
    assert token(key, "C-1001", version=7) == expected
    assert len(expected) == len("p1.7.") + 26


@given(st.lists(st.one_of(st.none(), st.text(max_size=20), st.integers(), st.booleans()), max_size=20))
def test_many_tokens_are_those_of_one_by_one(values: list[str | int | bool | None]) -> None:
    key = keyring().key("a", "b", "c")
    expected = [None if value is None else token(key, value) for value in values]
    assert tokens(key, values).to_pylist() == expected
    texts = pa.array([None if value is None else canonical(value) for value in values], pa.string())
    assert tokens(key, texts).to_pylist() == expected


def test_t45_tokens_of_two_destinations_fields_or_purposes_are_never_equal() -> None:
    ring = keyring(1, 2)
    values = [f"C-{n}" for n in range(200)]
    places = [(d, f, p) for d in ("meta", "google", "mailer") for f in ("id", "plan") for p in ("ads", "news")]
    made = [set(tokens(ring.key(*place, version=v), values, version=1).to_pylist()) for place in places for v in (1, 2)]
    assert all(len(one) == len(values) for one in made)
    assert all(not one & other for one, other in combinations(made, 2))


# Plain SHA-256 of the normalised text on the right, by the platforms' pages named in transforms.py.
@pytest.mark.parametrize(
    ("rules", "kind", "value", "written"),
    [
        ("google@2026-08", "email", " John.Q.Smith@Gmail.com ", "johnqsmith@gmail.com"),
        ("google@2026-08", "email", "x.y@gmailed.example", "x.y@gmailed.example"),
        ("google@2026-08", "email", "john.smith+news@googlemail.com", "johnsmith+news@googlemail.com"),
        ("google@2026-08", "email", "john. smith@example.com", "john.smith@example.com"),
        ("google@2026-08", "phone", "+1 800 555 0100", "+18005550100"),
        ("meta@2026-08", "email", " John.Smith@Gmail.com", "john.smith@gmail.com"),
        ("meta@2026-08", "phone", "+44 7700 900123", "447700900123"),
        ("linkedin@2026-08", "email", " John.Smith@Example.com", "john.smith@example.com"),
        ("snap@2026-08", "phone", "+1 (800) 555-0100", "18005550100"),
    ],
)
def test_a_match_hash_is_that_of_the_platforms_spelling(rules: str, kind: str, value: str, written: str) -> None:
    assert match_hash(rules, kind, value) == hashlib.sha256(written.encode()).hexdigest()


def test_a_published_hash_is_met() -> None:
    # Meta, "Customer file custom audiences", example for mary@example.com.
    expected = "f1904cf1a9d73a55fa5de0ac823c4403ded71afd4c3248d00bdcd0866552bb79"
    assert match_hash("meta@2026-08", "email", "  Mary@Example.com ") == expected


@pytest.mark.parametrize("value", ["07700 900123", "5551234567", "n/a", "+10000000000"])
def test_t51_a_phone_without_its_country_is_never_guessed(value: str) -> None:
    assert normal("phone", value) is None
    assert match_hash("google@2026-08", "phone", value) is None


def test_a_region_that_is_known_completes_a_phone() -> None:
    assert normal("phone", "07700 900123", "gb") == "+447700900123"
    assert normal("phone", "0049 1511 2345678", "DE") == "+4915112345678"


@given(st.sampled_from(("email", "phone", "customer_number")), st.text(max_size=40))
def test_a_normal_form_is_its_own_normal_form(kind: str, value: str) -> None:
    forms = normal_forms(kind, value)
    assert all(normal_forms(kind, form)[0] == form for form in forms)


@pytest.mark.parametrize(
    ("value", "named"),
    [(34, "30-39"), ("34", "30-39"), (30, "30-39"), (29.9, "20-29"), (80, "80+"), (101, "80+"), ("old", None),
     (True, None), (-5, "-10--1"), ("nan", None), ("inf", None)],
)  # fmt: skip
def test_a_number_is_named_by_its_band(value: str | int | float, named: str | None) -> None:
    assert band(value, 10, 80) == named


def test_a_date_loses_its_day() -> None:
    assert generalise_date("2011-12-09T10:00:00Z", "month") == "2011-12"
    assert generalise_date("2011-12-09", "quarter") == "2011-Q4"
    assert generalise_date("2011-12-09", "year") == "2011"
    assert generalise_date("yesterday", "year") is None


@pytest.mark.parametrize(
    ("value", "decimals", "left"),
    [
        ("52.52437", 1, "52.5"), (-0.04, 1, "0.0"), ("13.41", 0, "13"), ("-122.4194", 1, "-122.4"),
        (179.99, 1, "180.0"),
        ("181", 1, None), ("here", 1, None), ("nan", 1, None), (True, 1, None), ("", 1, None), ("1e400", 1, None),
    ],
)  # fmt: skip
def test_a_place_is_rounded(value: str | float | bool, decimals: int, left: str | None) -> None:
    assert generalise_geo(value, decimals) == left


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("203.0.113.77", "203.0.113.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        (" 203.0.113.77 ", "203.0.113.0/24"),
        ("203.0.113", None), ("localhost", None), ("", None), ("203.0.113.77/8", None),
    ],
)  # fmt: skip
def test_an_address_of_the_network_loses_its_end(value: str, left: str | None) -> None:
    assert generalise_ip(value) == left
