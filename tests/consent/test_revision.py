"""An older policy does not come back unless somebody signs for it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from consent_town import POLICY, Town, keyring, policy

from consentry.consent.policy import Policy
from consentry.consent.revision import accept_policy, approve_policy
from consentry.errors import Blocked


def revision(town: Town, number: int, extra: str = "") -> Policy:
    return policy(town.folder, POLICY.replace("version: 1\n", f"version: 1\nrevision: {number}\n", 1) + extra)


def test_t64_an_older_policy_is_blocked_until_it_is_signed(town: Town) -> None:
    old, new = revision(town, 1), revision(town, 2)
    for one in (old, new, new):
        accept_policy(town.store, one, town.ring)
    with pytest.raises(Blocked, match="revision 2 was in force") as caught:
        accept_policy(town.store, old, town.ring)
    assert caught.value.code == "policy_downgraded"
    approve_policy(town.store, old, town.ring)
    accept_policy(town.store, old, town.ring)


def test_t64_a_signature_is_of_one_file_and_one_key(town: Town) -> None:
    old, other = revision(town, 1), revision(town, 1, "# edited\n")
    accept_policy(town.store, revision(town, 2), town.ring)
    approve_policy(town.store, old, town.ring)
    with pytest.raises(Blocked):
        accept_policy(town.store, other, town.ring)
    with pytest.raises(Blocked):
        accept_policy(town.store, old, keyring(7))
    with town.store.begin() as connection:
        connection.execute(sa.text("UPDATE policy_seen SET approval = 'forged'"))
    with pytest.raises(Blocked):
        accept_policy(town.store, old, town.ring)


def test_an_edit_under_the_same_revision_is_no_step_back(town: Town) -> None:
    accept_policy(town.store, revision(town, 2), town.ring)
    accept_policy(town.store, revision(town, 2, "# edited\n"), town.ring)
