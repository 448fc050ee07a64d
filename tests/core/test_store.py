"""The control store keeps evidence and tells nothing in its errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from consentry.errors import StopRun
from consentry.store import Store
from consentry.store.tables import metadata, suppression


def test_a_store_is_migrated_when_it_is_opened_and_only_once(tmp_path: Path) -> None:
    for _ in range(2):
        store = Store.in_file(tmp_path / "control.db")
        assert set(metadata.tables) <= set(sa.inspect(store.engine).get_table_names())
        store.close()


def test_a_database_error_hides_the_values(tmp_path: Path) -> None:
    store = Store.in_file(tmp_path / "control.db")
    row = {"identifier_hmac": "jane@example.com", "scope_purpose": "*", "key_version": 1, "reason": "x", "since": "z"}
    with pytest.raises(exc.IntegrityError) as caught, store.begin() as connection:
        connection.execute(sa.insert(suppression), [row, row])
    assert "jane" not in str(caught.value)
    store.close()


def test_a_store_that_cannot_be_opened_is_a_sentence_without_the_password() -> None:
    with pytest.raises(StopRun) as caught:
        Store("sqlite:////nowhere/at/all/control.db")
    assert "cannot be opened" in str(caught.value)
