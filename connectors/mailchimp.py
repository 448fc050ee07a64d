"""Mailchimp as a destination: an audience is a static segment (a tag) of a list.

Nobody is re-subscribed: who is on the list keeps the status they chose. Who is not on it joins only when
`new_members` says with which status, and somebody in a compliance state (unsubscribed, cleaned) is never forced
(mailchimp-for-wordpress #798). The archive of a removal is not asked for: a person leaves the segment, not the list.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import Field, SecretStr, model_validator

from consentry.connectors.base import Capabilities, ConnectorConfig, Ok, OptOut, Outcome, Pending, Rejected, Unknown
from consentry.connectors.http import BaseUrl, HttpFailed, failing_as
from consentry.connectors.http_destination import (
    REFUSALS,
    HttpConfig,
    HttpDestination,
    Outcomes,
    basic,
    objects,
    shaped,
)
from consentry.connectors.mailchimp_batch import ended, start
from consentry.connectors.mailchimp_opt_outs import opt_outs
from consentry.errors import ConsentryError, DestinationFailed, RetryLater
from consentry.model.batch import Batch, Row

BATCH_MAX = 500
PAGE = 1_000
# More than so many are looked up by reading the whole segment.
ONE_BY_ONE = 20
_SAME = {"given_name": "FNAME", "family_name": "LNAME", "phone": "PHONE"}


class MailchimpConfig(HttpConfig):
    """The account, and what may happen to people who are not on the list."""

    base_url: BaseUrl = Field(description="Where the API is; by default the data centre that ends the key says it.")
    token: SecretStr = Field(description="An API key, as ${VARIABLE}; it ends in the data centre: ...-us6.")
    new_members: Literal["never", "pending", "transactional", "subscribed"] = Field(
        default="never",
        description="With which status people join the list who are not on it; pending asks them to confirm."
        " Use subscribed only for a purpose whose basis is consent.",
    )
    patience_seconds: float = Field(default=600.0, gt=0, description="How long a run waits for its batches.")

    @model_validator(mode="before")
    @classmethod
    def _find_data_centre(cls, given: Any) -> Any:
        if isinstance(given, dict) and "base_url" not in given:
            token = given.get("token")
            key = token.get_secret_value() if isinstance(token, SecretStr) else str(token or "")
            centre = key.rpartition("-")[2]
            if "-" not in key or not centre.isalnum() or len(centre) > 10:
                raise ValueError("the key does not end in a data centre such as -us6; check it, or name base_url")
            return {**given, "base_url": f"https://{centre}.api.mailchimp.com"}
        return given


def _is_busy(status: int, headers: Mapping[str, str], body: Any) -> bool:
    """Tell a busy account's 403, which has no JSON, from one that forbids (api-evangelist/mailchimp)."""
    return status == 403 and not isinstance(body, Mapping)


