"""Meta's custom audiences as consentry meets them: uploads of hashed values, their sessions, removals.

Contract: facebook-business 26.0.3 (customaudiencemixin.py) and the published list of edges; the answer's fields from
Meta's documentation. Not simulated: matching, audience size estimates, replace.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from starlette.responses import Response

from consentry.testing.sandbox.audiences import AudienceVendor, operations
from consentry.testing.sandbox.vendor import Call, Json, Operation, Refused

KEYS = frozenset(
    {
        *("EMAIL", "PHONE", "EXTERN_ID", "MADID", "FN", "LN", "GEN", "DOBY", "DOBM", "DOBD", "CT", "ST", "ZIP"),
        *("COUNTRY", "FI", "APPUID"),
    }
)
FINDS = ("EXTERN_ID", "EMAIL", "PHONE", "MADID")
_HASH = re.compile(r"[0-9a-f]{64}")
_PLAIN = frozenset({"EXTERN_ID", "MADID", "APPUID"})


class Meta(AudienceVendor):
    """One ad account.

    smallest: removals that would leave fewer members are refused. unreadable: entries with one of these values are
    counted as invalid.
    """

    name: ClassVar[str] = "meta"
    token: ClassVar[str] = "sandbox-meta"

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.sessions: list[Json] = []
        self.smallest = 0
        self.unreadable: set[str] = set()

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return operations(
            [
                ("GET", "/v25.0/me", lambda call: self.json({"id": "1"})),
                ("GET", "/v25.0/{id}", self.read),
                ("POST", "/v25.0/{id}/users", self.upload),
                ("DELETE", "/v25.0/{id}/users", self.upload),
            ]
        )

    def authenticate(self, call: Call) -> None:
        """Ask for the token."""
        self.refuse_credentials(call.header("authorization") == f"Bearer {self.token}")

    def problem_body(self, refused: Refused) -> Json:
        """Write the Graph API's error."""
        kind = refused.code if refused.code == "AudienceTooSmall" else "OAuthException"
        return {"error": {"message": refused.detail, "type": kind, "code": 100, "fbtrace_id": "A1"}}

    def read(self, call: Call) -> Response:
        """GET an audience."""
        self.audience(call.path("id"))
        return self.json({"id": call.path("id")})

    def upload(self, call: Call) -> Response:
        """POST or DELETE users: how many were received, how many could not be read, and samples of those."""
        members, body = self.audience(call.path("id")), self.body(call)
        payload, session = body.get("payload") or {}, body.get("session") or {}
        schema, data = payload.get("schema"), payload.get("data")
        if not isinstance(schema, list) or not isinstance(data, list) or not set(schema) <= KEYS:
            raise self.invalid("(#100) Invalid parameter: payload")
        if len(data) > 10_000 or any(len(one) != len(schema) for one in data):
            raise self.invalid("(#100) Invalid parameter: data")
        if "refuse" in {value for one in data for value in one}:
            raise self.invalid("(#100) The request was refused as a whole")
        self.sessions.append(session)
        removing = call.request.method == "DELETE"
        if removing and self.smallest and len(members) - len(data) < self.smallest:
            detail = "Audience Size too low: You cannot remove users from this audience"
            raise Refused(400, "AudienceTooSmall", detail)
        bad = [
            one
            for place, one in enumerate(data)
            if place in call.failing_rows() or not _readable(schema, one) or self.unreadable & set(one)
        ]
        for one in data:
            if one not in bad:
                self._keep(members, dict(zip(schema, one, strict=True)), removing)
        answer = {"audience_id": call.path("id"), "session_id": str(session.get("session_id"))}
        counts = {"num_received": len(data), "num_invalid_entries": len(bad)}
        return self.json(answer | counts | {"invalid_entry_samples": bad[:5]})

    def _keep(self, members: dict[str, Json], one: dict[str, str], removing: bool) -> None:
        key = next((one[name] for name in FINDS if one.get(name)), "")
        if removing:
            # Whoever has one of the values is out, under whichever of them they were added.
            found = {one[name] for name in FINDS if one.get(name)}
            for name in [name for name, held in members.items() if found & {held.get(kind) for kind in FINDS}]:
                del members[name]
        else:
            members[key] = one


def _readable(schema: list[str], one: list[str]) -> bool:
    named = zip(schema, one, strict=True)
    return all(key in _PLAIN or not value or bool(_HASH.fullmatch(value)) for key, value in named)
