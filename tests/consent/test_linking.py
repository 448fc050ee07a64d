"""Whose records may be linked to nothing: those whose last word for the purpose is a refusal."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from consent_town import NOW, Town, keyring

from consentry.consent.ledger import Ledger
from consentry.consent.linking import LINK_REFUSED, refuse_linking

EARLY, LATE = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)


def refused(town: Town, ledger: Ledger | None = None) -> list[str]:
    town.warehouse.sql(
        "CREATE OR REPLACE TABLE clean.link AS SELECT * FROM (VALUES"
        " ('crm:1', 'crm', 'email', 'ANN@example.com', NULL),"
        " ('crm:2', 'crm', 'email', 'bob@example.com', NULL)) t(record_id, source, type, value, region)"
    )
    count = refuse_linking(town.warehouse, ledger or town.ledger, purpose="newsletter", as_of=NOW)
    found = town.warehouse.sql(f"SELECT record_id FROM {LINK_REFUSED} ORDER BY 1")["record_id"].to_pylist()
    assert count == len(found)
    return found


def test_without_a_refusal_nobody_is_refused(town: Town) -> None:
    town.tell("ann@example.com", "granted")
    assert refused(town) == []


@pytest.mark.parametrize("state", ["withdrawn", "denied", "objected"])
def test_the_last_word_counts(town: Town, state: str) -> None:
    town.tell("ann@example.com", "granted", effective_at=EARLY)
    town.tell("ann@example.com", state, effective_at=LATE)
    town.tell("bob@example.com", state, effective_at=EARLY)
    town.tell("bob@example.com", "granted", effective_at=LATE)
    assert refused(town) == ["crm:1"]


def test_of_two_words_of_one_instant_the_refusal_counts(town: Town) -> None:
    town.tell("ann@example.com", "withdrawn", effective_at=LATE)
    town.tell("ann@example.com", "granted", effective_at=LATE, source_system="app")
    assert refused(town) == ["crm:1"]


def test_a_word_for_another_purpose_or_from_the_future_does_not_count(town: Town) -> None:
    town.tell("ann@example.com", "withdrawn", purpose="ads")
    town.tell("bob@example.com", "withdrawn", effective_at=datetime(2026, 7, 1, tzinfo=UTC))
    assert refused(town) == []


def test_a_refusal_is_known_after_a_key_rotation_and_so_is_a_later_grant(town: Town) -> None:
    town.tell("ann@example.com", "withdrawn", effective_at=EARLY)
    rotated = Ledger(town.store, keyring(1, 2))
    assert refused(town, rotated) == ["crm:1"]
    rotated.record([town.row("ann@example.com", "granted", effective_at=LATE)], policy=town.policy)
    assert refused(town, rotated) == []
