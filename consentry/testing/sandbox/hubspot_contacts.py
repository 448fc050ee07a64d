"""HubSpot's records (contacts and the other kinds) in memory: sorted arrays for lists, typed columns for search."""

from __future__ import annotations

import json
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import ge, gt, le, lt
from pathlib import Path

from consentry.testing.sandbox.vendor import Json, Refused

# What HubSpot sends when a request names no properties, and adds to every answer.
DEFAULT_PROPERTIES = ("createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname")
OTHER_PROPERTIES = ("createdate", "hs_lastmodifieddate", "hs_object_id")
_ALWAYS = ("createdate", "hs_object_id")
_MODIFIED = ("lastmodifieddate", "hs_lastmodifieddate")
_TYPES = dict.fromkeys(("createdate", *_MODIFIED), "datetime") | {"hs_object_id": "number", "birthdate": "date"}
_COMPARISONS: dict[str, Callable[[Json, Json], bool]] = {"GT": gt, "GTE": ge, "LT": lt, "LTE": le}
OPERATORS = frozenset(
    {"EQ", "NEQ", "GT", "GTE", "LT", "LTE", "BETWEEN", "IN", "NOT_IN", "HAS_PROPERTY", "NOT_HAS_PROPERTY"}
)

Typed = str | float | None


@dataclass(slots=True)
class Contact:
    """One contact, or another record; property values are strings, as HubSpot's are."""

    id: int
    properties: dict[str, str | None]
    created: str
    updated: str
    archived: bool = False
    archived_at: str | None = None

    def record(self, names: Sequence[str]) -> Json:
        """Return the contact as the API shows it: the asked properties, null where there is no value."""
        moved = [name for name in _MODIFIED if name in self.properties]
        wanted = dict.fromkeys((*_ALWAYS, *moved, *names))
        shown = {
            "id": str(self.id),
            "properties": {name: self.properties.get(name) for name in sorted(wanted)},
            "createdAt": self.created,
            "updatedAt": self.updated,
            "archived": self.archived,
        }
        return shown | ({"archivedAt": self.archived_at} if self.archived_at else {})


