"""Reversible tokens and personal keys: published vectors, one place alone, and gone when the key is."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from consent_town import Town, keyring
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given
from hypothesis import strategies as st

from consentry.consent.sealed import SubjectKeys, open_value, seal_value
from consentry.errors import SkipRecord


def test_aes_siv_is_that_of_rfc_5297() -> None:
    # RFC 5297, appendix A.1: deterministic authenticated encryption.
    key = bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    header = bytes.fromhex("101112131415161718191a1b1c1d1e1f2021222324252627")
    sealed = AESSIV(key).encrypt(bytes.fromhex("112233445566778899aabbccddee"), [header])
    assert sealed.hex() == "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c"


@given(value=st.text(max_size=200))
def test_a_reversible_token_comes_back_and_is_equal_for_equal_values(value: str) -> None:
    ring = keyring()
    token = seal_value(ring, "mailer", "note", value)
    assert token == seal_value(ring, "mailer", "note", value)
    assert open_value(ring, "mailer", "note", token) == value


def test_a_reversible_token_is_of_one_place_and_hides_its_length() -> None:
    ring = keyring()
    token = seal_value(ring, "mailer", "note", "short")
    assert len(token) == len(seal_value(ring, "mailer", "note", "longer word"))
    assert token != seal_value(ring, "ads", "note", "short")
    for place in (("ads", "note"), ("mailer", "name")):
        with pytest.raises(SkipRecord):
            open_value(ring, *place, token)
    for wrong in ("", "p1.1.abc", token[:-2] + "aa", "s1.9." + token[5:], "s1.1.!"):
        with pytest.raises(SkipRecord) as caught:
            open_value(ring, "mailer", "note", wrong)
        assert "short" not in str(caught.value)


def test_t47_a_reversible_token_is_read_after_a_rotation() -> None:
    token = seal_value(keyring(1), "mailer", "note", "ann")
    assert open_value(keyring(1, 2), "mailer", "note", token) == "ann"


def test_a_value_is_gone_when_its_persons_key_is(town: Town) -> None:
    keys = SubjectKeys(town.store, town.ring)
    sealed, other = keys.encrypt("ann", b"likes tea"), keys.encrypt("bob", b"likes tea")
    assert keys.decrypt("ann", sealed) == b"likes tea"
    assert keys.destroy("ann")
    for attempt in (lambda: keys.decrypt("ann", sealed), lambda: keys.encrypt("ann", b"again")):
        with pytest.raises(SkipRecord, match="destroyed"):
            attempt()
    assert keys.decrypt("bob", other) == b"likes tea"
    assert not keys.destroy("ann")
    assert not keys.destroy("never seen")


def test_one_persons_value_is_not_read_as_anothers(town: Town) -> None:
    keys = SubjectKeys(town.store, town.ring)
    sealed = keys.encrypt("ann", b"x")
    keys.encrypt("bob", b"y")
    for person in ("bob", "nobody"):
        with pytest.raises(SkipRecord):
            keys.decrypt(person, sealed)


def test_keys_are_wrapped_anew_after_a_rotation(town: Town) -> None:
    sealed = SubjectKeys(town.store, town.ring).encrypt("ann", b"x")
    rotated = SubjectKeys(town.store, keyring(1, 2))
    assert (rotated.rewrap(), rotated.rewrap()) == (1, 0)
    assert rotated.decrypt("ann", sealed) == b"x"
    with town.store.begin() as connection:
        assert connection.execute(sa.text("SELECT kek_id FROM subject_key")).scalar() == "2"
