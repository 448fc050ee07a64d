"""HubSpot's lists: membership is a bare array of ids in, `recordsIdsAdded` (the vendor's spelling) out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.responses import Response

from consentry.testing.sandbox import hubspot_checks as checks
from consentry.testing.sandbox.vendor import Call, Handler, Json, Refused, instant

if TYPE_CHECKING:
    from consentry.testing.sandbox.hubspot import HubSpot

LISTS = "/crm/lists/2026-09"
CONTACT = "0-1"
MEMBERS_PAGE_MAX = 250


@dataclass
class ContactList:
    """One list; only MANUAL and SNAPSHOT ones take members (lists.json 2026-09)."""

    id: str
    name: str
    processing: str
    created: str
    members: dict[str, str] = field(default_factory=dict)  # contact id -> when it joined

    def shown(self) -> Json:
        """Return the list as the API shows it."""
        return {
            "listId": self.id,
            "name": self.name,
            "objectTypeId": CONTACT,
            "processingType": self.processing,
            "processingStatus": "COMPLETE",
            "listVersion": 1,
            "createdAt": self.created,
            "updatedAt": self.created,
            "size": len(self.members),
        }


class HubSpotLists:
    """The lists of one account."""

    def __init__(self, account: HubSpot) -> None:
        self._account = account
        self._lists: dict[str, ContactList] = {}

    def clear(self) -> None:
        """Forget every list."""
        self._lists.clear()

    def table(self) -> list[tuple[str, str, Handler]]:
        """List the operations on lists."""
        one = f"{LISTS}/{{list_id}}"
        return [
            ("POST", LISTS, self.create),
            ("POST", f"{LISTS}/", self.create),
            ("GET", f"{LISTS}/object-type-id/{{type}}/name/{{name}}", self.by_name),
            ("GET", one, self.read),
            ("GET", f"{one}/memberships", self.list_members),
            ("PUT", f"{one}/memberships/add", self.add),
            ("PUT", f"{one}/memberships/remove", self.remove),
            ("PUT", f"{one}/memberships/add-and-remove", self.add_and_remove),
        ]

    def members(self) -> dict[str, list[str]]:
        """Return the contact ids of every list, by the list's name."""
        return {one.name: sorted(one.members) for one in self._lists.values()}

    def create(self, call: Call) -> Response:
        """POST a list: name, objectTypeId and processingType are required."""
        body = checks.object_of(call, "name", "objectTypeId", "processingType")
        if body["processingType"] not in ("MANUAL", "SNAPSHOT", "DYNAMIC"):
            raise checks.invalid("processingType must be MANUAL, SNAPSHOT or DYNAMIC", "processingType")
        if any(one.name == body["name"] for one in self._lists.values()):
            raise checks.invalid("A list with this name exists already", "name")
        number = self._account.next_id()
        made = ContactList(str(number), str(body["name"]), body["processingType"], instant(number))
        self._lists[made.id] = made
        return self._account.json({"list": made.shown()})

    def read(self, call: Call) -> Response:
        """GET a list by its id."""
        return self._account.json({"list": self._find(call).shown()})

    def by_name(self, call: Call) -> Response:
        """GET a list by its name."""
        for one in self._lists.values():
            if one.name == call.path("name"):
                return self._account.json({"list": one.shown()})
        raise _no_list()

    def list_members(self, call: Call) -> Response:
        """GET the members, by record id."""
        limit = checks.limit_of(call, default=100, most=MEMBERS_PAGE_MAX)
        members = self._find(call).members
        after = call.query("after")
        ids = sorted((one for one in members if not after or int(one) > int(after)), key=int)
        page: dict[str, Json] = {
            "results": [{"recordId": one, "membershipTimestamp": members[one]} for one in ids[:limit]]
        }
        if len(ids) > limit:
            page["paging"] = {"next": {"after": ids[limit - 1]}}
        return self._account.json(page)

    def add(self, call: Call) -> Response:
        """PUT members: a bare array of string ids."""
        return self._change(call, add=_ids(checks.body_of(call)), remove=[])

    def remove(self, call: Call) -> Response:
        """PUT removals: a bare array of string ids."""
        return self._change(call, add=[], remove=_ids(checks.body_of(call)))

    def add_and_remove(self, call: Call) -> Response:
        """PUT both at once."""
        body = checks.object_of(call, "recordIdsToAdd", "recordIdsToRemove")
        return self._change(call, add=_ids(body["recordIdsToAdd"]), remove=_ids(body["recordIdsToRemove"]))

    def _change(self, call: Call, *, add: list[str], remove: list[str]) -> Response:
        target, failing = self._find(call), call.failing_rows()
        if target.processing == "DYNAMIC":
            raise checks.invalid("Memberships of a DYNAMIC list cannot be changed", "listId")
        missing = [one for place, one in enumerate(add) if place in failing or not self._account.contacts.find(one)]
        added = [one for one in add if one not in missing and one not in target.members]
        removed = [one for one in remove if one in target.members]
        now = instant(self._account.next_id())
        target.members.update(dict.fromkeys(added, now))
        for one in removed:
            del target.members[one]
        body = {"recordsIdsAdded": added, "recordIdsRemoved": removed, "recordIdsMissing": missing}
        return self._account.json(body)

    def _find(self, call: Call) -> ContactList:
        found = self._lists.get(call.path("list_id"))
        if found is None:
            raise _no_list()
        return found


def _no_list() -> Refused:
    return Refused(404, "OBJECT_NOT_FOUND", "List does not exist.")


def _ids(body: Json) -> list[str]:
    if not isinstance(body, list) or not all(isinstance(one, str) for one in body):
        raise checks.invalid("Invalid input JSON: a list of string record ids was expected")
    return list(dict.fromkeys(body))