@dataclass
class Contacts:
    """All records of one kind in the account, live and archived; `modified` is the property that moves."""

    modified: str = "lastmodifieddate"
    rows: dict[int, Contact] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)  # name -> type
    _order: dict[bool, list[int]] = field(default_factory=lambda: {False: [], True: []})
    _columns: dict[str, list[Typed]] = field(default_factory=dict)
    _found: dict[str, list[int]] = field(default_factory=dict)
    _emails: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.default = DEFAULT_PROPERTIES if self.modified == "lastmodifieddate" else OTHER_PROPERTIES
        self.declare((*self.default, "hs_merged_object_ids", "hs_email_optout", "hs_email_hard_bounce_reason_enum"))

    def declare(self, names: Iterable[str]) -> None:
        """Make properties known to the account."""
        for name in names:
            self.properties.setdefault(name, _TYPES.get(name, "string"))

    def read(self, path: Path) -> int:
        """Load contacts from JSON lines, one contact in the API's own shape a line."""
        number = 0
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    self._read_one(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise ValueError(f"Line {number} of {path.name} is not a contact as HubSpot shows it.") from None
        for order in self._order.values():
            order.sort()
        self.changed()
        return number

    def _read_one(self, record: Json) -> None:
        contact_id = int(record["id"])
        created, updated = record["createdAt"], record["updatedAt"]
        _millis(updated)  # a time that cannot be read is a bad line, not a surprise in a later search
        own = {"hs_object_id": str(contact_id), "createdate": created, self.modified: updated}
        contact = Contact(contact_id, own | record["properties"], created, updated, bool(record.get("archived")))
        if contact_id not in self.rows:
            self._order[contact.archived].append(contact_id)
        self._keep(contact)

    def put(self, contact: Contact) -> None:
        """Add a contact, or replace it."""
        before = self.rows.get(contact.id)
        if before is None or before.archived != contact.archived:
            if before is not None:
                self._order[before.archived].remove(contact.id)
            insort(self._order[contact.archived], contact.id)
        self._keep(contact)
        self.changed()

    def drop(self, contact_id: int) -> None:
        """Take a record away altogether, as a merge or a permanent deletion does."""
        contact = self.rows.pop(contact_id)
        self._order[contact.archived].remove(contact_id)
        self.changed()

    def _keep(self, contact: Contact) -> None:
        self.rows[contact.id] = contact
        self.declare(contact.properties)
        if email := contact.properties.get("email"):
            self._emails[email.lower()] = contact.id

    def changed(self) -> None:
        """Drop what was worked out from the former state."""
        self._columns.clear()
        self._found.clear()

    def by_email(self, email: str) -> Contact | None:
        """Return the live contact with this e-mail address."""
        contact = self.rows.get(self._emails.get(email.lower(), -1))
        same = contact is not None and (contact.properties.get("email") or "").lower() == email.lower()
        return contact if same and contact and not contact.archived else None

    def find(self, contact_id: str, *, archived: bool = False) -> Contact | None:
        """Return the contact of this id, when it is live (or archived, if asked)."""
        contact = self.rows.get(int(contact_id)) if contact_id.isascii() and contact_id.isdigit() else None
        return contact if contact and contact.archived == archived else None

    def page(self, after: int, limit: int, *, archived: bool = False) -> tuple[list[Contact], int | None]:
        """Return the contacts with a greater id, and the id after which the next page begins if there is one."""
        order = self._order[archived]
        begin = bisect_right(order, after)
        ids = order[begin : begin + limit]
        more = begin + limit < len(order)
        return [self.rows[one] for one in ids], ids[-1] if more and ids else None

    def latest(self) -> datetime:
        """Return when a contact was last changed, the epoch when there is none."""
        return datetime.fromtimestamp(max((_millis(one.updated) for one in self.rows.values()), default=0) / 1000, UTC)

    def count(self) -> int:
        """Return how many live contacts there are."""
        return len(self._order[False])

    def search(self, groups: Json, sort: tuple[str, bool] | None, text: str) -> list[int]:
        """Return the ids of the contacts that match any group, sorted; equal ones by id.

        groups: HubSpot's filterGroups. sort: property and whether descending. text: words for the default fields.
        """
        key = json.dumps([groups, sort, text], sort_keys=True)
        if key not in self._found:
            places = self._matching(groups, text)
            if sort:
                column = self.column(sort[0])
                places.sort(key=lambda place: (column[place] is None, column[place] or 0), reverse=sort[1])
            self._found = {key: [self._order[False][place] for place in places]}
        return self._found[key]

    def _matching(self, groups: Json, text: str) -> list[int]:
        everyone = range(self.count())
        if groups:
            chosen = sorted(set().union(*(self._in_group(group["filters"]) for group in groups)))
        else:
            chosen = list(everyone)
        if text:
            shown = [self.column(name) for name in ("email", "firstname", "lastname", "phone")]
            chosen = [place for place in chosen if any(text.lower() in str(column[place] or "") for column in shown)]
        return chosen

    def _in_group(self, filters: Json) -> list[int]:
        places: Sequence[int] = range(self.count())
        for one in filters:
            column = self.column(one["propertyName"])
            holds = _predicate(one, self.properties[one["propertyName"]])
            places = [place for place in places if holds(column[place])]
        return list(places)

    def column(self, name: str) -> list[Typed]:
        """Return a property of all live contacts in the order of their ids, as values that compare."""
        if name not in self._columns:
            kind = self.properties.get(name, "string")
            self._columns[name] = [typed(self.rows[one].properties.get(name), kind) for one in self._order[False]]
        return self._columns[name]


def typed(value: str | None, kind: str) -> Typed:
    """Return a property value so that it compares: numbers and instants (ms) as numbers, text in lower case."""
    if value is None or value == "":
        return None
    if kind in ("datetime", "date"):
        return _millis(value)
    if kind == "number":
        return float(value)
    return value.lower()


def _millis(value: str) -> float:
    if value.lstrip("-").isdigit():
        return float(value)
    moment = datetime.fromisoformat(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000


def _predicate(one: Json, kind: str) -> Callable[[Typed], bool]:
    operator = one["operator"]
    try:
        value = typed(one.get("value"), kind)
        high = typed(one.get("highValue"), kind)
        values = {typed(each, kind) for each in one.get("values", [])}
    except (ValueError, TypeError, AttributeError):
        raise Refused(
            400, "VALIDATION_ERROR", f"Filter value for {one['propertyName']} is not a valid {kind}"
        ) from None
    if operator in _COMPARISONS:
        compare = _COMPARISONS[operator]
        return lambda held: held is not None and compare(held, value)
    tests: dict[str, Callable[[Typed], bool]] = {
        "EQ": lambda held: held is not None and held == value,
        "NEQ": lambda held: held is not None and held != value,
        "BETWEEN": lambda held: held is not None and value <= held <= high,  # type: ignore[operator]
        "IN": lambda held: held in values and held is not None,
        "NOT_IN": lambda held: held is not None and held not in values,
        "HAS_PROPERTY": lambda held: held is not None,
        "NOT_HAS_PROPERTY": lambda held: held is None,
    }
    return tests[operator]
