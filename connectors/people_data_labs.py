"""People Data Labs: what is publicly known of a person's work, one paid look-up at a time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import httpx
import pyarrow as pa
from pydantic import Field, SecretStr

from consentry.connectors.base import Check, ConnectorConfig, Page
from consentry.connectors.http import BaseUrl, HttpClient, HttpFailed
from consentry.connectors.lookups import Found, LookupConfig, check_with, look_up
from consentry.connectors.quota import Limit
from consentry.errors import SourceFailed

_SHA256 = re.compile(r"[0-9a-f]{64}")


class PeopleDataLabsConfig(LookupConfig):
    """The account, how sure a match must be, and what it may cost."""

    api_key: SecretStr = Field(description="The API key, as ${VARIABLE}; it travels in a header.")
    base_url: BaseUrl = Field(default="https://api.peopledatalabs.com", description="Where the API is.")
    min_likelihood: int = Field(default=6, ge=0, le=10, description="How sure a match must be, from 0 to 10.")
    required: str = Field(default="", description="Fields that a match must have to be paid for, such as job_title.")
    fields: tuple[str, ...] = Field(default=(), description="Fields of the answer to take; all of them by default.")
    per_minute: int = Field(default=100, ge=1, description="How many calls a minute the plan allows.")


class PeopleDataLabs:
    """Enrichment by People Data Labs.

    A person is looked up by e-mail address (or its SHA-256) and phone. 404 says that there is no match and costs
    nothing. Proof level B: requests are checked against the published description, which knows GET alone; here POST
    is used, as the vendor documents it, so that no address stands in a URL.
    """

    Config: ClassVar[type[ConnectorConfig]] = PeopleDataLabsConfig
    looks_up_by: ClassVar[tuple[str, ...]] = ("email", "phone")

    def __init__(
        self,
        config: PeopleDataLabsConfig,
        *,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config, self._now = config, now
        self.http = HttpClient(
            config.base_url,
            vendor="People Data Labs",
            account=account or config.base_url,
            headers=lambda: {"X-API-Key": config.api_key.get_secret_value()},
            limits={"": (Limit(config.per_minute, 60.0),)},
            transport=transport,
            sleep=sleep,
        )

    def check(self) -> Check:
        """Log in with a question that matches nobody, and therefore costs nothing."""
        return check_with(self._ask, vendor="People Data Labs", budget=self._config)

    def enrich(self, people: Iterable[pa.RecordBatch]) -> Iterator[Page]:
        """Look people up by email and phone, within the budget."""
        return look_up(people, self._ask, source="people_data_labs", budget=self._config, now=self._now)

    def _ask(self, identifiers: Mapping[str, str]) -> Found:
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
            raise SourceFailed(
                "People Data Labs answered in a shape that is not its own. Check base_url.", code="bad_answer"
            )
        return Found("found", answer["data"], answer.get("likelihood"))


def _none_or_raise(refused: HttpFailed) -> Found:
    if refused.status == 404:
        return Found("none")
    if refused.status == 402:
        message = "People Data Labs has no credit left on this account (402). Buy more or lower max_matches."
        raise SourceFailed(message, code="no_credit") from None
    raise refused
