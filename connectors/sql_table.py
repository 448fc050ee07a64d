"""A table of a SQL database as a destination: one row a member, written in one transaction.

Each batch goes into a temporary table and from there into yours by one upsert, so that a reader sees all of it or
nothing. Works with PostgreSQL and SQLite through SQLAlchemy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import sqlalchemy as sa
from pydantic import Field, SecretStr
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NoSuchTableError, SQLAlchemyError, StatementError
from sqlalchemy.pool import NullPool

from consentry.connectors.audience_file import member_id
from consentry.connectors.base import Capabilities, Check, ConnectorConfig, Ok, Outcome
from consentry.connectors.http import AnswerLost
from consentry.connectors.http_destination import Outcomes, accounted, text
from consentry.errors import ConfigError, ConsentryError, DestinationFailed, SkipRecord
from consentry.model.batch import Batch, Value

DIALECTS = ("postgresql", "sqlite")
KEYS = ("audience", "member_id")
# SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535.
LOOKUP_MAX = 10_000
T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class SqlTableConfig(ConnectorConfig):
    """The database and the table."""

    url: SecretStr = Field(description="The database as a SQLAlchemy URL, as ${VARIABLE}: it holds a password.")
    table: str = Field(pattern=_NAME.pattern, max_length=63, description="The table that holds the members.")
    table_schema: str | None = Field(default=None, pattern=_NAME.pattern, description="The schema of the table.")
    create: bool = Field(default=True, description="Whether a missing table or column is made, of the type text.")


class SqlTable:
    """One table; `audience` is the value of its column of that name.

    Columns: `audience` and `member_id` (together the key), one of each identifier and field that is sent. A person
    has the same member id in every run and another in every audience.
    Proof: run against SQLite and a real PostgreSQL. Limits: other databases are refused; columns that are made are
    text, so make the table yourself where types matter.
    """

    Config: ClassVar[type[ConnectorConfig]] = SqlTableConfig
    capabilities = Capabilities(
        batch_max=10_000, key_fields=(), operations=frozenset({"add", "change", "remove"}), erases=True
    )

    def __init__(self, config: SqlTableConfig, *, account: str = "", base: Path = Path()) -> None:
        self._config, self.account = config, account
        self.api_calls = 0
        self._engine = _engine(config.url.get_secret_value(), base)

    def check(self) -> Check:
        """Log in, and look at the table."""
        try:
            count = self._guarded(self._count)
        except ConsentryError as error:
            return Check(False, str(error))
        return Check(True, f"The table {self._config.table} can be written; it holds {count} members.")

    def write(self, batch: Batch) -> Iterator[Outcome]:
        """Upsert the rows in one transaction: all of them or none."""
        return accounted(batch, self._write)

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        """Delete the rows in one transaction."""
        return accounted(batch, self._remove)

    def lookup(self, audience: str, remote_ids: Iterable[str]) -> frozenset[str]:
        """Return those of the member ids that are in the table."""
        return self._guarded(lambda: self._present(audience, list(remote_ids)))

    def _count(self) -> int:
        with self._engine.begin() as connection:
            counted = sa.select(sa.func.count()).select_from(self._table(connection, ()))
            return int(connection.execute(counted).scalar_one())

    def _present(self, audience: str, wanted: Sequence[str]) -> frozenset[str]:
        found = set[str]()
        with self._engine.begin() as connection:
            table = self._table(connection, ())
            for first in range(0, len(wanted), LOOKUP_MAX):
                some = wanted[first : first + LOOKUP_MAX]
                held = sa.select(table.c.member_id).where(table.c.audience == audience, table.c.member_id.in_(some))
                found |= set(connection.execute(held).scalars())
        return frozenset(found)

    def _write(self, batch: Batch, outcomes: Outcomes) -> None:
        ids = _ids(batch)
        columns = tuple(dict.fromkeys(name for row in batch.rows for name in (*row.identifiers, *row.fields)))
        rows: list[dict[str, Value]] = [
            {"audience": batch.audience, "member_id": id, **dict.fromkeys(columns), **row.identifiers, **row.fields}
            for id, row in zip(ids, batch.rows, strict=True)
        ]
        # Of two rows of one person the later one stands: an upsert cannot write one row twice.
        single = list({row["member_id"]: row for row in rows}.values())

        def put(connection: sa.Connection) -> None:
            table = self._table(connection, columns)
            stage = _stage(connection, table, [*KEYS, *columns])
            connection.execute(sa.insert(stage), [_fitting(row, table) for row in single])
            connection.execute(_upsert(connection.dialect.name, table, stage, columns))
            stage.drop(connection)

        self._transact(put)
        for place, id in enumerate(ids):
            outcomes.settle(place, Ok(id))

    def _remove(self, batch: Batch, outcomes: Outcomes) -> None:
        ids = _ids(batch)

        def drop(connection: sa.Connection) -> None:
            table = self._table(connection, ())
            stage = _stage(connection, table, KEYS)
            connection.execute(sa.insert(stage), [{"audience": batch.audience, "member_id": id} for id in set(ids)])
            leaving = sa.select(stage.c.member_id)
            connection.execute(
                sa.delete(table).where(table.c.audience == batch.audience, table.c.member_id.in_(leaving))
            )
            stage.drop(connection)

        self._transact(drop)
        for place, id in enumerate(ids):
            outcomes.settle(place, Ok(id))

    def _transact(self, work: Callable[[sa.Connection], None]) -> None:
        """Do everything or nothing; when the commit itself breaks off, nobody knows which."""
        self.api_calls += 1
        lost = self._guarded(lambda: self._commit(work))
        if lost:
            message = f"The database broke off ({lost}) while it committed; whether the rows are there is not known."
            raise AnswerLost(message, code="answer_lost")

    def _commit(self, work: Callable[[sa.Connection], None]) -> str:
        with self._engine.connect() as connection:
            transaction = connection.begin()
            work(connection)  # an error closes the connection, which takes everything back
            try:
                transaction.commit()
            except (DataError, IntegrityError):
                raise
            except DBAPIError as error:
                return type(error).__name__
        return ""

    def _guarded(self, work: Callable[[], T]) -> T:
        """Turn the database's errors, which quote rows, into sentences without them, in the context neither."""
        problem: ConsentryError
        try:
            return work()
        except SQLAlchemyError as error:
            # A statement error that is none of the driver's: a value that its column's type cannot take.
            ours = isinstance(error, StatementError) and not isinstance(error, DBAPIError)
            if ours or isinstance(error, DataError | IntegrityError):
                problem = SkipRecord("The table refuses a value of this batch.", code="value_refused")
            else:
                kind = type(error).__name__
                message = f"The table {self._config.table!r} cannot be written ({kind}). Check the URL and the rights."
                problem = DestinationFailed(message, code="database")
        raise problem

    def _table(self, connection: sa.Connection, columns: Sequence[str]) -> sa.Table:
        """Return the table with at least these columns, made where they are missing and may be."""
        for name in columns:
            if not _NAME.fullmatch(name) or name in KEYS:
                raise DestinationFailed(
                    f"{name!r} cannot be the name of a column. Name the field otherwise.", code="name"
                )
        table = self._reflected(connection)
        missing = [name for name in columns if name not in table.c]
        if missing and not self._config.create:
            message = f"The table {table.name!r} has no column {missing[0]!r}. Add it, or set 'create: true'."
            raise DestinationFailed(message, code="column_missing")
        quote = connection.dialect.identifier_preparer
        for name in missing:
            connection.execute(sa.text(f"ALTER TABLE {quote.format_table(table)} ADD COLUMN {quote.quote(name)} TEXT"))
        return self._reflected(connection) if missing else table

    def _reflected(self, connection: sa.Connection) -> sa.Table:
        name, schema = self._config.table, self._config.table_schema
        try:
            table = sa.Table(name, sa.MetaData(), schema=schema, autoload_with=connection)
        except NoSuchTableError:
            table = None
        if table is None:
            if not self._config.create:
                raise DestinationFailed(f"There is no table {name!r}. Make it, or set 'create: true'.", code="no_table")
            table = sa.Table(
                name, sa.MetaData(), *(sa.Column(key, sa.Text, primary_key=True) for key in KEYS), schema=schema
            )
            table.create(connection)
        if any(key not in table.c for key in KEYS):
            message = f"The table {name!r} has no columns 'audience' and 'member_id', which together must be unique."
            raise DestinationFailed(message, code="column_missing")
        return table


