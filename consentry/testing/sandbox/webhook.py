"""A receiver of consentry's webhook: checks signature and time, takes each request once, answers item by item."""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence
from typing import ClassVar

from starlette.responses import Response

from consentry.connectors.webhook import REPEAT, SIGNATURE, TIMESTAMP, sign
from consentry.testing.sandbox.audiences import AudienceVendor, operations
from consentry.testing.sandbox.vendor import Call, Json, Operation

SECRET = "sandbox-webhook-secret"
TOLERANCE_SECONDS = 300


class Webhook(AudienceVendor):
    """One receiver; audiences come into being with their first member."""

    name: ClassVar[str] = "webhook"
    token: ClassVar[str] = SECRET

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.taken: dict[str, bytes] = {}
        self.repeated = 0

    def operations(self) -> Sequence[Operation]:
        """List the one operation there is."""
        return operations([("POST", "/members", self.receive)])

    def authenticate(self, call: Call) -> None:
        """Check the signature over time and body, and that the time is now."""
        stamp = call.header(TIMESTAMP)
        wanted = sign(self.token, stamp, call.body)
        fresh = stamp.isdigit() and abs(time.time() - int(stamp)) <= TOLERANCE_SECONDS
        self.refuse_credentials(fresh and hmac.compare_digest(call.header(SIGNATURE), wanted))

    def receive(self, call: Call) -> Response:
        """POST who joins and who leaves; the same request twice is noticed, and answered alike."""
        body, name = self.body(call), call.header(REPEAT)
        join, leave = body.get("join") or [], body.get("leave") or []
        if {one["id"] for one in join} & {one["id"] for one in leave}:
            raise self.invalid("Nobody can join and leave at once.")
        if any("refuse" in one["fields"] for one in join):
            raise self.invalid("The receiver cannot use a field.")
        self.repeated += name in self.taken
        self.taken[name] = call.body
        members = self.audiences.setdefault(body["audience"], {}) if join or leave else {}
        failing = call.failing_rows()
        results: list[Json] = []
        for place, one in enumerate([*join, *leave]):
            if place in failing:
                results.append({"id": one["id"], "status": 422, "code": "not_wanted"})
                continue
            results.append({"id": one["id"], "status": 200})
            if one in join:
                members[one["id"]] = one
            else:
                members.pop(one["id"], None)
        return self.json({"results": results}, 207) if failing else Response(status_code=204)
