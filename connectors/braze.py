"""Braze as a destination: an audience is a custom attribute, true for its members and absent for everybody else.

Cohorts can be imported by Braze's partners only. Segments in Braze are then built on the attribute.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field, SecretStr

from consentry.connectors.base import Capabilities, ConnectorConfig, Ok, OptOut, Rejected, Unknown
from consentry.connectors.braze_opt_outs import opt_outs
from consentry.connectors.customer_io import refuse_subscription
from consentry.connectors.http import failing_as
from consentry.connectors.http_destination import HttpConfig, HttpDestination, Outcomes, code_in, objects, shaped
from consentry.connectors.quota import Limit
from consentry.errors import DestinationFailed
from consentry.model.batch import Batch, Row

SUBSCRIPTION = frozenset({"email_subscribe", "push_subscribe", "subscription_groups", "email_open_tracking_disabled"})
# Names that Braze keeps for itself cannot be audiences.
_RESERVED = frozenset({"external_id", "user_alias", "braze_id", "email", "phone", "first_name", "last_name"})
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,254}")
_SAME = {"given_name": "first_name", "family_name": "last_name", "birth_date": "dob"}


class BrazeConfig(HttpConfig):
    """The workspace, and how people are known there."""

    token: SecretStr = Field(
        description="A REST API key with users.track, email.unsubscribe and email.hard_bounces, as ${VARIABLE}."
    )
    identifier: str = Field(default="external_id", description="Our identifier that is Braze's external id; or email.")
    create: bool = Field(default=False, description="Whether people who are not known are made.")
    batch_size: int = Field(default=75, ge=1, le=75, description="People in a request; some plans allow fewer (50).")


class Braze(HttpDestination[BrazeConfig]):
    """One Braze workspace; `audience` is the attribute's name, `base_url` the REST address of your cluster.

    Proof level D: documentation only (braze-docs, post_user_track.md), against a simulator; not spec-proven, no live
    account. Limits: 75 people a request; whether Braze knows somebody cannot be told when `create` is false, as it
    passes over strangers in silence.
    """

    Config: ClassVar[type[ConnectorConfig]] = BrazeConfig
    vendor: ClassVar[str] = "Braze"
    capabilities = Capabilities(
        batch_max=75,
        key_fields=("external_id", "email"),
        operations=frozenset({"add", "change", "remove"}),
        quota={"": (Limit(3_000, 3.0),)},
    )

    def headers(self) -> Mapping[str, str]:
        """Return the key as a bearer token."""
        return {"Authorization": f"Bearer {self.config.token.get_secret_value()}"}

    def greet(self) -> str:
        """Send a request that names nobody."""
        self.http.request("POST", "/users/track", body={"attributes": []}, repeatable=True)
        return "Braze accepts the key; attributes can be kept."

    def send(self, batch: Batch, outcomes: Outcomes) -> None:
        """Set the attribute, and the fields."""
        refuse_subscription(batch.rows, SUBSCRIPTION, self.vendor)
        self._track(batch, outcomes, True)

    def take_out(self, batch: Batch, outcomes: Outcomes) -> None:
        """Take the attribute away, so that nothing says that somebody was in the audience."""
        self._track(batch, outcomes, None)

    def opt_outs(self, since: datetime | None, audiences: Collection[str]) -> Iterator[OptOut]:
        """Yield who unsubscribed or bounced for good."""
        with failing_as(DestinationFailed):
            yield from opt_outs(self.http, since)

    def _track(self, batch: Batch, outcomes: Outcomes, value: bool | None) -> None:
        name = batch.audience
        if not _ATTRIBUTE.fullmatch(name) or name in _RESERVED | SUBSCRIPTION:
            raise DestinationFailed(
                f"{name!r} cannot be an attribute of Braze. Name the audience otherwise.", code="name"
            )
        twice = Ok() if value is None else None
        places = list(outcomes.keyed(self._key, self.config.identifier, twice=twice).values())
        for first in range(0, len(places), self.config.batch_size):
            self._request(places[first : first + self.config.batch_size], name, value, outcomes)

    def _request(self, places: Sequence[int], name: str, value: bool | None, outcomes: Outcomes) -> None:
        items = [self._item(outcomes.rows[place], whole=value is not None) | {name: value} for place in places]
        # Attributes may be sent twice; events, which would count twice, are never sent here.
        answer = shaped(
            self.http.request("POST", "/users/track", body={"attributes": items}, repeatable=True), self.vendor
        )
        for error in objects(answer.get("errors")):
            index = error.get("index")
            if error.get("input_array") == "attributes" and isinstance(index, int) and 0 <= index < len(places):
                outcomes.settle(places[index], Rejected(code_in(error.get("type"), "attribute_refused")))
        taken = answer.get("message") == "success"
        for place in places:
            outcomes.settle(place, Ok() if taken else Unknown())

    def known_by(self, row: Row) -> Mapping[str, str]:
        """Return the identifier by which Braze knows people."""
        name = self.config.identifier
        return {name: value} if (value := row.identifiers.get(name)) else {}

    def _key(self, row: Row) -> str | None:
        return row.identifiers.get(self.config.identifier)

    def _item(self, row: Row, *, whole: bool) -> dict[str, Any]:
        """Return what names a person, and with `whole` all else that is said of them."""
        key = "email" if self.config.identifier == "email" else "external_id"
        named = {key: self._key(row), "_update_existing_only": not self.config.create}
        if not whole:
            return named
        others = {name: value for name, value in row.identifiers.items() if name != self.config.identifier}
        fields = {_SAME.get(name, name): value for name, value in row.fields.items()}
        return {**others, **fields, **named}
