"""Any SQL database as a source, through its SQLAlchemy URL: tables and queries, whole or what changed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pyarrow as pa
import sqlalchemy as sa
from pydantic import Field, SecretStr, model_validator
from sqlalchemy import event, exc
from sqlalchemy.pool import NullPool

from consentry.connectors.base import Check, ConnectorConfig, Page, State, Stream
from consentry.connectors.sql_keys import KnownKeys
from consentry.connectors.sql_read import SqlRead, Wanted
from consentry.connectors.sql_values import arrow_type
from consentry.errors import ConfigError, SourceFailed
from consentry.model.names import did_you_mean

# `:word` would be a parameter to SQLAlchemy; in a query of the job it is just text.
_PARAMETER = re.compile(r"(?<![:\w\\]):(?=\w)")
_EXTRAS = {"postgresql": "postgres"}


class SqlConfig(ConnectorConfig):
    """The database."""

    url: SecretStr = Field(description="The database as a SQLAlchemy URL, as ${VARIABLE}: it holds a password.")


class SqlStream(ConnectorConfig):
    """A table or a query, and how it is read."""

    table: str | None = Field(default=None, description="The table or view, `schema.table` where it needs one.")
    query: str | None = Field(default=None, description="A SELECT, in place of a table; its columns come as text.")
    key: tuple[str, ...] = Field(default=(), description="The columns that name a row; a table's primary key is known.")
    cursor: str | None = Field(
        default=None, description="The column that grows when a row changes; without it each read brings everything."
    )
    overlap: int | None = Field(
        default=None,
        ge=0,
        description="How far back each read looks for late rows: seconds for times (60 by default), else units (0).",
    )
    deletes: Literal["ignore", "diff"] = Field(
        default="ignore", description="diff: compare the keys with those of the last read; missing ones are deleted."
    )
    text: tuple[str, ...] = Field(default=(), description="Columns that come as text whatever their declared type.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.table is not None and self.query is not None:
            raise ValueError("a stream has a 'table' or a 'query', not both")
        if self.query is not None and not self.key:
            raise ValueError("a query needs a 'key': the columns that name a row")
        return self


class Sql:
    """Tables and queries of one database; nothing is written to it.

    Proof level A for SQLite and PostgreSQL, which the tests read; other databases by their SQLAlchemy dialect.
    """

    Config: ClassVar[type[ConnectorConfig]] = SqlConfig
    StreamOptions: ClassVar[type[ConnectorConfig]] = SqlStream

    def __init__(
        self,
        config: SqlConfig,
        *,
        streams: Mapping[str, SqlStream] | None = None,
        account: str = "",
        base: Path = Path(),
        keep: Path | None = None,
    ) -> None:
        self._streams, self._keep, self._account = dict(streams or {}), keep, account
        self._url = _url(config.url.get_secret_value(), base)
        self._engine = _engine(self._url)
        self._wanted: dict[str, Wanted] = {}

    def __repr__(self) -> str:
        return f"Sql({self._where})"

    def check(self) -> Check:
        """Connect, and look at every stream's table."""
        try:
            streams = self.discover()
        except (SourceFailed, ConfigError) as error:
            return Check(False, str(error))
        return Check(True, f"The database {self._where} answers; {len(streams)} streams can be read.")

    def discover(self) -> list[Stream]:
        """List the streams of the job, or every table that has a primary key when it names none."""
        names = list(self._streams)
        if not names:
            with self._guarded():
                found = sa.inspect(self._engine)
                names = [
                    name for name in found.get_table_names() if found.get_pk_constraint(name)["constrained_columns"]
                ]
        return [self._described(self._find(name)) for name in names]

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield the rows that changed since `state`, in the order of the cursor; then which ones are gone."""
        wanted = self._find(stream.name)
        with self._guarded(), self._engine.connect() as connection:
            yield from SqlRead(wanted, state).pages(self._careful(connection))

    @property
    def _where(self) -> str:
        database = Path(self._url.database or "").name
        return f"{self._url.get_backend_name()}/{database}"

    def _described(self, wanted: Wanted) -> Stream:
        return Stream(wanted.name, wanted.key, wanted.schema, wanted.cursor)

    def _find(self, name: str) -> Wanted:
        if name not in self._wanted:
            with self._guarded():
                self._wanted[name] = self._look_up(name, self._streams.get(name, SqlStream()))
        return self._wanted[name]

    def _look_up(self, name: str, options: SqlStream) -> Wanted:
        rows = self._query(options.query) if options.query else self._table(options.table or name)
        columns = list(rows.columns)
        key = options.key or tuple(column.name for column in columns if column.primary_key)
        if not key:
            raise ConfigError(f"The table of stream {name!r} has no primary key. Name its 'key' in the options.")
        for column in (*key, *options.text, *([options.cursor] if options.cursor else ())):
            if column not in rows.columns:
                hint = did_you_mean(column, rows.columns.keys()) or "."
                raise ConfigError(f"Stream {name!r} has no column {column!r}{hint}", code="unknown_column")
        typed = [
            (c.name, pa.string() if options.query or c.name in options.text else arrow_type(c.type)) for c in columns
        ]
        schema = pa.schema(typed)
        known = None
        if options.deletes == "diff":
            if self._keep is None:
                raise ConfigError("deletes: diff needs a folder to keep the keys in. Give 'keep'.", code="no_keep")
            known = KnownKeys(self._keep, name, pa.schema([schema.field(column) for column in key]))
        return Wanted(name, rows, schema, key, options.cursor, options.overlap, known)

    def _table(self, named: str) -> sa.FromClause:
        schema, _, table = named.rpartition(".")
        with warnings.catch_warnings():
            # A column of a type that SQLAlchemy does not know is read as text.
            warnings.simplefilter("ignore", exc.SAWarning)
            try:
                found = sa.MetaData()
                if self._engine.dialect.name == "sqlite":
                    event.listen(found, "column_reflect", _times_as_stored)
                return sa.Table(table, found, autoload_with=self._engine, schema=schema or None)
            except exc.NoSuchTableError:
                pass
        tables = sa.inspect(self._engine).get_table_names(schema or None)
        hint = did_you_mean(table, tables) or "."
        raise SourceFailed(f"The database {self._where} has no table {named!r}{hint}", code="unknown_table")

    def _query(self, text: str) -> sa.FromClause:
        escaped = _PARAMETER.sub(r"\\:", text.strip().rstrip(";"))
        with self._engine.connect() as connection:
            names = connection.execute(sa.text(f"SELECT * FROM ({escaped}) AS q WHERE 1 = 0")).keys()
        return sa.text(escaped).columns(*(sa.column(name) for name in names)).subquery("q")

    def _careful(self, connection: sa.Connection) -> sa.Connection:
        if self._engine.dialect.name != "postgresql":
            return connection
        # One snapshot for rows and keys; and nothing that the job's query says can write.
        options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return connection.execution_options(**options)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn the driver's errors, which quote hosts, queries and values, into a sentence."""
        failed: SourceFailed | None = None
        try:
            self._require_file()
            yield
        except exc.DBAPIError as error:
            kind = type(error.orig).__name__
            what = "broke off" if error.connection_invalidated else f"refuses ({kind})"
            failed = SourceFailed(
                f"The database {self._where} {what}. Check the URL, the rights of its user and the stream's options.",
                code="database_refused",
            )
        except exc.SQLAlchemyError as error:
            failed = SourceFailed(
                f"The database {self._where} cannot be read ({type(error).__name__}). Check the stream's options.",
                code="database_failed",
            )
        except (ArithmeticError, TypeError, ValueError) as error:
            failed = SourceFailed(
                f"The database {self._where} holds a value that is not of its declared type ({type(error).__name__}). "
                "List its column under 'text' in the stream's options, and let the contract settle it.",
                code="bad_type",
            )
        if failed:
            raise failed

    def _require_file(self) -> None:
        database = self._url.database
        if self._url.get_backend_name() != "sqlite" or not database or database == ":memory:":
            return
        if not Path(database).is_file():
            raise SourceFailed(f"There is no SQLite file {database}. Check 'url'.", code="file_missing")


