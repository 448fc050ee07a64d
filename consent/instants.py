"""Instants as the ledger keeps them: UTC, microseconds, and never without a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_instant(value: object) -> datetime | None:
    """Return an instant given as an aware datetime or ISO 8601 text with an offset, None for anything else.

    A time without a zone and a bare number are not read: local time or UTC, seconds or milliseconds is a guess.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        return None
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return None


def written(instant: datetime) -> str:
    """Write an instant as the store keeps it: it sorts as text."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def micros(instant: datetime) -> int:
    """Return the microseconds since 1970, for comparison without time zones."""
    return (instant - EPOCH) // timedelta(microseconds=1)
