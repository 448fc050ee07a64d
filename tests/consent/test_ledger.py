"""The ledger keeps every event once, changes none, and shows when somebody else did."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from consent_town import Town, towns
from sqlalchemy.exc import IntegrityError

from consentry.consent.ledger import GENESIS, Ledger
from consentry.consent.mirror import mirror
from consentry.errors import ConfigError
from consentry.store import Store
from consentry.store.tables import consent_event, suppression

ANN = "ann@example.com"


@pytest.mark.parametrize("verb", ["UPDATE consent_event SET state = 'granted'", "DELETE FROM consent_event"])
def test_the_database_itself_keeps_the_ledger_append_only(town: Town, verb: str) -> None:
    town.tell(ANN, "withdrawn")
    with pytest.raises(IntegrityError), town.store.begin() as connection:
        connection.execute(sa.text(verb))
    assert town.ledger.verify() is None


def test_each_event_carries_the_hash_of_the_one_before(town: Town) -> None:
    assert town.ledger.head() == (0, GENESIS)
    for n in range(3):
        town.tell(f"p{n}@example.com")
    size, head = town.ledger.head()
    assert (size, town.ledger.verify()) == (3, None)
    with town.store.begin() as connection:
        rows = connection.execute(sa.select(consent_event).order_by("seq")).all()
    assert [row.prev_hash for row in rows] == [GENESIS, rows[0].hash, rows[1].hash]
    assert rows[-1].hash == head


def test_a_change_behind_the_ledgers_back_is_found(town: Town) -> None:
    for n in range(5):
        town.tell(f"p{n}@example.com", "withdrawn")
    with town.store.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER consent_event_no_update"))
        connection.execute(sa.text("UPDATE consent_event SET state = 'granted' WHERE seq = 3"))
    assert town.ledger.verify() == 3


@pytest.fixture
def filed(tmp_path: Path) -> Iterator[Town]:
    """A town with its store in a file."""
    yield from towns(tmp_path, url=f"sqlite:///{tmp_path / 'store.db'}")


def test_no_identifier_stands_in_the_store(filed: Town, tmp_path: Path) -> None:
    filed.tell(ANN, "withdrawn")
    filed.tell("+447700900123")
    filed.ledger.suppress("email", ANN, reason="erasure")
    filed.store.close()
    for path in tmp_path.glob("store.db*"):
        content = path.read_bytes()
        assert b"ann@" not in content
        assert b"7700900123" not in content


def test_arrow_batches_and_plain_rows_are_recorded_alike(town: Town) -> None:
    rows = [town.row(f"p{n}@example.com") for n in range(1200)]
    first = town.ledger.record(iter(rows[:600]), policy=town.policy)
    second = town.ledger.record([pa.RecordBatch.from_pylist(rows)], policy=town.policy)
    assert (first.new, second.new, second.duplicate) == (600, 600, 600)
    assert town.ledger.verify() is None


def test_the_order_of_arrival_leaves_the_same_events(town: Town) -> None:
    rows = [town.row(f"p{n % 7}@example.com", "withdrawn" if n % 3 else "granted") for n in range(40)]
    random.Random(1).shuffle(rows)
    town.ledger.record(rows[:20] + rows[:5], policy=town.policy)
    town.ledger.record(reversed(rows), policy=town.policy)
    assert town.ledger.head()[0] == 40


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"source_event_id": None}, "no_event_id"),
        ({"source_event_id": "  "}, "no_event_id"),
        ({"source_system": None}, "incomplete"),
        ({"identifier_type": None}, "incomplete"),
        ({"identifier_value": None}, "invalid_identifier"),
        ({"identifier_value": "no mailbox"}, "invalid_identifier"),
        ({"identifier_type": "phone", "identifier_value": "07700 900123"}, "no_region"),
        ({"expires_at": "soon"}, "unreadable_expiry"),
    ],
)
def test_a_row_that_cannot_be_kept_is_refused_with_its_code(town: Town, facts: dict[str, object], code: str) -> None:
    assert town.ledger.record([{**town.row(ANN), **facts}], policy=town.policy).refused == {code: 1}


def test_t73_long_and_hostile_values_are_kept_within_bounds(town: Town) -> None:
    facts = {"mechanism": "x" * 10_000, "source_event_id": "é\u2028" * 10_000, "purpose": "p" * 1_000_000}
    assert town.tell(ANN, "withdrawn", **facts).new == 1
    with town.store.begin() as connection:
        row = connection.execute(sa.select(consent_event)).one()
    assert max(len(str(value)) for value in row) <= 255


def test_two_writers_make_one_chain(filed: Town, tmp_path: Path) -> None:
    rows = [[filed.row(f"p{n}@example.com") for n in range(40)] for _ in range(2)]

    def write(own: list[dict[str, object]]) -> None:
        store = Store.in_file(tmp_path / "store.db")
        for row in own:
            Ledger(store, filed.ring).record([row], policy=filed.policy)
        store.close()

    threads = [threading.Thread(target=write, args=(own,)) for own in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (filed.ledger.head()[0], filed.ledger.verify()) == (80, None)


def test_the_mirror_copies_what_is_new_and_starts_over_for_another_ledger(town: Town, tmp_path: Path) -> None:
    town.tell(ANN)
    assert mirror(town.store, town.warehouse) == 1
    town.tell(ANN, "withdrawn")
    assert [mirror(town.store, town.warehouse), mirror(town.store, town.warehouse)] == [1, 0]
    other = Store.in_file(tmp_path / "other.db")
    Ledger(other, town.ring).record([town.row(ANN), town.row(ANN)], policy=town.policy)
    assert mirror(other, town.warehouse) == 2
    assert town.warehouse.count("ops.consent_coded") == 2
    other.close()


def test_a_suppression_keeps_hash_scope_reason_and_date_and_nothing_else(town: Town) -> None:
    since = datetime(2026, 5, 1, tzinfo=UTC)
    assert town.ledger.suppress("email", "ann+x@example.com", reason="objection", scope="ads", since=since) == 2
    assert town.ledger.suppress("email", "ann+x@example.com", reason="objection", scope="ads") == 0
    with town.store.begin() as connection:
        rows = connection.execute(sa.select(suppression)).mappings().all()
    assert {(row["scope_purpose"], row["reason"], row["key_version"]) for row in rows} == {("ads", "objection", 1)}
    assert {row["since"] for row in rows} == {"2026-05-01T00:00:00.000000Z"}


@pytest.mark.parametrize(("value", "reason"), [("n/a", "erasure"), (ANN, "whim")])
def test_what_cannot_be_suppressed_is_said_without_showing_it(town: Town, value: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        town.ledger.suppress("email", value, reason=reason)
    assert value not in str(caught.value)
