"""Read who opted out at a vendor: what the ways of saying so have in common.

Whatever is not understood counts as a no: an unknown reason is a suppression, and a word without a time that can be
read was said now. A line that names nobody is passed over.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from consentry.connectors.base import OptOut

Reason = Literal["unsubscribed", "suppressed", "complained", "bounced"]
# Vendors' records begin no earlier; some want a first day.
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
_FORMATS = ("%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S")


def opt_out(email: object, reason: Reason, at: object, *, said_in: str) -> OptOut | None:
    """Return the word of somebody who is known by an address, None when there is none.

    at: as the vendor writes times, or seconds since 1970. said_in: the vendor's name for the place or the person.
    """
    if not isinstance(email, str) or "@" not in email:
        return None
    said = instant(at)
    moment = said or datetime.now(UTC)
    # Without a time of its own it is one word a day, and stands as long as the vendor says so.
    name = f"{said_in}:{reason}:{moment.isoformat() if said else moment.date().isoformat()}"
    return OptOut("email", email, reason, moment, name)


def instant(value: Any) -> datetime | None:
    """Read a time as vendors write it, None when it cannot be read; a time without a zone is UTC."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return datetime.fromtimestamp(value, UTC)
    if not isinstance(value, str):
        return None
    for read in (datetime.fromisoformat, *(lambda text, form=form: datetime.strptime(text, form) for form in _FORMATS)):
        try:
            found = read(value)
        except ValueError:
            continue
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None
