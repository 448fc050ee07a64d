"""A webhook of your own as a destination: who joins and who leaves an audience, signed.

A request, POST to `base_url`:

    {"batch": "...", "audience": "...", "purpose": "...",
     "join": [{"id": "...", "identifiers": {...}, "fields": {...}}], "leave": []}

`id` names a person in this audience, the same in every run and another in every audience. Nobody stands in `join`
and `leave` of one request. Headers: `Consentry-Timestamp` (seconds since 1970), `Consentry-Signature`
`v1=<hex HMAC-SHA-256 of "<timestamp>.<body>" under the secret>`, and `Idempotency-Key`, which is the same when a
request is sent again. Answer 200 or 204 when all was taken, else 207:

    {"results": [{"id": "...", "status": 200}, {"id": "...", "status": 422, "code": "no_such_person"}]}

Status 429 and 5xx of an item mean "again later" (after `retry_after` seconds), other 4xx "never". An item without
a result is unknown. The shape follows Bloomreach's external segment membership update.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import httpx
from pydantic import Field, SecretStr

from consentry.connectors.audience_file import member_id
from consentry.connectors.base import Capabilities, ConnectorConfig, Ok, Outcome, Rejected, Retry
from consentry.connectors.http_destination import HttpConfig, HttpDestination, Outcomes, code_in, objects, shaped
from consentry.model.batch import Batch

SIGNATURE, TIMESTAMP, REPEAT = "Consentry-Signature", "Consentry-Timestamp", "Idempotency-Key"
_AGAIN_SECONDS = 60.0


class WebhookConfig(HttpConfig):
    """Where the webhook is, and the secret that both sides know."""

    secret: SecretStr = Field(min_length=16, description="What requests are signed with, as ${VARIABLE}.")
    token: SecretStr | None = Field(default=None, description="A bearer token, when the receiver wants one too.")
    batch_size: int = Field(default=1000, ge=1, le=10_000, description="People in one request.")


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a request, for senders and receivers; compare it with hmac.compare_digest."""
    mac = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"v1={mac.hexdigest()}"


class _Signing(httpx.BaseTransport):
    """Signs each request just as it leaves, so that one sent again has a time of its own."""

    def __init__(self, secret: SecretStr, inner: httpx.BaseTransport | None, now: Callable[[], float]) -> None:
        self._secret, self._inner, self._now = secret, inner or httpx.HTTPTransport(), now

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        timestamp = str(int(self._now()))
        request.headers[TIMESTAMP] = timestamp
        request.headers[SIGNATURE] = sign(self._secret.get_secret_value(), timestamp, request.read())
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


class Webhook(HttpDestination[WebhookConfig]):
    """One webhook; `audience` is any name that the receiver knows.

    Proof: the contract above is ours; a receiver in the sandbox checks every signature. Limits: one request in
    flight a batch; the receiver must take the same request twice without noticing.
    """

    Config: ClassVar[type[ConnectorConfig]] = WebhookConfig
    vendor: ClassVar[str] = "The webhook"
    capabilities = Capabilities(batch_max=1000, key_fields=(), operations=frozenset({"add", "change", "remove"}))

    def __init__(
        self,
        config: WebhookConfig,
        *,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.capabilities = replace(type(self).capabilities, batch_max=config.batch_size)
        self._batch = ""
        super().__init__(config, account=account, transport=_Signing(config.secret, transport, now), sleep=sleep)

    def headers(self) -> Mapping[str, str]:
        """Return the name of the request, and the token if there is one."""
        token = self.config.token
        bearer = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        return {REPEAT: self._batch, **bearer}

    def greet(self) -> str:
        """Send a request in which nobody joins or leaves."""
        self._batch = "check"
        body: dict[str, Any] = {"batch": "check", "audience": "", "purpose": "", "join": [], "leave": []}
        self.http.request("POST", "", body=body, repeatable=True)
        return "The webhook accepts signed requests."

    def send(self, batch: Batch, outcomes: Outcomes) -> None:
        """Let people join, or change."""
        self._tell(batch, outcomes, "join")

    def take_out(self, batch: Batch, outcomes: Outcomes) -> None:
        """Let people leave."""
        self._tell(batch, outcomes, "leave")

    def _tell(self, batch: Batch, outcomes: Outcomes, verb: str) -> None:
        self._batch = batch.batch_id
        ids = [row.remote_id or member_id(batch.destination, batch.audience, row.person_id) for row in batch.rows]
        items: list[dict[str, Any]] = [
            {"id": id, "identifiers": dict(row.identifiers), "fields": dict(row.fields)}
            for id, row in zip(ids, batch.rows, strict=True)
        ]
        body: dict[str, Any] = {"batch": batch.batch_id, "audience": batch.audience, "purpose": batch.purpose}
        body |= {"join": [], "leave": []} | {verb: items}
        answer = self.http.request("POST", "", body=body, repeatable=True)
        if answer.status != 207:
            for place, id in enumerate(ids):
                outcomes.settle(place, Ok(id))
            return
        places = {id: place for place, id in enumerate(ids)}
        for item in objects(shaped(answer, self.vendor).get("results")):
            known = places.get(str(item.get("id")))
            if known is not None:
                outcomes.settle(known, _read(item, ids[known]))


def _read(item: Mapping[str, Any], id: str) -> Outcome:
    status = item.get("status")
    if not isinstance(status, int):
        return Rejected("status_missing")
    if 200 <= status < 300:
        return Ok(id)
    if status == 429 or status >= 500:
        after = item.get("retry_after")
        return Retry(float(after) if isinstance(after, int | float) and 0 <= after < 86_400 else _AGAIN_SECONDS)
    return Rejected(code_in(item.get("code"), f"http_{status}"))
