"""Customer.io as a destination: people with attributes, and manual segments of them.

Segments pass over ids that they do not know without a word. People are therefore identified first, which makes
them known; where that is not wanted (`create: false`) an add cannot be verified, and its rows say so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal
from urllib.parse import quote

import httpx
from pydantic import Field, SecretStr

from consentry.connectors.base import Capabilities, ConnectorConfig, Ok, OptOut, Rejected, Skipped
from consentry.connectors.customer_io_opt_outs import opt_outs
from consentry.connectors.http import BaseUrl, HttpClient, failing_as
from consentry.connectors.http_destination import HttpConfig, HttpDestination, Outcomes, basic, code_in, objects
from consentry.connectors.quota import Limit
from consentry.errors import DestinationFailed
from consentry.model.batch import Batch, Row

BATCH_MAX = 1_000
ITEM_BYTES, BATCH_BYTES = 32_000, 500_000
# Attributes by which Customer.io knows whom not to write to.
SUBSCRIPTION = frozenset({"unsubscribed", "cio_subscription_preferences"})


class CustomerIoConfig(HttpConfig):
    """The workspace, and how people are known there."""

    base_url: BaseUrl = Field(default="https://track.customer.io", description="Where the API is; track-eu in the EU.")
    site_id: str = Field(min_length=1, description="The workspace's site id.")
    token: SecretStr = Field(description="The workspace's tracking API key, as ${VARIABLE}.")
    app_base_url: BaseUrl = Field(
        default="https://api.customer.io", description="Where the App API is, for opt-outs; api-eu in the EU."
    )
    app_token: SecretStr | None = Field(
        default=None,
        description="An App API key, as ${VARIABLE}: with it, who unsubscribed or bounced there is read before each"
        " sync. Without it that is not known.",
    )
    id_type: Literal["id", "email", "cio_id"] = Field(default="email", description="By what people are known there.")
    identifier: str | None = Field(
        default=None, description="Our identifier that stands for it, when it is called otherwise (customer_number)."
    )
    create: bool = Field(default=True, description="Whether people who are not known are made.")


class CustomerIo(HttpDestination[CustomerIoConfig]):
    """The manual segments of one workspace; `audience` is the segment's number.

    Proof level B: the track description as mirrored by api-evangelist/customer-io, against a simulator; no live
    account. Limits: 1,000 ids a call; 32 kB a person and 500 kB a batch; membership cannot be read with this key.
    """

    Config: ClassVar[type[ConnectorConfig]] = CustomerIoConfig
    vendor: ClassVar[str] = "Customer.io"
    capabilities = Capabilities(
        batch_max=BATCH_MAX,
        key_fields=("id", "email", "cio_id"),
        operations=frozenset({"add", "change", "remove"}),
        asynchronous=True,
        quota={"": (Limit(100, 1.0),)},
    )

    def __init__(
        self,
        config: CustomerIoConfig,
        *,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(config, account=account, transport=transport, sleep=sleep)
        self._app = _app(config, self.http.account, transport, sleep) if config.app_token else None

    def headers(self) -> Mapping[str, str]:
        """Return site id and key as Basic authentication."""
        return {"Authorization": basic(self.config.site_id, self.config.token.get_secret_value())}

    def greet(self) -> str:
        """Ask in which region the account is, which needs the key."""
        self.http.request("GET", "/api/v1/accounts/region")
        return "Customer.io accepts the key; people and manual segments can be kept in step."

    def send(self, batch: Batch, outcomes: Outcomes) -> None:
        """Identify people, then put them into the segment."""
        refuse_subscription(batch.rows, SUBSCRIPTION, self.vendor)
        places = outcomes.keyed(self._key, self.config.id_type)
        if self.config.create:
            self._identify(places, outcomes)
        still = {key: place for key, place in places.items() if place in set(outcomes.open())}
        if batch.operation == "add" and still:
            self._segment(batch.audience, "add", list(still))
        for place in still.values():
            outcomes.settle(place, Ok() if self.config.create else Skipped("unverified"))

    def take_out(self, batch: Batch, outcomes: Outcomes) -> None:
        """Take people out of the segment; they stay people."""
        keys = list(outcomes.keyed(self._key, self.config.id_type, twice=Ok()))
        if keys:
            self._segment(batch.audience, "remove", keys)
        outcomes.settle_rest(Ok())

    def opt_outs(self, since: datetime | None, audiences: Collection[str]) -> Iterator[OptOut]:
        """Yield who is unsubscribed or suppressed; nobody without `app_token`, which is what may ask."""
        with failing_as(DestinationFailed):
            yield from opt_outs(self._app, since) if self._app else ()

    def known_by(self, row: Row) -> Mapping[str, str]:
        """Return the identifier by which Customer.io knows people."""
        name = self.config.identifier or self.config.id_type
        return {name: value} if (value := row.identifiers.get(name)) else {}

    def _key(self, row: Row) -> str | None:
        return row.identifiers.get(self.config.identifier or self.config.id_type)

    def _segment(self, audience: str, verb: str, ids: Sequence[str]) -> None:
        path = f"/api/v1/segments/{quote(audience, safe='')}/{verb}_customers"
        params = {"id_type": self.config.id_type}
        self.http.request("POST", path, params=params, body={"ids": list(ids)}, repeatable=True)

    def _identify(self, places: Mapping[str, int], outcomes: Outcomes) -> None:
        for part in self._parts(places, outcomes):
            body = {"batch": [item for _, item in part]}
            answer = self.http.request("POST", "/api/v2/batch", body=body, repeatable=True)
            # 207 and 200 alike: errors are named by their place in the batch.
            for error in objects(answer.body.get("errors") if isinstance(answer.body, Mapping) else None):
                index = error.get("batch_index")
                if isinstance(index, int) and 0 <= index < len(part):
                    field = error.get("field")
                    named = field if isinstance(field, str) and field.isidentifier() else None
                    outcomes.settle(part[index][0], Rejected(code_in(error.get("reason"), "refused"), named))

    def _parts(self, places: Mapping[str, int], outcomes: Outcomes) -> Iterator[list[tuple[int, dict[str, Any]]]]:
        part: list[tuple[int, dict[str, Any]]] = []
        size = 100
        for key, place in places.items():
            row = outcomes.rows[place]
            others = {name: value for name, value in row.identifiers.items() if value != key}
            item = {
                "type": "person",
                "action": "identify",
                "identifiers": {self.config.id_type: key},
                "attributes": {**others, **row.fields},
            }
            length = len(json.dumps(item, separators=(",", ":"))) + 1
            if length > ITEM_BYTES:
                outcomes.settle(place, Rejected("profile_too_large"))
                continue
            if part and size + length > BATCH_BYTES:
                yield part
                part, size = [], 100
            part.append((place, item))
            size += length
        if part:
            yield part


def _app(
    config: CustomerIoConfig, account: str, transport: httpx.BaseTransport | None, sleep: Callable[[float], None]
) -> HttpClient:
    token = config.app_token.get_secret_value() if config.app_token else ""
    return HttpClient(
        config.app_base_url,
        vendor="Customer.io",
        account=f"{account}/app",
        headers=lambda: {"Authorization": f"Bearer {token}"},
        limits={"": (Limit(10, 1.0),)},
        transport=transport,
        sleep=sleep,
    )


def refuse_subscription(rows: Sequence[Row], names: frozenset[str], vendor: str) -> None:
    """Raise DestinationFailed when a field would subscribe or unsubscribe somebody: a sync never does."""
    wrong = sorted({name for row in rows for name in row.fields} & names)
    if wrong:
        message = f"The field {wrong[0]!r} is {vendor}'s subscription state, which a sync does not write. Leave it out."
        raise DestinationFailed(message, code="subscription_field")
