"""The control store keeps evidence and tells nothing in its errors."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from consentry.errors import StopRun
from consentry.store import Store
from consentry.store.tables import metadata, suppression

# Makes a store, and is killed behind so many statements that write.
_KILLED = """
import os, signal, sys
from pathlib import Path
import sqlalchemy as sa
from consentry.store import Store

left = int(sys.argv[2])

@sa.event.listens_for(sa.Engine, "after_cursor_execute")
def count(connection, cursor, statement, *rest):
    global left
    left -= statement.lstrip().startswith(("CREATE", "ALTER", "INSERT", "UPDATE"))
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

Store.in_file(Path(sys.argv[1]))
"""


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


@pytest.mark.parametrize("statements", [1, 4, 9, 30])
def test_a_store_whose_making_is_killed_is_made_whole_by_the_next_opening(tmp_path: Path, statements: int) -> None:
    path = tmp_path / "control.db"
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(path), str(statements)], check=False)
    assert killed.returncode == -signal.SIGKILL
    store = Store.in_file(path)
    with store.begin() as connection:
        assert set(metadata.tables) <= set(sa.inspect(connection).get_table_names())
    store.close()
