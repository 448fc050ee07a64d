"""Migrations make exactly the tables that the code expects, and each says by itself what it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import exc

from consentry.store import Store
from consentry.store.engine import MIGRATIONS
from consentry.store.tables import metadata


@pytest.fixture
def migrated(tmp_path: Path) -> Any:
    store = Store.in_file(tmp_path / "control.db")
    yield store
    store.close()


def test_the_migrations_make_exactly_the_declared_tables(migrated: Store) -> None:
    with migrated.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_every_table_has_the_columns_keys_and_constraints_it_was_declared_with(migrated: Store, tmp_path: Path) -> None:
    declared = sa.create_engine(f"sqlite:///{tmp_path / 'declared.db'}")
    metadata.create_all(declared)
    assert _described(migrated.engine) == _described(declared)
    declared.dispose()


def _described(engine: sa.Engine) -> dict[str, Any]:
    found = sa.inspect(engine)
    return {
        table: {
            "columns": [{**column, "type": str(column["type"])} for column in found.get_columns(table)],
            "primary_key": found.get_pk_constraint(table),
            "unique": found.get_unique_constraints(table),
            "foreign": found.get_foreign_keys(table),
            "indexes": found.get_indexes(table),
        }
        for table in sorted(found.get_table_names())
        if table != "alembic_version"
    }


def test_no_migration_leans_on_the_tables_of_today() -> None:
    for path in (MIGRATIONS / "versions").glob("[0-9]*.py"):
        assert "store.tables" not in path.read_text(), f"{path.name} would change when the tables do"


@pytest.mark.parametrize("verb", ["DELETE FROM consent_event", "UPDATE consent_event SET state = 'granted'"])
def test_the_ledger_stays_append_only_behind_the_migrations(migrated: Store, verb: str) -> None:
    columns = [column for column in metadata.tables["consent_event"].c if not column.nullable]
    row = {column.name: 1 if isinstance(column.type, sa.Integer) else "x" for column in columns}
    with migrated.begin() as connection:
        connection.execute(sa.insert(metadata.tables["consent_event"]).values(row))
    with pytest.raises(exc.IntegrityError, match="append-only"), migrated.begin() as connection:
        connection.execute(sa.text(verb))
