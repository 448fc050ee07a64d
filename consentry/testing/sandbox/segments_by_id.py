"""Customer.io, Braze and Iterable as consentry meets them: small APIs that keep people and lists of them.

Contracts: Customer.io's track description (mirror api-evangelist/customer-io), braze-docs post_user_track.md,
@iterable/api 0.13.0. Not simulated: campaigns, events, messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from starlette.responses import Response

from consentry.testing.sandbox.audiences import AudienceVendor, operations
from consentry.testing.sandbox.plain import basic
from consentry.testing.sandbox.vendor import Call, Json, Operation, Refused

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def _is_text(value: Json) -> bool:
    return isinstance(value, str)


def _seconds(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp())


def _is_object(value: Json) -> bool:
    return isinstance(value, dict)


class CustomerIo(AudienceVendor):
    """One Customer.io workspace."""

    name: ClassVar[str] = "customer_io"
    token: ClassVar[str] = "sandbox-customer-io"
    app_token: ClassVar[str] = "sandbox-customer-io-app"

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return operations(
            [
                ("GET", "/api/v1/accounts/region", lambda call: self.json({"region": "us"})),
                ("POST", "/api/v2/batch", self.batch),
                ("POST", "/api/v1/segments/{id}/add_customers", self.add),
                ("POST", "/api/v1/segments/{id}/remove_customers", self.remove),
                ("POST", "/v1/customers", self.search),
                ("POST", "/v1/customers/attributes", self.attributes),
                ("GET", "/v1/esp/suppression/{kind}", self.suppressed),
            ]
        )

    def authenticate(self, call: Call) -> None:
        """Ask for Basic authentication with site id and key; the App API has a bearer key of its own."""
        if call.request.url.path.startswith("/customer_io/v1/"):
            self.refuse_credentials(call.header("authorization") == f"Bearer {self.app_token}")
        else:
            self.refuse_credentials(basic(call) == f"site:{self.token}")

    def batch(self, call: Call) -> Response:
        """POST items: 200 when all were taken, 207 with errors otherwise."""
        if len(call.body) > 500_000:
            raise Refused(413, "payload_too_large", "The batch is too large.")
        items = self.listed(self.body(call), "batch", 10_000, _is_object)
        errors = []
        for place, one in enumerate(items):
            identifiers = one.get("identifiers") or {}
            if place in call.failing_rows() or not all(map(_is_text, identifiers.values())):
                errors.append({"batch_index": place, "reason": "invalid", "field": "identifiers", "message": "no"})
            elif one.get("type") == "person" and one.get("action") == "identify":
                ((kind, key),) = identifiers.items()
                self.people.setdefault(f"{kind}:{key}", {}).update(one.get("attributes") or {})
        return self.json({"errors": errors}, 207 if errors else 200)

    def add(self, call: Call) -> Response:
        """POST ids to add; those of strangers are passed over."""
        kind, ids, members = self._segment(call)
        members.update({key: True for key in ids if f"{kind}:{key}" in self.people})
        return self.json({})

    def remove(self, call: Call) -> Response:
        """POST ids to remove."""
        _, ids, members = self._segment(call)
        for key in ids:
            members.pop(key, None)
        return self.json({})

    def search(self, call: Call) -> Response:
        """POST a filter: only that of people who are unsubscribed is played; pages follow `next`."""
        wanted = {"attribute": {"field": "unsubscribed", "operator": "eq", "value": "true"}}
        if self.body(call).get("filter") != wanted:
            raise self.invalid("filter")
        found = [{"email": email, "id": None, "cio_id": f"cio-{email}"} for email, _ in self.said("unsubscribed")]
        start = int(call.query("start") or "0")
        most = int(call.query("limit", "50"))
        following = str(start + most) if start + most < len(found) else ""
        return self.json({"identifiers": found[start : start + most], "ids": [], "next": following})

    def attributes(self, call: Call) -> Response:
        """POST ids, at most 100: since when each attribute is as it is."""
        times = {f"cio-{email}": at for email, at in self.said("unsubscribed")}
        asked = self.listed(self.body(call), "ids", 100, _is_text)
        known = [
            {"identifiers": {"cio_id": one}, "timestamps": {"unsubscribed": _seconds(times[one])}}
            for one in asked
            if one in times
        ]
        return self.json({"customers": known})

    def suppressed(self, call: Call) -> Response:
        """GET addresses that are suppressed, by why."""
        words = {"bounces": "bounced", "spam_reports": "complained", "blocks": "suppressed"}
        found = self.said(words[call.path("kind")]) if call.path("kind") in words else []
        shown = [{"email": email, "created": _seconds(at)} for email, at in found]
        return self.json({"category": call.path("kind"), "suppressions": self.paged(call, shown, 1000)})

    def _segment(self, call: Call) -> tuple[str, list[str], dict[str, Json]]:
        kind = call.query("id_type", "id")
        if kind not in ("id", "email", "cio_id"):
            raise self.invalid("id_type")
        return kind, self.listed(self.body(call), "ids", 1000, _is_text), self.audience(call.path("id"))


class Braze(AudienceVendor):
    """One Braze workspace; audiences are attributes, and come into being with their first member."""

    name: ClassVar[str] = "braze"
    token: ClassVar[str] = "sandbox-braze"

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return operations(
            [
                ("POST", "/users/track", self.track),
                ("GET", "/email/unsubscribes", lambda call: self._emails(call, "unsubscribed", "unsubscribed_at")),
                ("GET", "/email/hard_bounces", lambda call: self._emails(call, "bounced", "hard_bounced_at")),
            ]
        )

    def _emails(self, call: Call, word: str, when: str) -> Response:
        """GET addresses by days of the calendar, at most 500 a page."""
        begin, end = call.query("start_date"), call.query("end_date")
        if not begin or not end:
            raise self.invalid("start_date and end_date are required")
        found = [
            {"email": email, when: f"{at[:10]} {at[11:19]} +0000"}
            for email, at in self.said(word)
            if begin <= at[:10] <= end
        ]
        return self.json({"emails": self.paged(call, found, 500), "message": "success"})

    def authenticate(self, call: Call) -> None:
        """Ask for the bearer token."""
        self.refuse_credentials(call.header("authorization") == f"Bearer {self.token}")

    def members(self) -> dict[str, list[str]]:
        """Return who has which attribute that is true."""
        with self.lock:
            names = {name for person in self.people.values() for name, value in person.items() if value is True}
            return {name: sorted(key for key, one in self.people.items() if one.get(name) is True) for name in names}

    def track(self, call: Call) -> Response:
        """POST attributes: 201, success, and errors inside."""
        items = self.body(call).get("attributes")
        if not isinstance(items, list) or len(items) > 75 or not all(map(_is_object, items)):
            raise self.invalid("attributes must hold at most 75 objects")
        errors = []
        for place, one in enumerate(items):
            key = one.pop("external_id", None) or one.get("email")
            existing_only = one.pop("_update_existing_only", False)
            if place in call.failing_rows() or not isinstance(key, str):
                errors.append({"type": f"'{key}' is not valid", "input_array": "attributes", "index": place})
            elif key in self.people or not existing_only:
                kept = {**self.people.get(key, {}), **one}
                self.people[key] = {name: value for name, value in kept.items() if value is not None}
        shown = {"message": "success", "attributes_processed": len(items) - len(errors)}
        return self.json(shown | ({"errors": errors} if errors else {}), 201)


class Iterable(AudienceVendor):
    """One Iterable project. `forgotten`: people who asked to be forgotten; they cannot come back."""

    name: ClassVar[str] = "iterable"
    token: ClassVar[str] = "sandbox-iterable"

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.forgotten: set[str] = set()
        self.channel_unsubscribes = 0
        self.off: list[str] = []

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return operations(
            [
                ("GET", "/api/lists", lambda call: self.json({"lists": []})),
                ("POST", "/api/lists/subscribe", self.subscribe),
                ("POST", "/api/lists/unsubscribe", self.unsubscribe),
                ("GET", "/api/export/data.json", self.export),
            ]
        )

    def authenticate(self, call: Call) -> None:
        """Ask for the key."""
        self.refuse_credentials(call.header("api-key") == self.token)

    def problem_body(self, refused: Refused) -> Json:
        """Write {msg, code, params}."""
        return {"msg": refused.detail, "code": "BadParams" if refused.status == 400 else "Error", "params": None}

    def subscribe(self, call: Call) -> Response:
        """POST people to a list."""
        body, members = self._list(call)
        failed: dict[str, list[str]] = {"invalidEmails": [], "forgottenEmails": [], "notFoundEmails": []}
        for place, one in enumerate(self.listed(body, "subscribers", 1000, _is_object)):
            key = one.get("email") or one.get("userId")
            if place in call.failing_rows() or ("email" in one and not _EMAIL.fullmatch(str(key))):
                failed["invalidEmails"].append(key)
            elif key in self.forgotten:
                failed["forgottenEmails"].append(key)
            elif body.get("updateExistingUsersOnly") and key not in self.people:
                failed["notFoundEmails"].append(key)
            else:
                self.people.setdefault(key, {}).update(one.get("dataFields") or {})
                members[key] = True
        return self._counted(body, failed)

    def export(self, call: Call) -> Response:
        """GET events as JSON lines; taking somebody off a list leaves one that names no channel."""
        kind = call.query("dataTypeName")
        words = {"emailUnSubscribe": "unsubscribed", "emailComplaint": "complained", "emailBounce": "bounced"}
        events: list[Json] = [
            {"email": email, "createdAt": f"{at[:10]} {at[11:19]} +00:00", "channelIds": [12]}
            | ({"recipientState": "HardBounce"} if kind == "emailBounce" else {})
            for email, at in self.said(words.get(kind, ""))
            if call.query("startDateTime") <= f"{at[:10]} {at[11:19]}" <= call.query("endDateTime")
        ]
        if kind == "emailUnSubscribe":
            at = "2026-01-01 00:00:00 +00:00"
            events += [{"email": one, "createdAt": at, "emailListIds": [7]} for one in self.off]
        lines = "".join(json.dumps(one) + "\n" for one in events)
        return Response(lines, media_type="application/octet-stream")

    def unsubscribe(self, call: Call) -> Response:
        """POST people off a list."""
        body, members = self._list(call)
        self.channel_unsubscribes += bool(body.get("channelUnsubscribe"))
        keys = [one.get("email") or one.get("userId") for one in self.listed(body, "subscribers", 1000, _is_object)]
        self.off += keys
        unknown = [key for key in keys if members.pop(key, None) is None and key not in self.people]
        return self._counted(body, {"notFoundEmails": unknown})

    def _list(self, call: Call) -> tuple[dict[str, Json], dict[str, Json]]:
        body = self.body(call)
        if not isinstance(body.get("listId"), int):
            raise self.invalid("listId must be a number")
        return body, self.audience(str(body["listId"]))

    def _counted(self, body: dict[str, Json], failed: dict[str, list[str]]) -> Response:
        bad = sum(map(len, failed.values()))
        shown = {"successCount": len(body["subscribers"]) - bad, "failCount": bad, "failedUpdates": failed}
        return self.json({**shown, "invalidEmails": failed.get("invalidEmails", []), "invalidUserIds": []})
