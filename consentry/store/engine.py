"""Open the control store: SQLite by default, PostgreSQL in production, migrated to the current schema."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, exc

from consentry.errors import StopRun

_migrating = threading.Lock()
MIGRATIONS = Path(__file__).parent / "migrations"


class Store:
    """A small transactional database; every write is durable when `begin` has ended."""

    def __init__(self, url: str) -> None:
        try:
            # Without hide_parameters SQLAlchemy quotes bound values, personal ones included, in its errors.
            self.engine = sa.create_engine(url, hide_parameters=True)
            if self.engine.dialect.name == "sqlite":
                event.listen(self.engine, "connect", _prepare_sqlite)
            with self.engine.begin() as connection:
                _migrate(connection)
        except exc.SQLAlchemyError as error:
            kind = type(error).__name__
            where = sa.make_url(url).render_as_string(hide_password=True)
            message = f"The control store {where} cannot be opened ({kind}). Check that it exists and may be written."
            raise StopRun(message, code="store") from None

    @classmethod
    def in_file(cls, path: Path) -> Store:
        """Open or make a SQLite store in a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(f"sqlite:///{path}")

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a transaction; it is committed at the end, or rolled back when an error passes."""
        with self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()


# The raw DB-API connection has no type of its own in SQLAlchemy.
def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    # WAL lets readers go on beside the writer; FULL keeps a committed journal through a power cut.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _migrate(connection: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    # Alembic keeps the connection in a global while a migration runs.
    with _migrating:
        if _is_current(connection, config):
            return
        if connection.dialect.name == "sqlite":
            # By itself the driver begins no transaction before CREATE TABLE: a crash would leave half a schema.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        command.upgrade(config, "head")


def _is_current(connection: sa.Connection, config: Config) -> bool:
    stands = MigrationContext.configure(connection).get_current_revision()
    return stands == ScriptDirectory.from_config(config).get_current_head()