def _ids(batch: Batch) -> list[str]:
    return [row.remote_id or member_id(batch.destination, batch.audience, row.person_id) for row in batch.rows]


def _stage(connection: sa.Connection, table: sa.Table, names: Sequence[str]) -> sa.Table:
    columns = [sa.Column(name, table.c[name].type) for name in names]
    stage = sa.Table("consentry_stage", sa.MetaData(), *columns, prefixes=["TEMPORARY"])
    stage.create(connection)
    return stage


def _fitting(row: Mapping[str, Value], table: sa.Table) -> dict[str, Value]:
    """Write values of text columns as text; the others are for the column's type to take or refuse."""
    return {
        name: text(value) if value is not None and isinstance(table.c[name].type, sa.String) else value
        for name, value in row.items()
    }


def _upsert(dialect: str, table: sa.Table, stage: sa.Table, columns: Sequence[str]) -> sa.Executable:
    names = [*KEYS, *columns]
    # SQLite cannot tell the ON of an upsert from that of a join without a WHERE between.
    rows = sa.select(*(stage.c[name] for name in names)).where(sa.true())
    insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table).from_select(names, rows)
    if not columns:
        return insert.on_conflict_do_nothing(index_elements=KEYS)
    return insert.on_conflict_do_update(index_elements=KEYS, set_={name: insert.excluded[name] for name in columns})


def _engine(url: str, base: Path) -> sa.Engine:
    """Make the engine; a relative SQLite file starts at the job's folder. Raises ConfigError with a sentence."""
    problem = ""
    try:
        made = sa.make_url(url)
        if made.get_backend_name() not in DIALECTS:
            problem = f"This destination writes to {' and '.join(DIALECTS)} only. Check 'url'."
        elif made.get_backend_name() == "sqlite" and made.database and made.database != ":memory:":
            made = made.set(database=str(base / made.database))
        if not problem:
            # Without a pool a connection that broke takes its temporary table with it.
            return sa.create_engine(made, hide_parameters=True, poolclass=NullPool)
    except ModuleNotFoundError as missing:
        problem = f"Install {missing.name} to write to this database."
    except SQLAlchemyError:
        problem = "'url' is not a database URL. Write it like postgresql://user:password@host/name, as ${VARIABLE}."
    raise ConfigError(problem, code="database_url")
