"""FullContact: what is known of a person, one paid look-up at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from consentry.connectors.base import ConnectorConfig
from consentry.connectors.http import BaseUrl, HttpFailed
from consentry.connectors.lookups import Found, LookupConfig, LookupVendor
from consentry.connectors.quota import Limit


class FullContactConfig(LookupConfig):
    """The account, and what a run may cost."""

    base_url: BaseUrl = Field(default="https://api.fullcontact.com", description="Where the API is.")


class FullContact(LookupVendor[FullContactConfig]):
    """Enrichment by FullContact.

    A person is looked up by e-mail address (or its hash) and phone. 202 says that the answer is being searched for:
    the person counts as queued, and is asked for again in the next run. Proof level C: there is no published
    description; status codes and headers are those of the vendor's Python client 4.0.0.
    """

    Config: ClassVar[type[ConnectorConfig]] = FullContactConfig
    vendor, source = "FullContact", "fullcontact"

    def credentials(self, key: str) -> Mapping[str, str]:
        """Return the key as a bearer token."""
        return {"Authorization": f"Bearer {key}"}

    def limits(self) -> Sequence[Limit]:
        """Return FullContact's default (rate limiting, November 2026)."""
        return (Limit(6_000, 60.0),)

    def ask(self, identifiers: Mapping[str, str]) -> Found:
        """Ask for one person; 404 says that nobody is known, 202 that the answer comes later."""
        body = {kind: identifiers[kind] for kind in self.looks_up_by if kind in identifiers}
        try:
            # Not repeatable: a match is paid for each time.
            answer = self.http.request("POST", "/v3/person.enrich", body=body, repeatable=False)
        except HttpFailed as refused:
            if refused.status != 404:
                raise
            return Found("none")
        if answer.status == 202:
            return Found("queued")
        if not isinstance(answer.body, Mapping):
            raise self.odd()
        return Found("found", answer.body)
