"""ActiveCampaign as consentry meets it: contacts, lists and who has which status on them.

Contract: developers.activecampaign.com (API v3) as of 2026-11. Not simulated: automations, campaigns, bulk imports.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from starlette.responses import Response

from consentry.testing.sandbox.audiences import AudienceVendor, operations
from consentry.testing.sandbox.limits import Limit
from consentry.testing.sandbox.vendor import Call, Json, Operation, Refused, whole_number

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_SECOND = (Limit(5, 1, "second"),)


class ActiveCampaign(AudienceVendor):
    """One account. audiences: the list's number -> e-mail -> status. fields: the tags of custom fields, numbered."""

    name: ClassVar[str] = "activecampaign"
    token: ClassVar[str] = "sandbox-activecampaign"

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.fields: list[str] = []
        self.resubscribed: list[str] = []

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return operations(
            [
                ("GET", "/api/3/lists", lambda call: self.json({"lists": [{"id": one} for one in self.audiences]})),
                ("GET", "/api/3/lists/{id}", self.one_list),
                ("GET", "/api/3/fields", self.custom_fields),
                ("GET", "/api/3/contacts", self.contacts),
                ("GET", "/api/3/contacts/{id}/contactLists", self.lists_of),
                ("POST", "/api/3/contact/sync", self.sync),
                ("POST", "/api/3/contactLists", self.set_status),
            ],
            _SECOND,
        )

    def authenticate(self, call: Call) -> None:
        """Ask for the key."""
        self.refuse_credentials(call.header("api-token") == self.token)

    def problem_body(self, refused: Refused) -> Json:
        """Write {errors: [{title, code}]} for what is in a request, {message} for the rest."""
        if refused.status in (400, 422):
            return {"errors": [{"title": refused.detail, "detail": "", "code": refused.code}]}
        return {"message": refused.detail}

    def members(self) -> dict[str, list[str]]:
        """Return who is active on each list."""
        with self.lock:
            return {
                name: sorted(email for email, status in kept.items() if status == "1")
                for name, kept in self.audiences.items()
            }

    def one_list(self, call: Call) -> Response:
        """GET a list."""
        self.audience(call.path("id"))
        return self.json({"list": {"id": call.path("id")}})

    def custom_fields(self, call: Call) -> Response:
        """GET the custom fields."""
        return self._page(call, "fields", [{"id": str(n), "perstag": tag} for n, tag in enumerate(self.fields, 1)])

    def contacts(self, call: Call) -> Response:
        """GET the contacts with an e-mail."""
        if call.query("listid"):
            return self._on_list(call)
        wanted = call.query("email").lower()
        found = [{"id": one["id"], "email": email} for email, one in self.people.items() if email == wanted]
        return self._page(call, "contacts", found)

    def _on_list(self, call: Call) -> Response:
        """GET the contacts of a list by their status there, with their lines; a campaign stands by what they did."""
        listed, status = call.query("listid"), call.query("status")
        kept = self.audience(listed)
        found = [
            (email, self.people[email]["id"]) for email, held in kept.items() if held == status and email in self.people
        ]
        lines = [
            {"contact": number, "list": listed, "status": status, "udate": self.opted_out.get(email, ("", None))[1]}
            | {"campaign": "31" if email in self.opted_out else None}
            for email, number in found
        ]
        shown = self.paged(call, [{"id": number, "email": email} for email, number in found], 100)
        return self.json({"contacts": shown, "contactLists": lines, "meta": {"total": str(len(found))}})

    def opt_out(self, listed: str, email: str, at: str, status: str = "2") -> None:
        """Let somebody unsubscribe by the link in a campaign, or bounce (3)."""
        with self.lock:
            self.people.setdefault(email, {"id": str(self.next_id())})
            self.audience(listed)[email] = status
            self.opted_out[email] = ("unsubscribed", at)

    def lists_of(self, call: Call) -> Response:
        """GET the lists that a contact is or was on."""
        email = self._email(call.path("id"))
        found = [
            {"contact": call.path("id"), "list": name, "status": kept[email]}
            for name, kept in self.audiences.items()
            if email in kept
        ]
        return self._page(call, "contactLists", found)

    def sync(self, call: Call) -> Response:
        """POST a contact: made with 201, updated with 200."""
        contact: Json = self.body(call).get("contact")
        if not isinstance(contact, dict):
            raise self.invalid("contact must be an object.")
        email = str(contact.get("email", "")).lower()
        if 0 in call.failing_rows() or not _EMAIL.fullmatch(email):
            raise Refused(422, "email_invalid", "Email address is invalid.")
        values = {one["field"]: one["value"] for one in contact.get("fieldValues", [])}
        if not all(field.isdigit() and 1 <= int(field) <= len(self.fields) for field in values):
            raise Refused(422, "field_invalid", "There is no such field.")
        new = email not in self.people
        kept = self.people.setdefault(email, {"id": str(self.next_id())})
        kept.update({name: value for name, value in contact.items() if name not in ("email", "fieldValues")})
        kept.update({self.fields[int(field) - 1]: value for field, value in values.items()})
        return self.json({"contact": {"id": kept["id"], "email": email}, "fieldValues": []}, 201 if new else 200)

    def set_status(self, call: Call) -> Response:
        """POST a contact's status on a list: 1 subscribes, also people who had unsubscribed; 2 unsubscribes."""
        said = self.body(call).get("contactList")
        if not isinstance(said, dict) or str(said.get("status")) not in ("1", "2"):
            raise self.invalid("contactList must hold list, contact and status.")
        members, email, status = (
            self.audience(str(said.get("list"))),
            self._email(str(said.get("contact"))),
            said["status"],
        )
        if str(status) == "1" and members.get(email) == "2":
            self.resubscribed.append(email)
        members[email] = str(status)
        return self.json({"contactList": {"list": said["list"], "contact": said["contact"], "status": str(status)}})

    def _email(self, number: str) -> str:
        for email, one in self.people.items():
            if one["id"] == number:
                return email
        raise Refused(404, "not_found", "No Result found for that contact.")

    def _page(self, call: Call, name: str, found: list[Json]) -> Response:
        limit = whole_number(call.query("limit", "20"), least=1, most=100)
        offset = whole_number(call.query("offset", "0"), least=0, most=10**9)
        if limit is None or offset is None:
            raise self.invalid("limit and offset must be numbers.")
        return self.json({name: found[offset : offset + limit], "meta": {"total": str(len(found))}})
