"""Google's Data Manager API as consentry meets it: ingest and remove members, retrieve the status of a request.

Contract: the discovery document datamanager v1 (Apache-2.0) and Google's page on limits; unknown fields are refused
as the API does. Logging in is the GA4 simulator's. Not simulated: matching, encryption, events.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from starlette.responses import Response

from consentry.testing.sandbox.audiences import AudienceVendor, operations
from consentry.testing.sandbox.vendor import Call, Json, Operation, Refused

_HASH = re.compile(r"[0-9a-f]{64}")
_KNOWN = frozenset({"destinations", "audienceMembers", "consent", "encoding", "termsOfService", "validateOnly"})
_GRANTED = "CONSENT_GRANTED"


class GoogleDataManager(AudienceVendor):
    """One Google Ads account. `requests`: what was sent; `polls_to_complete`: how often its status is asked for."""

    name: ClassVar[str] = "google_data_manager"
    token: ClassVar[str] = "sandbox-ga4-"

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.requests: dict[str, Json] = {}
        self.polls_to_complete = 2

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return operations(
            [
                ("POST", "/v1/audienceMembers:ingest", self.ingest),
                ("POST", "/v1/audienceMembers:remove", self.remove),
                ("GET", "/v1/requestStatus:retrieve", self.status),
            ]
        )

    def authenticate(self, call: Call) -> None:
        """Ask for a token that the simulator of Google's login gave."""
        self.refuse_credentials(call.header("authorization").startswith(f"Bearer {self.token}"))

    def problem_body(self, refused: Refused) -> Json:
        """Write google.rpc.Status."""
        words = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
        status = words.get(refused.status, "RESOURCE_EXHAUSTED" if refused.status == 429 else "UNAVAILABLE")
        return {"error": {"code": refused.status, "message": refused.detail, "status": status}}

    def ingest(self, call: Call) -> Response:
        """POST members: accepted, and nothing is applied yet."""
        body = self._read(call)
        if (body.get("termsOfService") or {}).get("customerMatchTermsOfServiceStatus") != "ACCEPTED":
            raise self.invalid("The customer match terms of service must be accepted.")
        return self._accept(call, body, "ingest")

    def remove(self, call: Call) -> Response:
        """POST members to remove."""
        body = self._read(call)
        if "consent" in body or "termsOfService" in body:
            raise self.invalid("Unknown name.")
        return self._accept(call, body, "remove")

    def status(self, call: Call) -> Response:
        """GET the status of a request; asking makes its time pass."""
        kept = self.requests.get(call.query("requestId"))
        if kept is None:
            raise Refused(404, "NOT_FOUND", "There is no such request.")
        kept["polls"] -= 1
        if kept["polls"] > 0:
            return self.json({"requestStatusPerDestination": [{"requestStatus": "PROCESSING"}]})
        if "done" not in kept:
            kept["done"] = self._apply(kept)
        return self.json({"requestStatusPerDestination": [kept["done"]]})

    def _read(self, call: Call) -> dict[str, Json]:
        body = self.body(call)
        members = self.listed(body, "audienceMembers", 10_000, lambda one: isinstance(one, dict))
        if not set(body) <= _KNOWN or body.get("encoding") != "HEX" or len(body.get("destinations") or []) != 1:
            raise self.invalid("Invalid JSON payload received.")
        for one in members:
            identifiers = (one.get("userData") or {}).get("userIdentifiers") or []
            if not 1 <= len(identifiers) <= 10 or any(len(identifier) != 1 for identifier in identifiers):
                raise self.invalid("A member needs 1 to 10 identifiers.")
        list_id = body["destinations"][0].get("productDestinationId")
        if list_id not in self.audiences:
            raise Refused(404, "NOT_FOUND", "There is no such user list.")
        return body

    def _accept(self, call: Call, body: dict[str, Json], verb: str) -> Response:
        request = f"request-{self.next_id()}"
        polls = self.polls_to_complete
        self.requests[request] = {"verb": verb, "body": body, "polls": polls, "failing": call.failing_rows()}
        return self.json({"requestId": request})

    def _apply(self, kept: dict[str, Json]) -> Json:
        body, counts = kept["body"], dict[str, list[int]]()
        members = self.audiences[body["destinations"][0]["productDestinationId"]]
        consent = body.get("consent") or {}
        for place, one in enumerate(body["audienceMembers"]):
            keys = [value for part in one["userData"]["userIdentifiers"] for value in _values(part)]
            if place in kept["failing"] or not all(_HASH.fullmatch(key) for key in keys):
                counts.setdefault("PROCESSING_ERROR_REASON_INVALID_FORMAT", []).append(place)
            elif kept["verb"] == "remove":
                # Whoever has one of the identifiers is out, under whichever of them they were added.
                for name in [name for name, held in members.items() if set(keys) & set(held["keys"])]:
                    del members[name]
            elif consent.get("adUserData", _GRANTED) != _GRANTED:
                counts.setdefault("PROCESSING_ERROR_REASON_DENIED_CONSENT", []).append(place)
            else:
                members[keys[0]] = {"consent": consent, "keys": keys}
        bad = sum(map(len, counts.values()))
        status = "SUCCESS" if not bad else "FAILED" if bad == len(body["audienceMembers"]) else "PARTIAL_SUCCESS"
        errors = [
            {"reason": reason, "recordCount": str(len(places)), "recordIndices": places}
            for reason, places in counts.items()
        ]
        return {"requestStatus": status, **({"errorInfo": {"errorCounts": errors}} if errors else {})}


def _values(part: Json) -> list[str]:
    if "address" in part:
        return [part["address"]["givenName"], part["address"]["familyName"]]
    return [str(value) for value in part.values()]