class Mailchimp(HttpDestination[MailchimpConfig]):
    """The segments of one account's lists; `audience` is `<list id>/<segment id>`.

    Proof level A: the vendor's description 3.0.55 and its Python client 3.0.80 for the same operations, against a
    simulator; no live account. Limits: 500 members a call; no rate headers exist, so that only refusals tell.
    """

    Config: ClassVar[type[ConnectorConfig]] = MailchimpConfig
    vendor: ClassVar[str] = "Mailchimp"
    turned_away = _is_busy
    capabilities = Capabilities(
        batch_max=BATCH_MAX,
        key_fields=("email",),
        operations=frozenset({"add", "change", "remove"}),
        asynchronous=True,
    )

    def headers(self) -> Mapping[str, str]:
        """Return the key as Basic authentication."""
        return {"Authorization": basic("consentry", self.config.token.get_secret_value())}

    def greet(self) -> str:
        """Ask for the vendor's own sign of life."""
        self.http.request("GET", "/3.0/ping")
        return "Mailchimp accepts the key; segments can be kept in step."

    def find(self, audience: str) -> None:
        """Ask for the segment."""
        self.http.request("GET", _segment(audience))

    def send(self, batch: Batch, outcomes: Outcomes) -> None:
        """Put who is missing on the list and everybody into the segment; then a batch writes the members' fields."""
        list_id = _parts(batch.audience)[0]
        places = outcomes.keyed(_email, "email")
        made: set[str] = set()
        joined: list[str] = []
        if batch.operation == "add":
            if places and self.config.new_members != "never":
                made = self._add_to_list(list_id, places, outcomes)
            still = _open(places, outcomes)
            if still:
                self._join(batch.audience, still, outcomes)
            joined = list(_open(places, outcomes))
        still = _open(places, outcomes)
        try:
            self._keep(list_id, {email: place for email, place in still.items() if email not in made}, outcomes)
        except (HttpFailed, RetryLater) as failure:
            self._joined_for_nothing(batch.audience, joined, places, failure, outcomes)
            raise
        for email, place in still.items():
            outcomes.settle(place, Ok(subscriber_hash(email)))

    @property
    def wait_seconds(self) -> float:
        """Return how long a run waits for batches."""
        return self.config.patience_seconds

    def poll(self, job: str, batch: Batch) -> list[Outcome] | None:
        """Read what a batch did with the fields of members; one whose fields were refused does not stay."""
        with failing_as(DestinationFailed):
            found = ended(self.http, job, len(batch.rows))
        if found is None:
            return None
        emails = [_email(row) or "" for row in batch.rows]
        refused = [email for email, one in zip(emails, found, strict=True) if isinstance(one, Rejected)]
        if refused and batch.operation == "add":
            with failing_as(DestinationFailed):
                self._change(batch.audience, {"members_to_remove": refused})
        names = [subscriber_hash(email) for email in emails]
        return [Ok(name) if isinstance(one, Ok) else one for name, one in zip(names, found, strict=True)]

    def known_by(self, row: Row) -> Mapping[str, str]:
        """Return the address: a member's name is made of it."""
        return {"email": value} if (value := row.identifiers.get("email")) else {}

    def take_out(self, batch: Batch, outcomes: Outcomes) -> None:
        """Take people out of the segment; they stay on the list as they are."""
        emails = list(outcomes.keyed(_email, "email", twice=Ok()))
        if emails:
            shaped(self._change(batch.audience, {"members_to_remove": emails}), self.vendor)
        for place in outcomes.open():
            outcomes.settle(place, Ok(subscriber_hash(_email(batch.rows[place]) or "")))

    def lookup(self, audience: str, remote_ids: Iterable[str]) -> frozenset[str]:
        """Return those of the subscriber hashes that are in the segment."""
        wanted = frozenset(remote_ids)
        with failing_as(DestinationFailed):
            if len(wanted) > ONE_BY_ONE:
                return wanted & self._everybody(audience)
            return frozenset(key for key in wanted if self._is_in(audience, key))

    def opt_outs(self, since: datetime | None, audiences: Collection[str]) -> Iterator[OptOut]:
        """Yield who unsubscribed from the lists that are kept, or was cleaned."""
        with failing_as(DestinationFailed):
            yield from opt_outs(self.http, since, {_parts(one)[0] for one in audiences})

    def _keep(self, list_id: str, places: Mapping[str, int], outcomes: Outcomes) -> None:
        """Start a batch that writes the merge fields of members and leaves their status alone; their rows pend."""
        due = [(email, place) for email, place in places.items() if outcomes.rows[place].fields]
        operations = [
            {
                "method": "PATCH",
                # Without /3.0, and with a body that is text (APIv3-examples #26, #28).
                "path": f"/lists/{quote(list_id, safe='')}/members/{subscriber_hash(email)}",
                "operation_id": str(number),
                "body": json.dumps({"merge_fields": _merge_fields(outcomes.rows[place])}),
            }
            for number, (email, place) in enumerate(due)
        ]
        if operations:
            job = start(self.http, operations)
            for _, place in due:
                outcomes.settle(place, Pending(job))

    def _joined_for_nothing(
        self,
        audience: str,
        joined: Sequence[str],
        places: Mapping[str, int],
        failure: ConsentryError,
        outcomes: Outcomes,
    ) -> None:
        """Leave nobody in the segment of whom the ledger will not know: refused rows go, of others nobody knows."""
        if isinstance(failure, HttpFailed) and failure.status in REFUSALS:
            if joined:
                self._change(audience, {"members_to_remove": joined})
            return
        for email in joined:
            outcomes.settle(places[email], Unknown())

    def _add_to_list(self, list_id: str, places: Mapping[str, int], outcomes: Outcomes) -> set[str]:
        """Add who is not on the list, with their fields; without `update_existing` nobody's status changes."""
        members = [self._member(email, outcomes.rows[place]) for email, place in places.items()]
        path = f"/3.0/lists/{quote(list_id, safe='')}"
        body = {"members": members, "update_existing": False}
        answer = shaped(self.http.request("POST", path, body=body, repeatable=True), self.vendor)
        for error in objects(answer.get("errors")):
            place = places.get(str(error.get("email_address")).lower())
            if place is not None and error.get("error_code") != "ERROR_CONTACT_EXISTS":
                outcomes.settle(place, Rejected(_why(error)))
        return {str(one.get("email_address")).lower() for one in objects(answer.get("new_members"))}

    def _member(self, email: str, row: Row) -> dict[str, Any]:
        made: dict[str, Any] = {"email_address": email, "status": self.config.new_members}
        return made | ({"merge_fields": _merge_fields(row)} if row.fields else {})

    def _join(self, audience: str, places: Mapping[str, int], outcomes: Outcomes) -> None:
        answer = shaped(self._change(audience, {"members_to_add": list(places)}), self.vendor)
        added = {str(one.get("email_address")).lower() for one in objects(answer.get("members_added"))}
        # Addresses that are not on the list are passed over in silence, and so may be those that were in before.
        silent = {subscriber_hash(email): place for email, place in places.items() if email not in added}
        there = self.lookup(audience, silent) if silent else frozenset()
        for key, place in silent.items():
            if key not in there:
                outcomes.settle(place, Rejected("not_on_list", "email"))

    def _change(self, audience: str, body: Mapping[str, Sequence[str]]) -> Any:
        return self.http.request("POST", _segment(audience), body=body, repeatable=True)

    def _is_in(self, audience: str, key: str) -> bool:
        list_id, segment = _parts(audience)
        path = f"/3.0/lists/{quote(list_id, safe='')}/members/{key}"
        try:
            member = shaped(self.http.request("GET", path, params={"fields": "id,tags"}), self.vendor)
        except HttpFailed as failed:
            if failed.status != 404:
                raise
            return False
        return segment in {str(tag.get("id")) for tag in objects(member.get("tags"))}

    def _everybody(self, audience: str) -> frozenset[str]:
        """Read the whole segment; again when it changed meanwhile, for offsets then miss somebody."""
        for _ in range(5):
            totals, found = set[int](), set[str]()
            offset = 0
            while True:
                query = {"count": str(PAGE), "offset": str(offset), "fields": "members.id,total_items"}
                page = shaped(self.http.request("GET", f"{_segment(audience)}/members", params=query), self.vendor)
                members = objects(page.get("members"))
                totals.add(int(page.get("total_items") or 0))
                found |= {str(member.get("id")) for member in members}
                offset += PAGE
                if len(members) < PAGE:
                    break
            if totals == {len(found)}:
                return frozenset(found)
        raise HttpFailed("Mailchimp's segment changes faster than it can be read. Run again later.", code="moving")


