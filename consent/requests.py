"""The register of what people ask for under data protection law, and until when each must be answered.

Deadlines: GDPR Art. 12(3): one month, two more when that is told within the first. California: 45 days, 45 more
(Cal. Civ. Code 1798.130(a)(2)); an opt-out of sale or sharing 15 business days (11 CCR 7026(f)). What is kept of each
request are the six facts of 11 CCR 7101 and a keyed hash of who asked, which nothing else is named with.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from statistics import median
from typing import Any, Literal, get_args

import sqlalchemy as sa

from consentry.consent.keys import Keyring
from consentry.consent.named import names_of
from consentry.errors import ConfigError
from consentry.model.ids import uuid7s
from consentry.store import Store
from consentry.store.tables import subject_request

Kind = Literal["access", "portability", "rectification", "erasure", "restriction", "objection", "opt_out"]
Law = Literal["gdpr", "ccpa"]
Response = Literal["fulfilled", "partly", "denied", "not_verified"]
# 11 CCR 7101(b) wants 24 months; one more, so that the last day of a month is none of doubt.
KEPT_MONTHS, LEAST_MONTHS = 25, 24
SOON = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked for, in which manner, and what became of it. Days are ISO 8601."""

    request_id: str
    kind: str
    law: str
    manner: str
    received_on: str
    due_on: str
    extended_because: str | None = None
    answered_on: str | None = None
    response: str | None = None
    basis: str | None = None

    def is_overdue(self, today: date) -> bool:
        """Tell whether it should have been answered."""
        return self.answered_on is None and self.due_on < today.isoformat()


def due(kind: str, law: str, received: date) -> date:
    """Return the last day on which a request is answered in time."""
    if law == "gdpr":
        return months_after(received, 1)
    return _business_days_after(received, 15) if kind == "opt_out" else received + timedelta(days=45)


def due_when_extended(kind: str, law: str, received: date) -> date | None:
    """Return the last day after an extension; None where the law has none."""
    if law == "gdpr":
        return months_after(received, 3)
    return None if kind == "opt_out" else received + timedelta(days=90)


def months_after(day: date, months: int) -> date:
    """Return the same day some months later, or the last of that month: 31 January, 28 or 29 February."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _business_days_after(day: date, days: int) -> date:
    """Count Mondays to Fridays; holidays are not known, so that the day is rather too early."""
    while days:
        day += timedelta(days=1)
        days -= day.weekday() < 5
    return day


class Requests:
    """The register of a job. today: the clock of its deadlines."""

    def __init__(self, store: Store, keyring: Keyring, *, today: Callable[[], date] = date.today) -> None:
        self._store, self._keyring, self._today = store, keyring, today

    def add(
        self, kind: str, law: str, manner: str, who: tuple[str, str, str | None], *, received: date | None = None
    ) -> Request:
        """Note a request. who: type, value and region of an identifier, of which a keyed hash is kept.

        The same request of the same person that is open already is returned and not noted twice.
        Raises ConfigError for an unknown kind or law, a day to come, and an identifier of nobody.
        """
        _one_of("kind of request", kind, get_args(Kind))
        _one_of("law", law, get_args(Law))
        day = received or self._today()
        if day > self._today():
            raise ConfigError(f"A request cannot have been received on {day}, which is still to come.")
        names = names_of(self._keyring, "request", *who)
        made = Request(uuid7s(1)[0], kind, law, manner, day.isoformat(), due(kind, law, day).isoformat())
        table = subject_request.c
        same = sa.select(subject_request).where(
            table.subject.in_(names), table.kind == kind, table.law == law, table.answered_on.is_(None)
        )
        with self._store.begin() as connection:
            known = connection.execute(same).mappings().first()
            if known is not None:
                return _request(dict(known))
            connection.execute(sa.insert(subject_request).values(subject=names[0], **asdict(made)))
        return made

    def extend(self, request_id: str, because: str) -> Request:
        """Move the deadline of an open request, which the law allows once and within the first period.

        Raises ConfigError when it is too late, done already, or not provided for.
        """
        request = self._open(request_id)
        later = due_when_extended(request.kind, request.law, date.fromisoformat(request.received_on))
        if later is None:
            raise ConfigError(f"The law ({request.law}) lets no {request.kind} request be extended.")
        if request.extended_because:
            raise ConfigError(f"Request {request_id} was extended already, to {request.due_on}.")
        if request.is_overdue(self._today()):
            raise ConfigError(f"Request {request_id} was due on {request.due_on}; it can only be extended before.")
        return self._change(request, due_on=later.isoformat(), extended_because=because)

    def answer(self, request_id: str, response: str, *, basis: str | None = None) -> Request:
        """Note how an open request was answered; what is denied, in part too, needs the basis of that."""
        _one_of("response", response, get_args(Response))
        request = self._open(request_id)
        if response in ("denied", "partly") and not basis:
            raise ConfigError(f"A request that is {response} needs the basis of that. Give it with --basis.")
        return self._change(request, answered_on=self._today().isoformat(), response=response, basis=basis)

    def listed(self, *, answered: bool = False) -> list[Request]:
        """Return open requests, the most urgent first; those that were answered only when asked for."""
        query = sa.select(subject_request).order_by(subject_request.c.due_on, subject_request.c.request_id)
        if not answered:
            query = query.where(subject_request.c.answered_on.is_(None))
        with self._store.begin() as connection:
            return [_request(dict(row)) for row in connection.execute(query).mappings()]

    def told(self) -> dict[str, float | int | None]:
        """Count: open, due within seven days, overdue, and the median of days that answers took."""
        today, every = self._today(), self.listed(answered=True)
        waiting = [request for request in every if request.answered_on is None]
        took = [
            (date.fromisoformat(request.answered_on) - date.fromisoformat(request.received_on)).days
            for request in every
            if request.answered_on
        ]
        soon = (today + SOON).isoformat()
        overdue = sum(request.is_overdue(today) for request in waiting)
        return {
            "open": len(waiting),
            "due_within_7_days": sum(request.due_on <= soon for request in waiting) - overdue,
            "overdue": overdue,
            "median_days": median(took) if took else None,
        }

    def purge(self, months: int = KEPT_MONTHS) -> int:
        """Delete what was answered longer ago; return how many. Raises ConfigError for less than 24 months."""
        if months < LEAST_MONTHS:
            raise ConfigError(f"Requests are kept for {LEAST_MONTHS} months at least (11 CCR 7101).")
        before = months_after(self._today(), -months).isoformat()
        gone = sa.delete(subject_request).where(subject_request.c.answered_on < before)
        with self._store.begin() as connection:
            return connection.execute(gone).rowcount

    def _open(self, request_id: str) -> Request:
        found = next((one for one in self.listed() if one.request_id == request_id), None)
        if found is not None:
            return found
        raise ConfigError(f"There is no open request {request_id!r}. See: consentry requests list.")

    def _change(self, request: Request, **values: Any) -> Request:
        mine = subject_request.c.request_id == request.request_id
        with self._store.begin() as connection:
            connection.execute(sa.update(subject_request).where(mine).values(**values))
        return replace(request, **values)


def _one_of(what: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise ConfigError(f"There is no {what} {word!r}. There are: {', '.join(known)}.")


# A row of the table; whoever asked stays there.
def _request(row: dict[str, Any]) -> Request:
    row.pop("subject")
    return Request(**row)
