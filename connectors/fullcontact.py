"""FullContact: what is known of a person, one paid look-up at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import ClassVar

import httpx
import pyarrow as pa
from pydantic import Field, SecretStr

from consentry.connectors.base import Check, ConnectorConfig, Page
from consentry.connectors.http import BaseUrl, HttpClient, HttpFailed
from consentry.connectors.lookups import Found, LookupConfig, check_with, look_up
from consentry.connectors.quota import Limit
from consentry.errors import SourceFailed

# FullContact's default (rate limiting, November 2026).
LIMITS = {"": (Limit(6_000, 60.0),)}


class FullContactConfig(LookupConfig):
    """The account, and what a run may cost."""

    api_key: SecretStr = Field(description="The API key, as ${VARIABLE}; it travels in a header.")
    base_url: BaseUrl = Field(default="https://api.fullcontact.com", description="Where the API is.")


class FullContact:
    """Enrichment by FullContact.

    A person is looked up by e-mail address (or its hash) and phone. 202 says that the answer is being searched for:
    the person counts as queued, and is asked for again in the next run. Proof level C: there is no published
    description; status codes and headers are those of the vendor's Python client 4.0.0.
    """

    Config: ClassVar[type[ConnectorConfig]] = FullContactConfig
    looks_up_by: ClassVar[tuple[str, ...]] = ("email", "phone")

    def __init__(
        self,
        config: FullContactConfig,
        *,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config, self._now = config, now
        self.http = HttpClient(
            config.base_url,
            vendor="FullContact",
            account=account or config.base_url,
            headers=lambda: {"Authorization": f"Bearer {config.api_key.get_secret_value()}"},
            limits=LIMITS,
            transport=transport,
            sleep=sleep,
        )

    def check(self) -> Check:
        """Log in with a question that matches nobody, and therefore costs nothing."""
        return check_with(self._ask, vendor="FullContact", budget=self._config)

    def enrich(self, people: Iterable[pa.RecordBatch]) -> Iterator[Page]:
        """Look people up by email and phone, within the budget."""
        return look_up(people, self._ask, source="fullcontact", budget=self._config, now=self._now)

    def _ask(self, identifiers: Mapping[str, str]) -> Found:
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
            raise SourceFailed(
                "FullContact answered in a shape that is not its own. Check base_url.", code="bad_answer"
            )
        return Found("found", answer.body)
