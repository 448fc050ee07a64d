"""ActiveCampaign as a destination: an audience is a list, and being on it means that mail may be sent.

Nobody is re-subscribed: who is unsubscribed, unconfirmed or bounced on the list stays so. Taking somebody off a list
is an unsubscription too, the only way there is, and ActiveCampaign does not say whose word it was: with
`resubscribe` off, who left comes back only by what they do themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import Field, SecretStr

from consentry.connectors.activecampaign_opt_outs import opt_outs
from consentry.connectors.base import Capabilities, ConnectorConfig, Ok, OptOut, Rejected
from consentry.connectors.http import Answer, AnswerLost, BaseUrl, HttpFailed, failing_as
from consentry.connectors.http_destination import HttpConfig, HttpDestination, Outcomes, halving, shaped, text
from consentry.connectors.quota import Limit
from consentry.errors import DestinationFailed
from consentry.model.batch import Batch, Row

BATCH_MAX = 100
PAGE = 100
# Statuses of a contact on a list (developers.activecampaign.com, update list status for a contact).
UNCONFIRMED, ACTIVE, UNSUBSCRIBED, BOUNCED = "0", "1", "2", "3"
_WORDS = {UNCONFIRMED: "unconfirmed", UNSUBSCRIBED: "unsubscribed", BOUNCED: "bounced"}
# With this source a contact who unsubscribed is subscribed again (same page).
_AGAIN = 4
_OWN = {"given_name": "firstName", "family_name": "lastName", "phone": "phone"}


class ActiveCampaignConfig(HttpConfig):
    """The account, and whom it may write to."""

    base_url: BaseUrl = Field(
        description="The API URL as Settings > Developer shows it; it cannot be told from the account's name."
    )
    token: SecretStr = Field(description="The API key, as ${VARIABLE}.")
    resubscribe: bool = Field(
        default=False,
        description="Whether people who are unsubscribed on the list are subscribed again, also those who did it"
        " themselves. Only for a purpose whose basis is consent.",
    )


class ActiveCampaign(HttpDestination[ActiveCampaignConfig]):
    """The lists of one account; `audience` is the list's number.

    Proof level D: documentation and public clients, against a simulator; no published description, no live account.
    Limits: 5 requests a second for an account; one to three requests a person, for bulk imports give no result for
    each. Fields are first name, last name, phone, and custom fields by their personalisation tag (`tier` is %TIER%).
    """

    Config: ClassVar[type[ConnectorConfig]] = ActiveCampaignConfig
    vendor: ClassVar[str] = "ActiveCampaign"
    capabilities = Capabilities(
        batch_max=BATCH_MAX,
        key_fields=("email",),
        operations=frozenset({"add", "change", "remove"}),
        quota={"": (Limit(5, 1.0),)},
    )
    _found: str | None = None
    _tags: Mapping[str, str] | None = None

    def headers(self) -> Mapping[str, str]:
        """Return the key."""
        return {"Api-Token": self.config.token.get_secret_value()}

    def greet(self) -> str:
        """Ask for a list."""
        self._get("/api/3/lists", {"limit": "1"})
        return "ActiveCampaign accepts the key; lists can be kept in step."

    def find(self, audience: str) -> None:
        """Look for the list, once."""
        if not (audience.isascii() and audience.isdigit()):
            raise DestinationFailed("An audience of ActiveCampaign is the number of a list.", code="audience_malformed")
        if self._found != audience:
            self._get(f"/api/3/lists/{audience}")
            self._found = audience

    def send(self, batch: Batch, outcomes: Outcomes) -> None:
        """Make or update each contact, then put those who may be there on the list."""
        self.find(batch.audience)
        places = outcomes.keyed(_email, "email")
        tags = self._fields({name for row in batch.rows for name in row.fields} - set(_OWN))

        def put(some: Sequence[int]) -> None:
            for place in some:
                contact = self._synced(outcomes.rows[place], tags)
                word = None if batch.operation == "change" else self._join(contact, batch.audience)
                outcomes.settle(place, Rejected(word) if word else Ok(contact))

        for place in places.values():
            halving(put, [place], outcomes)

    def take_out(self, batch: Batch, outcomes: Outcomes) -> None:
        """Unsubscribe people from the list, and from nothing else; who is not on it is left alone."""
        self.find(batch.audience)
        places = outcomes.keyed(lambda row: row.remote_id or _email(row), "email", twice=Ok())

        def leave(some: Sequence[int]) -> None:
            for place in some:
                row = outcomes.rows[place]
                contact = row.remote_id or self._known(_email(row) or "")
                if contact and self._status(contact, batch.audience) in (ACTIVE, UNCONFIRMED):
                    self._set(contact, batch.audience, UNSUBSCRIBED)
                outcomes.settle(place, Ok(contact))

        for place in places.values():
            halving(leave, [place], outcomes)

    def opt_outs(self, since: datetime | None, audiences: Collection[str]) -> Iterator[OptOut]:
        """Yield who unsubscribed from the lists that are kept, or bounced."""
        with failing_as(DestinationFailed):
            yield from opt_outs(self._page_of_contacts, since, audiences)

    def _page_of_contacts(self, params: Mapping[str, str]) -> Mapping[str, Any]:
        body = shaped(self._get("/api/3/contacts", params), self.vendor)
        if not isinstance(body.get("contacts"), list):
            raise self._garbage()
        return body

    def known_by(self, row: Row) -> Mapping[str, str]:
        """Return the address: another one makes another contact."""
        return {"email": value} if (value := _email(row)) else {}

    def _synced(self, row: Row, tags: Mapping[str, str]) -> str:
        """Upsert one contact by e-mail and return its number."""
        contact: dict[str, Any] = {"email": _email(row)}
        known = {"phone": row.identifiers["phone"]} if row.identifiers.get("phone") else {}
        for name, value in {**known, **row.fields}.items():
            if name in _OWN:
                contact[_OWN[name]] = text(value)
        values = [{"field": tags[name], "value": text(value)} for name, value in row.fields.items() if name in tags]
        if values:
            contact["fieldValues"] = values
        answer = self.http.request("POST", "/api/3/contact/sync", body={"contact": contact}, repeatable=True)
        made = shaped(answer, self.vendor).get("contact")
        number = made.get("id") if isinstance(made, dict) else None
        if not isinstance(number, str | int):
            raise self._garbage()
        return str(number)

    def _join(self, contact: str, audience: str) -> str | None:
        """Put a contact on the list; return why not, when their status there forbids it."""
        status = self._status(contact, audience)
        if status == ACTIVE:
            return None
        again = status == UNSUBSCRIBED and self.config.resubscribe
        if status is not None and not again:
            return _WORDS.get(status, "status_unknown")
        self._set(contact, audience, ACTIVE, **({"sourceid": _AGAIN} if again else {}))
        return None

    def _status(self, contact: str, audience: str) -> str | None:
        """Return a contact's status on the list, None when they never were on it, or are gone."""
        try:
            found = list(self._listed(f"/api/3/contacts/{quote(contact, safe='')}/contactLists", "contactLists"))
        except HttpFailed as failed:
            if failed.status != 404:
                raise
            return None
        return next((str(one.get("status")) for one in found if str(one.get("list")) == audience), None)

    def _set(self, contact: str, audience: str, status: str, **more: int) -> None:
        said = {"list": audience, "contact": contact, "status": status, **more}
        self.http.request("POST", "/api/3/contactLists", body={"contactList": said}, repeatable=True)

    def _known(self, email: str) -> str | None:
        found = self._listed("/api/3/contacts", "contacts", {"email": email})
        return next((str(one["id"]) for one in found if str(one.get("email")).lower() == email and "id" in one), None)

    def _fields(self, names: set[str]) -> Mapping[str, str]:
        """Return the numbers of custom fields; raises DestinationFailed when one of them is not there."""
        if not names:
            return {}
        if self._tags is None:
            found = self._listed("/api/3/fields", "fields")
            self._tags = {str(one.get("perstag")).upper(): str(one.get("id")) for one in found}
        missing = sorted(name for name in names if name.upper() not in self._tags)
        if missing:
            message = f"ActiveCampaign has no custom field with the tag {missing[0].upper()!r}. Make it there."
            raise DestinationFailed(message, code="field_missing")
        return {name: self._tags[name.upper()] for name in names}

    def _listed(self, path: str, name: str, params: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the objects of all pages; an answer without the list is none, not an empty one."""
        offset = 0
        while True:
            answer = self._get(path, {**(params or {}), "limit": str(PAGE), "offset": str(offset)})
            body = shaped(answer, self.vendor)
            page, meta = body.get(name), body.get("meta")
            if not isinstance(page, list) or not all(isinstance(one, dict) for one in page):
                raise self._garbage()
            yield from page
            offset += len(page)
            # A server may give fewer than were asked for: what it counts decides, where it counts.
            total = str(meta.get("total")) if isinstance(meta, dict) else ""
            if not page or (offset >= int(total) if total.isdigit() else len(page) < PAGE):
                return

    def _get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        return self.http.request("GET", path, params=params)

    def _garbage(self) -> AnswerLost:
        return AnswerLost(f"{self.vendor} answered something that is not its API. Check base_url.", code="garbage")


def _email(row: Row) -> str | None:
    value = row.identifiers.get("email")
    return value.lower() if value else None
