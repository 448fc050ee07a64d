"""What the commands about requests do with a job; the audit log keeps each act, and nobody's name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

from consentry.consent.requests import KEPT_MONTHS, Request, Requests
from consentry.pipeline.left import held_log
from consentry.pipeline.load import Loaded
from consentry.pipeline.privacy import ledger_of


def today() -> date:
    """Return the day by which deadlines are counted: that of UTC."""
    return datetime.now(UTC).date()


# Everything below returns plain JSON.
def add_request(
    loaded: Loaded, kind: str, law: str, manner: str, who: tuple[str, str, str | None], received: date | None
) -> dict[str, Any]:
    """Note that somebody asked for something, and by when that must be answered."""
    with held_log(loaded) as audit, _register(loaded) as register:
        made = register.add(kind, law, manner, who, received=received)
        audit.append("request.received", request=made.request_id, kind=kind, law=law, due=made.due_on)
    return _told(made)


def extend_request(loaded: Loaded, request_id: str, because: str) -> dict[str, Any]:
    """Move the deadline of a request as far as the law allows."""
    with held_log(loaded) as audit, _register(loaded) as register:
        made = register.extend(request_id, because)
        audit.append("request.extended", request=request_id, due=made.due_on)
    return _told(made)


def answer_request(loaded: Loaded, request_id: str, response: str, basis: str | None) -> dict[str, Any]:
    """Note how a request was answered."""
    with held_log(loaded) as audit, _register(loaded) as register:
        made = register.answer(request_id, response, basis=basis)
        audit.append("request.answered", request=request_id, result=response)
    return _told(made)


def list_requests(loaded: Loaded, *, answered: bool = False) -> dict[str, Any]:
    """Return the register, the most urgent first, and what of it is open, due and overdue."""
    with _register(loaded) as register:
        return {**register.told(), "requests": [_told(one) for one in register.listed(answered=answered)]}


def purge_requests(loaded: Loaded, months: int = KEPT_MONTHS) -> dict[str, Any]:
    """Delete what was answered longer ago."""
    with held_log(loaded) as audit, _register(loaded) as register:
        purged = register.purge(months)
        audit.append("request.purged", counts={"requests": purged})
    return {"purged": purged}


@contextmanager
def _register(loaded: Loaded) -> Iterator[Requests]:
    with ledger_of(loaded) as ledger:
        yield Requests(ledger.store, ledger.keyring, today=today)


def _told(request: Request) -> dict[str, Any]:
    return asdict(request) | {"overdue": request.is_overdue(today())}
