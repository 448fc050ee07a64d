"""Say why the records of a person are one person: what links them, how firmly, and what happened to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from consentry.identity.aliases import resolve_alias
from consentry.identity.bridges import pieces_without
from consentry.identity.config import kind_of
from consentry.warehouse import Warehouse

_RECORDS = (
    "SELECT m.record_id, m.valid_from_run AS since_run FROM identity.membership m"
    " WHERE m.person_id = $person AND m.valid_to_run IS NULL ORDER BY m.record_id"
)
_IDENTIFIERS = (
    "SELECT i.record_id, i.type, i.value, coalesce(d.reason, i.reason, '') AS reason FROM identity.identifier i"
    " JOIN identity.membership m ON m.record_id = i.record_id AND m.person_id = $person AND m.valid_to_run IS NULL"
    " LEFT JOIN identity.demoted d ON d.type = i.type AND d.value = i.value ORDER BY i.type, i.value, i.record_id"
)
_EVENTS = (
    "SELECT event_id, run_id, kind, person_id, other_person_id, evidence FROM identity.identity_event"
    " WHERE person_id = $person OR other_person_id = $person ORDER BY event_id"
)


@dataclass(frozen=True, slots=True)
class Link:
    """One identifier value that records of the person share.

    value: masked. reason: why it does not link, empty when it does. apart: into how many groups the records that hang
    together by it would fall without it; 1 when other links hold them together as well.
    """

    type: str
    value: str
    records: tuple[str, ...]
    reason: str
    apart: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the person, and the evidence it was based on."""

    run_id: str
    kind: str
    person_id: str
    other_person_id: str | None
    evidence: dict[str, Any]  # types and counts, as the event was written


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a person is one: the records, the links from the weakest, and the history from the oldest event.

    person_id: the id of today; asked: the id that was asked for. weakest: the link whose loss would break the
    person into the most groups, None when no single one would. unused: (type, reason, how many) of identifiers
    that were blocked, invalid or demoted.
    """

    asked: str
    person_id: str
    records: tuple[str, ...]
    links: tuple[Link, ...]
    weakest: Link | None
    unused: tuple[tuple[str, str, int], ...]
    events: tuple[Event, ...]


def explain(warehouse: Warehouse, person_id: str, *, decided: Iterable[Sequence[str]] = ()) -> Explanation | None:
    """Explain a person; None when there is none of this id. An id that went into another explains that one.

    decided: records that stewards said to be one person, which no lost link parts.
    """
    today = resolve_alias(warehouse, person_id)
    if today is None:
        return None
    records = tuple(warehouse.sql(_RECORDS, person=today)["record_id"].to_pylist())
    rows = warehouse.sql(_IDENTIFIERS, person=today).to_pylist()
    links = _links(rows, [held for group in decided if (held := sorted(set(group) & set(records)))])
    bridges = [link for link in links if link.apart > 1]
    return Explanation(
        asked=person_id,
        person_id=today,
        records=records,
        links=links,
        weakest=bridges[0] if bridges else None,
        unused=_unused(rows),
        events=_events(warehouse, dict.fromkeys((person_id, today))),
    )


def masked(type_: str, value: str) -> str:
    """Show as much of a value as tells it from its neighbours, and no more."""
    if kind_of(type_) == "email" and "@" in value:
        box, _, domain = value.rpartition("@")
        return f"{box[:1]}***@{domain[:1]}***.{domain.rpartition('.')[2]}"
    if kind_of(type_) == "phone":
        return f"{value[:3]}***{value[-2:]}" if len(value) > 7 else "***"
    return f"{value[:2]}***" if len(value) > 4 else "***"


def _links(rows: list[dict[str, Any]], decided: list[list[str]]) -> tuple[Link, ...]:
    holders: dict[tuple[str, str], list[str]] = {}
    reasons: dict[tuple[str, str], str] = {}
    for row in rows:
        if row["value"] is not None:
            holders.setdefault((row["type"], row["value"]), []).append(row["record_id"])
            reasons[row["type"], row["value"]] = row["reason"]
    shared = {key: held for key, held in holders.items() if len(held) > 1}
    # A demoted value may still hold some of its records together, so that only crowded ones are left out here.
    live = {key: held for key, held in shared.items() if reasons[key] != "shared"}
    pieces = pieces_without(live | {("", str(number)): held for number, held in enumerate(decided)})
    found = [
        Link(type_, masked(type_, value), tuple(held), reasons[type_, value], pieces.get((type_, value), 1))
        for (type_, value), held in shared.items()
    ]
    return tuple(sorted(found, key=lambda link: (-link.apart, len(link.records), link.type, link.value)))


def _unused(rows: list[dict[str, Any]]) -> tuple[tuple[str, str, int], ...]:
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["reason"]:
            counts[row["type"], row["reason"]] = counts.get((row["type"], row["reason"]), 0) + 1
    return tuple((type_, reason, n) for (type_, reason), n in sorted(counts.items()))


def _events(warehouse: Warehouse, people: dict[str, None]) -> tuple[Event, ...]:
    rows = {row["event_id"]: row for person in people for row in warehouse.sql(_EVENTS, person=person).to_pylist()}
    return tuple(
        Event(row["run_id"], row["kind"], row["person_id"], row["other_person_id"], json.loads(row["evidence"]))
        for _, row in sorted(rows.items())
    )
