"""The two enrichment vendors as consentry meets them: People Data Labs and FullContact.

Contracts: peopledatalabs/openAPI-specifications @65d32951 (MIT), pdl-specs.json; the POST form and the envelope
`{status, likelihood, data}` as the vendor's own client has them. FullContact: python-fullcontact 4.0.0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, ClassVar

from starlette.responses import Response

from consentry.testing.sandbox.limits import Limit
from consentry.testing.sandbox.plain import PlainVendor
from consentry.testing.sandbox.vendor import Call, Json, Operation, Refused


class _Enrichment(PlainVendor):
    """Who is known, and what was asked and paid for. The simulator itself keeps the addresses it was asked for."""

    def reset(self) -> None:
        """Forget everything: the state of a new account."""
        self.known: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.billed = 0

    def _find(self, email: str, phone: str, hashed: str) -> dict[str, Any] | None:
        self.asked.append(email or hashed or phone)
        for known, about in self.known.items():
            if known in (email, phone) or hashlib.sha256(known.encode()).hexdigest() == hashed:
                return about
        return None


class PeopleDataLabs(_Enrichment):
    """One People Data Labs account. credit: the matches it may still take. likelihood: of every match."""

    name: ClassVar[str] = "people_data_labs"
    token: ClassVar[str] = "sandbox-pdl"
    codes: ClassVar[dict[str, str]] = {
        "unauthorized": "authentication_error",
        "limited": "rate_limit_error",
        "unavailable": "api_error",
        "invalid": "invalid_request_error",
    }

    def reset(self) -> None:
        """Forget everything: the state of a new account."""
        super().reset()
        self.credit, self.likelihood = 1_000, 8

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return [Operation("POST", "/v5/person/enrich", self.enrich, (Limit(100, 60, "minute"),))]

    def authenticate(self, call: Call) -> None:
        """Ask for the key in its header; a key in the query is no login here, because it would be logged."""
        self.refuse_credentials(call.header("x-api-key") == self.token)

    def problem_body(self, refused: Refused) -> Json:
        """Return `{status, error: {type, message}}`."""
        return {"status": refused.status, "error": {"type": refused.code, "message": refused.detail}}

    def enrich(self, call: Call) -> Response:
        """POST for one person: 200 is paid for, 404 is no match and free, 402 is no credit."""
        body = json.loads(call.body)
        about = self._find(body.get("email", ""), body.get("phone", ""), body.get("email_hash", ""))
        if not any(body.get(one) for one in ("email", "phone", "email_hash", "profile", "lid", "pdl_id")):
            raise self.invalid("Request must contain a unique identifier.")
        if about is None or self.likelihood < body.get("min_likelihood", 2):
            raise Refused(404, "not_found", "No records were found matching your request.")
        if self.billed >= self.credit:
            raise Refused(402, "payment_required", "You have reached your account maximum (all matches used)")
        self.billed += 1
        wanted = body.get("data_include", "").split(",") if body.get("data_include") else list(about)
        data = {key: value for key, value in about.items() if key in wanted}
        return self.json({"status": 200, "likelihood": self.likelihood, "data": data})


class FullContact(_Enrichment):
    """One FullContact account. queued: the addresses whose answer is still being searched for."""

    name: ClassVar[str] = "fullcontact"
    token: ClassVar[str] = "sandbox-fullcontact"

    def reset(self) -> None:
        """Forget everything: the state of a new account."""
        super().reset()
        self.queued: set[str] = set()

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return [Operation("POST", "/v3/person.enrich", self.enrich, (Limit(6_000, 60, "minute"),))]

    def authenticate(self, call: Call) -> None:
        """Ask for the bearer token."""
        self.refuse_credentials(call.header("authorization") == f"Bearer {self.token}")

    def problem_body(self, refused: Refused) -> Json:
        """Return `{status, message}`."""
        return {"status": refused.status, "message": refused.detail}

    def enrich(self, call: Call) -> Response:
        """POST for one person: 200 with what is known, 202 when it is searched for, 404 for nobody."""
        body = json.loads(call.body)
        email = body.get("email", "")
        about = self._find(email, body.get("phone", ""), email)
        if not email and not body.get("phone"):
            raise self.invalid("A person is asked for by an identifier.")
        if email in self.queued:
            return self.json({"status": 202, "message": "Queued for search."}, 202)
        if about is None:
            raise Refused(404, "not_found", "Profile not found")
        self.billed += 1
        return self.json(about)
