"""Google Analytics 4 as consentry meets it: runReport of the Data API, and the token endpoint of its login.

Contract: discovery document analyticsdata v1beta (google-api-python-client 2.202.0, Apache-2.0) and the limits of
its documentation (9 dimensions, 10 metrics, 4 date ranges, 250,000 rows). Errors are google.rpc.Status.
"""

from __future__ import annotations

import base64
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from starlette.responses import Response

from consentry.testing.sandbox.plain import PlainVendor
from consentry.testing.sandbox.vendor import Call, Json, Operation, Refused

PROPERTY = "1234"
EMAIL = "reader@sandbox.iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/analytics.readonly"
# The simulator of the Data Manager API takes the tokens of this login too.
SCOPES = frozenset({SCOPE, "https://www.googleapis.com/auth/datamanager"})
# Google's own library names this audience whatever the key's token_uri is (google-auth 2.62, service_account).
AUDIENCE = "https://oauth2.googleapis.com/token"
_METRICS = {"activeUsers": "TYPE_INTEGER", "sessions": "TYPE_INTEGER", "totalRevenue": "TYPE_CURRENCY"}
_DIMENSIONS = ("date", "sessionDefaultChannelGroup", "country", "deviceCategory", "pagePath")
_FIELDS = {"dateRanges", "dimensions", "metrics", "orderBys", "offset", "limit", "returnPropertyQuota", "property"}
# A standard property's tokens (limits and quotas).
QUOTAS = {
    "tokensPerDay": 200_000,
    "tokensPerHour": 40_000,
    "tokensPerProjectPerHour": 14_000,
    "concurrentRequests": 10,
    "serverErrorsPerProjectPerHour": 10,
    "potentiallyThresholdedRequestsPerHour": 120,
}
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}


