"""Requests of people are answered in time, and what the law wants known of them is kept, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from consent_town import keyring
from hypothesis import given
from hypothesis import strategies as st

from consentry.consent.requests import Requests, due, due_when_extended, months_after
from consentry.errors import ConfigError
from consentry.store import Store

ANN = ("email", "ann@example.com", None)


class Desk:
    """A register whose clock is set by hand."""

    def __init__(self, store: Store, *versions: int) -> None:
        self.today = date(2026, 3, 2)
        self.register = Requests(store, keyring(*versions), today=lambda: self.today)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.in_file(tmp_path / "control.db")) as store:
        yield store


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store)


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (date(2026, 1, 31), date(2026, 2, 28)),
        (date(2028, 1, 31), date(2028, 2, 29)),
        (date(2026, 3, 31), date(2026, 4, 30)),
        (date(2026, 12, 15), date(2027, 1, 15)),
    ],
)
def test_l11_a_month_ends_on_the_same_day_or_the_last_of_the_next(received: date, answer: date) -> None:
    assert due("access", "gdpr", received) == answer


def test_l11_each_law_has_its_own_deadlines() -> None:
    monday = date(2026, 3, 2)
    assert due("access", "ccpa", monday) == date(2026, 4, 16)
    assert due("opt_out", "ccpa", monday) == date(2026, 3, 23)
    assert due_when_extended("access", "gdpr", monday) == date(2026, 6, 2)
    assert due_when_extended("access", "ccpa", monday) == date(2026, 5, 31)
    assert due_when_extended("opt_out", "ccpa", monday) is None


@given(day=st.dates(date(2000, 1, 1), date(2100, 1, 1)), months=st.integers(-40, 40))
def test_a_month_is_never_longer_than_one(day: date, months: int) -> None:
    found = months_after(day, months)
    assert (found.year * 12 + found.month) - (day.year * 12 + day.month) == months
    assert found.day <= day.day
    assert due("opt_out", "ccpa", day).weekday() < 5


def test_l11_an_extension_is_told_before_the_first_deadline_and_once(desk: Desk) -> None:
    made = desk.register.add("access", "gdpr", "mail", ANN)
    desk.today = date(2026, 4, 2)
    later = desk.register.extend(made.request_id, "many systems")
    assert later.due_on == "2026-06-02"
    with pytest.raises(ConfigError, match="was extended already"):
        desk.register.extend(made.request_id, "more")
    other = desk.register.add("erasure", "gdpr", "mail", ANN, received=date(2026, 3, 1))
    with pytest.raises(ConfigError, match="was due on 2026-04-01; it can only be extended before"):
        desk.register.extend(other.request_id, "late")
    refused = desk.register.add("opt_out", "ccpa", "form", ANN)
    with pytest.raises(ConfigError, match="lets no opt_out request be extended"):
        desk.register.extend(refused.request_id, "no")


def test_l11_what_is_open_due_and_overdue_is_counted(desk: Desk) -> None:
    desk.register.add("access", "gdpr", "mail", ANN)
    soon = desk.register.add("opt_out", "ccpa", "form", ("email", "bob@example.com", None), received=date(2026, 2, 16))
    desk.register.add("erasure", "ccpa", "form", ("email", "cleo@example.com", None), received=date(2026, 1, 1))
    assert [one.kind for one in desk.register.listed()] == ["erasure", "opt_out", "access"]
    assert desk.register.told() == {"open": 3, "due_within_7_days": 1, "overdue": 1, "median_days": None}
    desk.register.answer(soon.request_id, "fulfilled")
    assert desk.register.told() == {"open": 2, "due_within_7_days": 0, "overdue": 1, "median_days": 14}


def test_l25_what_was_asked_and_answered_is_kept_in_six_facts_and_two_years(desk: Desk) -> None:
    made = desk.register.add("erasure", "ccpa", "letter", ANN)
    with pytest.raises(ConfigError, match="needs the basis"):
        desk.register.answer(made.request_id, "denied")
    desk.today = date(2026, 3, 31)
    desk.register.answer(made.request_id, "denied", basis="1798.105(d)(1)")
    (kept,) = desk.register.listed(answered=True)
    facts = (kept.received_on, kept.kind, kept.manner, kept.answered_on, kept.response, kept.basis)
    assert facts == ("2026-03-02", "erasure", "letter", "2026-03-31", "denied", "1798.105(d)(1)")
    with pytest.raises(ConfigError, match="24 months at least"):
        desk.register.purge(23)
    desk.today = date(2028, 4, 30)
    assert desk.register.purge() == 0
    desk.today = date(2028, 5, 1)
    assert (desk.register.purge(), desk.register.listed(answered=True)) == (1, [])


def test_the_same_request_of_the_same_person_is_one_also_under_a_new_key(store: Store) -> None:
    first = Desk(store).register.add("access", "gdpr", "mail", ANN)
    rotated = Desk(store, 1, 2).register
    assert rotated.add("access", "gdpr", "form", ("email", " ANN@example.com", None)).request_id == first.request_id
    assert rotated.add("erasure", "gdpr", "form", ANN).request_id != first.request_id


@pytest.mark.parametrize(
    ("kind", "law", "who", "received", "said"),
    [
        ("acess", "gdpr", ANN, None, "no kind of request 'acess'"),
        ("access", "lgpd", ANN, None, "no law 'lgpd'"),
        ("access", "gdpr", ("email", "nobody", None), None, "can identify nobody"),
        ("access", "gdpr", ANN, date(2026, 3, 3), "still to come"),
    ],
)
def test_what_cannot_be_a_request_is_a_sentence(
    desk: Desk, kind: str, law: str, who: tuple[str, str, None], received: date | None, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        desk.register.add(kind, law, "mail", who, received=received)
    assert desk.register.listed() == []


def test_no_identifier_stands_in_the_register(desk: Desk, tmp_path: Path) -> None:
    desk.register.add("access", "gdpr", "mail", ANN)
    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"ann@example.com" not in held and b"2026-04-02" in held