def _times_as_stored(inspector: object, table: object, column: dict[str, Any]) -> None:
    """Let SQLite's times be the text that they are: written by many hands, they compare only as they stand."""
    if isinstance(column["type"], sa.DateTime | sa.Date | sa.Time):
        column["type"] = sa.String()


def _url(text: str, base: Path) -> sa.URL:
    try:
        url = sa.make_url(text)
    except exc.ArgumentError:
        url = None
    if url is None:
        raise ConfigError(
            "The 'url' is no SQLAlchemy URL. Write dialect://user:password@host/database, and keep it in a variable.",
            code="bad_url",
        )
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        url = url.set(database=str((base / url.database).resolve()))
    return url


def _engine(url: sa.URL) -> sa.Engine:
    try:
        # Without hide_parameters SQLAlchemy quotes bound values, personal ones included, in its errors.
        return sa.create_engine(url, hide_parameters=True, poolclass=NullPool)
    except (exc.NoSuchModuleError, ModuleNotFoundError):
        pass
    extra = _EXTRAS.get(url.get_backend_name())
    remedy = f"Install consentry[{extra}]." if extra else "Install the package of its SQLAlchemy dialect and driver."
    raise ConfigError(f"The driver for {url.drivername} is not installed. {remedy}", code="no_driver")
