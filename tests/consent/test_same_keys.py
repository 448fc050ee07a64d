"""Keys that are not those of before stop everything: with others the suppression list would match nobody."""

from __future__ import annotations

import pytest
from consent_town import Town, keyring

from consentry.consent.keys import Keyring
from consentry.consent.same_keys import accept_keys
from consentry.errors import StopRun


def test_the_same_keys_are_accepted_and_a_further_version_is_too(town: Town) -> None:
    for ring in (keyring(1), keyring(1), keyring(1, 2), keyring(1, 2)):
        accept_keys(town.store, ring)


@pytest.mark.parametrize(
    "ring", [Keyring({1: bytes(range(9, 41))}, active=1), keyring(2), Keyring({2: bytes(range(1, 33))}, active=2)]
)
def test_t46_another_key_and_a_missing_version_stop_everything(town: Town, ring: Keyring) -> None:
    accept_keys(town.store, keyring(1))
    with pytest.raises(StopRun, match="Put the old key back") as caught:
        accept_keys(town.store, ring)
    assert caught.value.code == "wrong_key"