@dataclass(frozen=True, slots=True)
class Visit:
    """Figures of one combination of dimensions on one day (yyyymmdd)."""

    date: str
    dimensions: dict[str, str]
    metrics: dict[str, float]


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class GA4(PlainVendor):
    """One property.

    other_row, thresholded, sampling: what the answers' metadata say. left: what remains of each quota; cost: the
    tokens of one request. logins: how often a token was asked for.
    """

    name: ClassVar[str] = "ga4"
    token: ClassVar[str] = "sandbox-ga4"
    codes: ClassVar[dict[str, str]] = {
        "unauthorized": "UNAUTHENTICATED",
        "limited": "RESOURCE_EXHAUSTED",
        "unavailable": "UNAVAILABLE",
        "invalid": "INVALID_ARGUMENT",
    }

    def reset(self) -> None:
        """Forget everything: the state of a new property."""
        self.visits: list[Visit] = []
        self.time_zone, self.currency = "Europe/Berlin", "EUR"
        self.other_row = self.thresholded = False
        self.sampling: tuple[int, int] | None = None
        self.left, self.cost, self.logins = dict(QUOTAS), 10, 0
        self._tokens: set[str] = set()

    def environment(self, base_url: str) -> dict[str, str]:
        """Return where the API is; the key is made by `service_account` when it is asked for."""
        return {"GA4_BASE_URL": base_url}

    def service_account(self, base_url: str) -> str:
        """Return a service account's JSON key that this simulator accepts."""
        private = _key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        found = {"type": "service_account", "client_email": EMAIL, "private_key": private.decode()}
        return json.dumps({**found, "token_uri": f"{base_url}/token"})

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return [
            Operation("POST", "/token", self.log_in),
            Operation("POST", "/v1beta/properties/{id}:runReport", self.run_report),
        ]

    def authenticate(self, call: Call) -> None:
        """Ask for the bearer token everywhere but at the login."""
        if not call.request.url.path.endswith("/token"):
            self.refuse_credentials(call.header("authorization").removeprefix("Bearer ") in self._tokens)

    def problem_body(self, refused: Refused) -> Json:
        """Return a google.rpc.Status; a refused login is an error of OAuth 2 (RFC 6749, section 5.2)."""
        if refused.code.endswith(("_grant", "_grant_type")):
            return {"error": refused.code, "error_description": refused.detail}
        status = _STATUS.get(refused.status, refused.code)
        return {"error": {"code": refused.status, "message": refused.detail, "status": status}}

    def log_in(self, call: Call) -> Response:
        """POST an assertion for a token; the signature and the claims are looked at."""
        form = {name: values[0] for name, values in parse_qs(call.body.decode()).items()}
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            raise Refused(400, "unsupported_grant_type", "Invalid grant_type.")
        content, _, signature = form.get("assertion", "").rpartition(".")
        try:
            _key().public_key().verify(_decoded(signature), content.encode(), padding.PKCS1v15(), hashes.SHA256())
            claims = json.loads(_decoded(content.split(".")[1]))
        except (InvalidSignature, ValueError, IndexError):
            raise _bad_grant() from None
        addressed = claims["aud"] in (AUDIENCE, str(call.request.url))
        good = claims["iss"] == EMAIL and claims["scope"] in SCOPES and addressed
        if not good or not claims["iat"] - 5 <= time.time() < claims["exp"] <= claims["iat"] + 3600:
            raise _bad_grant()
        self.logins += 1
        self._tokens.add(token := f"{self.token}-{self.logins}")
        return self.json({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def run_report(self, call: Call) -> Response:
        """POST a report: rows of the property's days, summed up by the dimensions asked for."""
        if call.path("id") != PROPERTY:
            raise Refused(403, "PERMISSION_DENIED", "User does not have sufficient permissions for this property.")
        body = self._asked(call)
        self._spend()
        dimensions = [one["name"] for one in body.get("dimensions", [])]
        metrics = [one["name"] for one in body["metrics"]]
        rows = self._rows(body["dateRanges"][0], dimensions, metrics)
        begin, limit = int(body.get("offset", 0)), int(body.get("limit", 10_000))
        answer: dict[str, Json] = {
            "dimensionHeaders": [{"name": name} for name in dimensions],
            "metricHeaders": [{"name": name, "type": _METRICS[name]} for name in metrics],
            "rows": [_row(key, figures) for key, figures in rows[begin : begin + limit]],
            "rowCount": len(rows),
            "metadata": self._metadata(),
            "kind": "analyticsData#runReport",
        }
        if body.get("returnPropertyQuota"):
            answer["propertyQuota"] = {
                name: {"consumed": self.cost if name.startswith("tokens") else 0, "remaining": left}
                for name, left in self.left.items()
            }
        if not answer["rows"]:  # empty lists are left out, as everywhere at Google
            del answer["rows"]
        return self.json(answer)

    def _asked(self, call: Call) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(call.body)
        if unknown := set(body) - _FIELDS:
            raise self.invalid(f'Invalid JSON payload received. Unknown name "{min(unknown)}"')
        names = [one["name"] for one in body.get("dimensions", [])], [one["name"] for one in body.get("metrics", [])]
        for kind, found, known, most in (
            ("dimension", names[0], _DIMENSIONS, 9),
            ("metric", names[1], tuple(_METRICS), 10),
        ):
            if len(found) > most:
                raise self.invalid(f"Requests are limited to {most} {kind}s within a nested request.")
            if wrong := [name for name in found if name not in known]:
                raise self.invalid(f"Did you mean something else? Field {wrong[0]} is not a valid {kind}.")
        if not 1 <= len(body.get("dateRanges", [])) <= 4 or not names[1]:
            raise self.invalid("A report needs one to four dateRanges, and metrics.")
        if not 1 <= int(body.get("limit", 10_000)) <= 250_000:
            raise self.invalid("The limit must lie between 1 and 250,000.")
        return body

    def _spend(self) -> None:
        for name in ("tokensPerDay", "tokensPerHour", "tokensPerProjectPerHour"):
            if self.enforce_limits and self.left[name] < self.cost:
                words = "day" if name.endswith("Day") else "hour"
                raise Refused(429, "RESOURCE_EXHAUSTED", f"Exhausted property tokens per {words}.")
            self.left[name] -= self.cost
        if self.thresholded:
            self.left["potentiallyThresholdedRequestsPerHour"] -= 1

    def _rows(
        self, days: dict[str, str], dimensions: list[str], metrics: list[str]
    ) -> list[tuple[tuple[str, ...], list[float]]]:
        first, last = days["startDate"].replace("-", ""), days["endDate"].replace("-", "")
        found: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0.0] * len(metrics))
        for visit in self.visits:
            if first <= visit.date <= last:
                known = {"date": visit.date, **visit.dimensions}
                figures = found[tuple(known.get(name, "(not set)") for name in dimensions)]
                for place, name in enumerate(metrics):
                    figures[place] += visit.metrics.get(name, 0)
        return sorted(found.items())

    def _metadata(self) -> dict[str, Json]:
        about: dict[str, Json] = {"currencyCode": self.currency, "timeZone": self.time_zone}
        if self.other_row:
            about["dataLossFromOtherRow"] = True
        if self.thresholded:
            about["subjectToThresholding"] = True
        if self.sampling:
            read, space = self.sampling
            about["samplingMetadatas"] = [{"samplesReadCount": str(read), "samplingSpaceSize": str(space)}]
        return about


def _row(key: tuple[str, ...], figures: list[float]) -> Json:
    return {
        "dimensionValues": [{"value": value} for value in key],
        "metricValues": [{"value": f"{figure:g}"} for figure in figures],
    }


def _bad_grant() -> Refused:
    return Refused(400, "invalid_grant", "Invalid JWT Signature.")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
