"""People Data Labs: what is publicly known of a person's work, one paid look-up at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from consentry.connectors.base import ConnectorConfig
from consentry.connectors.http import BaseUrl, HttpFailed
from consentry.connectors.lookups import Found, LookupConfig, LookupVendor
from consentry.connectors.quota import Limit
from consentry.errors import SourceFailed

_SHA256 = re.compile(r"[0-9a-f]{64}")


class PeopleDataLabsConfig(LookupConfig):
    """The account, how sure a match must be, and what it may cost."""

    base_url: BaseUrl = Field(default="https://api.peopledatalabs.com", description="Where the API is.")
    min_likelihood: int = Field(default=6, ge=0, le=10, description="How sure a match must be, from 0 to 10.")
    required: str = Field(default="", description="Fields that a match must have to be paid for, such as job_title.")
    fields: tuple[str, ...] = Field(default=(), description="Fields of the answer to take; all of them by default.")
    per_minute: int = Field(default=100, ge=1, description="How many calls a minute the plan allows.")


class PeopleDataLabs(LookupVendor[PeopleDataLabsConfig]):
    """Enrichment by People Data Labs.

    A person is looked up by e-mail address (or its SHA-256) and phone. 404 says that there is no match and costs
    nothing. Proof level B: requests are checked against the published description, which knows GET alone; here POST
    is used, as the vendor documents it, so that no address stands in a URL.
    """

    Config: ClassVar[type[ConnectorConfig]] = PeopleDataLabsConfig
    vendor, source = "People Data Labs", "people_data_labs"

    def credentials(self, key: str) -> Mapping[str, str]:
        """Return the key in the vendor's own header."""
        return {"X-API-Key": key}

    def limits(self) -> Sequence[Limit]:
        """Return what the plan allows."""
        return (Limit(self._config.per_minute, 60.0),)

    def ask(self, identifiers: Mapping[str, str]) -> Found:
        """Ask for one person; 404 says that nobody is known, and costs nothing."""
        email = identifiers.get("email", "")
        # A policy that lets out nothing but a hash is enough: the vendor knows addresses by their SHA-256 too.
        known = {"email_hash": email} if _SHA256.fullmatch(email) else {"email": email}
        body: dict[str, Any] = {key: value for key, value in known.items() if value}
        if phone := identifiers.get("phone"):
            body["phone"] = phone
        body["min_likelihood"] = self._config.min_likelihood
        if self._config.required:
            body["required"] = self._config.required
        if self._config.fields:
            body["data_include"] = ",".join(self._config.fields)
        try:
            # Not repeatable: a match is paid for each time.
            answer = self.http.request("POST", "/v5/person/enrich", body=body, repeatable=False).body
        except HttpFailed as refused:
            return _none_or_raise(refused)
        if not isinstance(answer, Mapping) or not isinstance(answer.get("data"), Mapping):
            raise self.odd()
        return Found("found", answer["data"], answer.get("likelihood"))


def _none_or_raise(refused: HttpFailed) -> Found:
    if refused.status == 404:
        return Found("none")
    if refused.status == 402:
        message = "People Data Labs has no credit left on this account (402). Buy more or lower max_matches."
        raise SourceFailed(message, code="no_credit") from None
    raise refused
