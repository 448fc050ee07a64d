"""Salesforce's token endpoint: client credentials, JWT bearer, and refresh tokens that are good for one use."""

from __future__ import annotations

import base64
import binascii
import json
import time
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from consentry.testing.sandbox.plain import basic
from consentry.testing.sandbox.vendor import Call, Json, Refused

JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCES = ("https://login.salesforce.com", "https://test.salesforce.com")
# Three minutes, and some for clocks that differ.
_JWT_SECONDS = 185


class Logins:
    """The connected app, its tokens and what they are good for."""

    def __init__(self) -> None:
        self.client_id, self.client_secret = "sandbox-client", "sandbox-salesforce"
        self.username = "integration@example.com"
        self.public_key: RSAPublicKey | None = None
        # The refresh token of the moment; None after a used one was tried again, which ends the whole family.
        self.refresh: str | None = "refresh-0"
        self.access: set[str] = set()
        self.grants = 0
        # The time by which assertions are judged, for tests whose clock stands still.
        self.now: float | None = None

    def expire(self) -> None:
        """Let all access tokens run out, as a session's end does."""
        self.access.clear()

    def check(self, authorization: str) -> None:
        """Raise Refused unless the token is good."""
        if authorization.removeprefix("Bearer ") not in self.access:
            raise Refused(401, "INVALID_SESSION_ID", "Session expired or invalid")

    def grant(self, call: Call, instance_url: str) -> Json:
        """Answer a token request; Salesforce says nothing of when the token runs out."""
        form = {name: values[0] for name, values in parse_qs(call.body.decode()).items()}
        if (credentials := basic(call)) and "client_id" not in form:
            form["client_id"], _, form["client_secret"] = credentials.partition(":")
        match form.get("grant_type"):
            case "client_credentials":
                self._check_client(form, secret=True)
            case "refresh_token":
                self._check_client(form, secret=False)
                self._use_up(form.get("refresh_token", ""))
            case kind if kind == JWT:
                self._check_assertion(form.get("assertion", ""))
            case _:
                raise Refused(400, "unsupported_grant_type", "grant type not supported")
        self.grants += 1
        token = f"00D{self.grants:012d}!access"
        self.access.add(token)
        answer: dict[str, Json] = {
            "access_token": token,
            "instance_url": instance_url,
            "id": f"{instance_url}/id/00D000000000001/005000000000001",
            "token_type": "Bearer",
            "issued_at": str(int(time.time() * 1000)),
        }
        if form["grant_type"] == "refresh_token":
            self.refresh = f"refresh-{self.grants}"
            answer["refresh_token"] = self.refresh
        return answer

    def _check_client(self, form: dict[str, str], *, secret: bool) -> None:
        if form.get("client_id") != self.client_id:
            raise Refused(400, "invalid_client_id", "client identifier invalid")
        if (secret or "client_secret" in form) and form.get("client_secret") != self.client_secret:
            raise Refused(400, "invalid_client", "invalid client credentials")

    def _use_up(self, token: str) -> None:
        if self.refresh is None or token != self.refresh:
            self.refresh = None
            self.access.clear()
            raise Refused(400, "invalid_grant", "expired access/refresh token")

    def _check_assertion(self, assertion: str) -> None:
        signed, _, signature = assertion.rpartition(".")
        try:
            assert self.public_key is not None
            self.public_key.verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
            header, claims = (json.loads(_decoded(part)) for part in signed.split("."))
        except (AssertionError, InvalidSignature, ValueError, binascii.Error):
            raise Refused(400, "invalid_grant", "invalid assertion") from None
        left = int(claims.get("exp", 0)) - (self.now or time.time())
        good = header.get("alg") == "RS256" and claims.get("iss") == self.client_id and 0 < left <= _JWT_SECONDS
        if not good or claims.get("sub") != self.username:
            raise Refused(400, "invalid_grant", "user hasn't approved this consumer")
        if claims.get("aud") not in AUDIENCES:
            raise Refused(400, "invalid_grant", "audience is invalid")


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