def subscriber_hash(email: str) -> str:
    """Return Mailchimp's name for a member: the MD5 of the address in lower case."""
    return hashlib.md5(email.lower().encode(), usedforsecurity=False).hexdigest()


def _email(row: Row) -> str | None:
    value = row.identifiers.get("email")
    return value.lower() if value else None


def _open(places: Mapping[str, int], outcomes: Outcomes) -> dict[str, int]:
    still = set(outcomes.open())
    return {key: place for key, place in places.items() if place in still}


def _merge_fields(row: Row) -> dict[str, Any]:
    named = {_SAME.get(name, name.upper()): value for name, value in row.fields.items()}
    return {name: "" if value is None else value for name, value in named.items()}


def _why(error: Mapping[str, Any]) -> str:
    """Name an error of the list batch; its text quotes the address and is only looked at."""
    if "compliance state" in str(error.get("error")).lower():
        return "compliance_state"
    return "refused" if error.get("error_code") != "ERROR_GENERIC" else "ERROR_GENERIC"


def _parts(audience: str) -> tuple[str, str]:
    list_id, _, segment = audience.partition("/")
    if not list_id or not segment.isdigit():
        message = "A Mailchimp audience is written <list id>/<segment id>, such as a1b2c3d4e5/4711."
        raise DestinationFailed(message, code="audience_malformed")
    return list_id, segment


def _segment(audience: str) -> str:
    list_id, segment = _parts(audience)
    return f"/3.0/lists/{quote(list_id, safe='')}/segments/{segment}"
