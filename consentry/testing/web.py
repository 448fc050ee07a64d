"""What do people do on the shop's website: page, track and identify calls in Segment's shape, one a line.

A device has an anonymousId; once its user logs in (identify), the calls carry the userId too, which is the customer
number. Prospects have no number: their identify call carries the e-mail alone. Visitors never log in.
The shape is that of Segment's common fields, https://segment.com/docs/connections/spec/common/ (2026-08).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from consentry.testing.people import Person
from consentry.testing.records import AS_OF, Notes

DAYS = 58
_RECENT = (AS_OF - timedelta(days=30)).isoformat()
VISITORS = 0.08  # people who never say who they are, as a share of the customers
_CATEGORIES = ("home", "kitchen", "garden", "gifts", "toys", "christmas")
_PAGES = ("Home", "Category", "Product", "Basket", "Newsletter")


@dataclass(frozen=True, slots=True)
class _Session:
    """One person on the web: the devices, and what a login tells; both empty for a visitor's login."""

    person: str
    devices: tuple[str, ...]
    user_id: str
    email: str
    events: int


def web_lines(
    people: list[Person], *, events_each: int | None, rng: np.random.Generator, notes: Notes
) -> Iterator[str]:
    """Give the web calls of all people, person after person, each in the order of time.

    events_each: exactly so many calls for everybody; None for the quickstart's uneven crowd.
    """
    number = 0
    for session in _sessions(people, events_each, rng, notes):
        for call in _calls(session, rng):
            number += 1
            notes.truth.setdefault(web_record(call), session.person)
            line = json.dumps({"messageId": f"m-{number:07d}", **call}, ensure_ascii=False, separators=(",", ":"))
            yield from _with_faults(line, call, rng, notes)
            if call["type"] == "page" and call["timestamp"] >= _RECENT and len(session.devices) == 1:
                notes.pages[session.person] += 1


def web_record(call: Mapping[str, Any]) -> str:
    """Name the record in truth.jsonl that a call belongs to: its device, and who was logged in on it.

    What a shared device did without a login counts as done by the first of its users.
    """
    return f"web:{call['anonymousId']}:{call['userId']}" if call["userId"] else f"web:{call['anonymousId']}"


def _sessions(
    people: list[Person], events_each: int | None, rng: np.random.Generator, notes: Notes
) -> Iterator[_Session]:
    shared: tuple[str, ...] = ()
    for person in people:
        together = person.role == "shared_device"
        if events_each is None and not together and rng.random() >= (0.55 if person.customer_number else 0.45):
            continue
        devices = tuple(_device(rng) for _ in range(1 + int(rng.random() < 0.2)))
        if together:
            notes.defects["shared_device"] += 1
            devices, shared = (shared, ()) if shared else (devices[:1], devices[:1])
        yield _Session(person.key, devices, person.customer_number, person.email, _count(events_each, rng))
    if events_each is None:
        for n in range(round(len(people) * VISITORS)):
            yield _Session(f"v{n + 1:06d}", (_device(rng),), "", "", _count(None, rng))


def _count(events_each: int | None, rng: np.random.Generator) -> int:
    return events_each or 2 + min(int(rng.geometric(1 / 8)), 50)


def _device(rng: np.random.Generator) -> str:
    return f"a-{int(rng.integers(0, 1 << 62)):016x}"


def _calls(session: _Session, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Make the calls of one person: the second call on each device is the login, when there is one."""
    # The square draws the visits towards the end: more has been seen of the last weeks than of the first.
    ages = np.sort(rng.random(session.events) ** 1.6 * DAYS * 86_400)[::-1].tolist()
    kinds, pages, categories = rng.random(session.events).tolist(), rng.random(session.events), rng.random()
    category = _CATEGORIES[int(categories * len(_CATEGORIES))]
    seen: dict[str, int] = {}
    for n, age in enumerate(ages):
        device = session.devices[n * len(session.devices) // session.events]
        seen[device] = seen.get(device, 0) + 1
        logged_in = bool(session.email) and seen[device] >= 2
        moment = (AS_OF - timedelta(seconds=age)).replace(microsecond=0)
        call: dict[str, Any] = {
            "anonymousId": device,
            "userId": (session.user_id or None) if logged_in else None,
            "timestamp": moment.isoformat().replace("+00:00", ".000Z"),
        }
        if logged_in and seen[device] == 2:
            yield {"type": "identify", **call, "traits": {"email": session.email}}
        elif kinds[n] < 0.68:
            page = _PAGES[int(pages[n] * len(_PAGES))]
            yield {"type": "page", **call, "name": page, "properties": {"category": category}}
        elif kinds[n] < 0.9:
            yield {"type": "track", **call, "event": "product_viewed", "properties": {"category": category}}
        else:
            value = {"category": category, "value": round(2 + float(pages[n]) * 60, 2)}
            yield {"type": "track", **call, "event": "product_added", "properties": value}


def _with_faults(line: str, call: dict[str, Any], rng: np.random.Generator, notes: Notes) -> Iterator[str]:
    """Give the call's line; now and then twice, broken, from the future or from nobody."""
    chance = float(rng.random())
    notes.rows["web_events"] += 1
    if chance < 0.006:
        notes.defects["web_delivered_twice"] += 1
        notes.rows["web_events"] += 1
        yield line + "\n"
    elif chance < 0.007:
        notes.defects["web_malformed_line"] += 1
        line = line[: len(line) // 2]
    elif chance < 0.009:
        notes.defects["web_future_timestamp"] += 1
        line = line.replace(call["timestamp"], f"2031{call['timestamp'][4:]}")
    elif chance < 0.011:
        notes.defects["web_no_identity"] += 1
        user = "null" if call["userId"] is None else f'"{call["userId"]}"'
        line = line.replace(
            f'"anonymousId":"{call["anonymousId"]}","userId":{user}', '"anonymousId":null,"userId":null'
        )
    yield line + "\n"
