"""Who was erased stays away, under whichever spelling a source brings them back."""

from __future__ import annotations

import pytest
from consent_town import Town, keyring

from consentry.consent.erased import set_aside_erased
from consentry.consent.ledger import Ledger


def come_back(town: Town, value: str) -> None:
    town.warehouse.sql(
        "CREATE OR REPLACE TABLE clean.link AS SELECT * FROM (VALUES ('crm:1', 'crm', 'email', $value, NULL), "
        "('crm:2', 'crm', 'email', 'bob@example.com', NULL)) t(record_id, source, type, value, region)",
        value=value,
    )
    town.warehouse.sql("CREATE OR REPLACE TABLE clean.customer AS SELECT DISTINCT record_id FROM clean.link")
    town.warehouse.sql("CREATE OR REPLACE TABLE clean.event__visit AS SELECT DISTINCT record_id FROM clean.link")


@pytest.mark.parametrize(
    "value", ["ann@example.com", " ANN@Example.com", "ann+shop@example.com", "a\u200bnn@example.com"]
)
def test_t33_the_records_of_an_erased_person_are_set_aside(town: Town, value: str) -> None:
    town.ledger.suppress("email", "ann@example.com", reason="erasure")
    come_back(town, value)
    assert set_aside_erased(town.warehouse, town.ledger, run_id="r") == 1
    for table in ("clean.link", "clean.customer", "clean.event__visit"):
        assert town.warehouse.sql(f"SELECT record_id FROM {table}")["record_id"].to_pylist() == ["crm:2"]
    assert town.warehouse.sql("SELECT record_id, code FROM quarantine.suppressed").to_pylist() == [
        {"record_id": "crm:1", "code": "suppressed"}
    ]


def test_t33_an_objection_sets_nobody_aside(town: Town) -> None:
    town.ledger.suppress("email", "ann@example.com", reason="objection")
    come_back(town, "ann@example.com")
    assert set_aside_erased(town.warehouse, town.ledger, run_id="r") == 0
    assert town.warehouse.count("clean.customer") == 2


def test_t47_an_erasure_is_known_after_a_key_rotation(town: Town) -> None:
    town.ledger.suppress("email", "ann@example.com", reason="erasure")
    come_back(town, "ann@example.com")
    assert set_aside_erased(town.warehouse, Ledger(town.store, keyring(1, 2)), run_id="r") == 1
