"""Iterable as a destination: an audience is a static list.

What Iterable calls subscribing to a list is being on it: channels and message types stay as people chose them, and
taking somebody off a list never unsubscribes from the channel (`channelUnsubscribe: false`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field, SecretStr

from consentry.connectors.base import Capabilities, ConnectorConfig, Ok, OptOut, Outcome, Rejected, Unknown
from consentry.connectors.customer_io import refuse_subscription
from consentry.connectors.http import BaseUrl, failing_as
from consentry.connectors.http_destination import HttpConfig, HttpDestination, Outcomes, shaped
from consentry.connectors.iterable_opt_outs import opt_outs
from consentry.connectors.quota import Limit
from consentry.errors import DestinationFailed
from consentry.model.batch import Batch, Row

BATCH_MAX = 1_000
SUBSCRIPTION = frozenset(
    {
        "emailListIds",
        "unsubscribedChannelIds",
        "unsubscribedMessageTypeIds",
        "subscribedMessageTypeIds",
        "subscribedChannelIds",
    }
)
_PARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class IterableConfig(HttpConfig):
    """The project, and how people are known there."""

    base_url: BaseUrl = Field(default="https://api.iterable.com", description="Where the API is; api.eu in the EU.")
    token: SecretStr = Field(description="A server-side API key, as ${VARIABLE}.")
    id_type: Literal["email", "userId"] = Field(default="email", description="By what people are known there.")
    identifier: str | None = Field(
        default=None, description="Our identifier that stands for it, when it is called otherwise (customer_number)."
    )
    create: bool = Field(default=True, description="Whether people who are not known are made.")


class Iterable(HttpDestination[IterableConfig]):
    """The static lists of one project; `audience` is the list's number.

    Proof level C: the calls of @iterable/api 0.13.0, against a simulator; no published description, no live account.
    Limits: 1,000 people a request; when Iterable counts more failures than it names, the rows it does not name
    are unknown.
    """

    Config: ClassVar[type[ConnectorConfig]] = IterableConfig
    vendor: ClassVar[str] = "Iterable"
    capabilities = Capabilities(
        batch_max=BATCH_MAX,
        key_fields=("email", "userId"),
        operations=frozenset({"add", "change", "remove"}),
        quota={"": (Limit(5, 1.0),), "export": (Limit(4, 60.0),)},
    )

    def headers(self) -> Mapping[str, str]:
        """Return the key."""
        return {"Api-Key": self.config.token.get_secret_value()}

    def greet(self) -> str:
        """List the lists."""
        self.http.request("GET", "/api/lists")
        return "Iterable accepts the key; static lists can be kept in step."

    def send(self, batch: Batch, outcomes: Outcomes) -> None:
        """Put people on the list with their fields."""
        refuse_subscription(batch.rows, SUBSCRIPTION, self.vendor)
        places = outcomes.keyed(self._key, self.config.id_type)
        subscribers = [self._subscriber(key, outcomes.rows[place]) for key, place in places.items()]
        body = {"subscribers": subscribers, "updateExistingUsersOnly": not self.config.create}
        self._call("subscribe", batch.audience, body, places, outcomes)

    def take_out(self, batch: Batch, outcomes: Outcomes) -> None:
        """Take people off the list, and off nothing else."""
        places = outcomes.keyed(self._key, self.config.id_type, twice=Ok())
        body = {"subscribers": [{self.config.id_type: key} for key in places], "channelUnsubscribe": False}
        self._call("unsubscribe", batch.audience, body, places, outcomes, gone=Ok())

    def opt_outs(self, since: datetime | None, audiences: Collection[str]) -> Iterator[OptOut]:
        """Yield who unsubscribed from a channel, complained or bounced for good."""
        with failing_as(DestinationFailed):
            yield from opt_outs(self.http, since)

    def known_by(self, row: Row) -> Mapping[str, str]:
        """Return the identifier by which Iterable knows people."""
        name = self.config.identifier or self.config.id_type
        return {name: value} if (value := row.identifiers.get(name)) else {}

    def _key(self, row: Row) -> str | None:
        value = row.identifiers.get(self.config.identifier or self.config.id_type)
        return value.lower() if value and self.config.id_type == "email" else value

    def _subscriber(self, key: str, row: Row) -> dict[str, Any]:
        own = self.config.identifier or self.config.id_type
        others = {name: value for name, value in row.identifiers.items() if name != own}
        made: dict[str, Any] = {self.config.id_type: key, "dataFields": {**others, **row.fields}}
        return made | ({"preferUserId": True} if self.config.id_type == "userId" else {})

    def _call(
        self,
        verb: str,
        audience: str,
        body: Mapping[str, Any],
        places: Mapping[str, int],
        outcomes: Outcomes,
        *,
        gone: Outcome | None = None,
    ) -> None:
        """Send one request, and read its failures; `gone`: what a person comes to who is not known."""
        if not audience.isdigit():
            raise DestinationFailed("An audience of Iterable is the number of a list.", code="audience_malformed")
        if not places:
            return
        whole = {"listId": int(audience), **body}
        answer = shaped(self.http.request("POST", f"/api/lists/{verb}", body=whole, repeatable=True), self.vendor)
        named: set[str] = set()
        failed = {name: answer.get(name) for name in ("invalidEmails", "invalidUserIds")}
        for name, values in {**failed, **(answer.get("failedUpdates") or {})}.items():
            for value in _texts(values):
                key = value.lower() if self.config.id_type == "email" else value
                if key in places:
                    named.add(key)
                    absent = gone if name.startswith("notFound") else None
                    outcomes.settle(places[key], absent or Rejected(_PARTS.sub("_", name).lower()))
        counted = answer.get("failCount")
        unsure = not isinstance(counted, int) or counted > len(named)
        for place in places.values():
            outcomes.settle(place, Unknown() if unsure else Ok())


def _texts(values: object) -> Sequence[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
