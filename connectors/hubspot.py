"""HubSpot as a source: contacts, companies and deals, through the date-versioned API.

The first read lists every record; later ones search what changed since, and list what was archived.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pyarrow as pa
from pydantic import Field, SecretStr

from consentry.connectors.base import Check, ConnectorConfig, Page, State, Stream
from consentry.connectors.http import BaseUrl, HttpClient, HttpFailed, failing_as
from consentry.connectors.hubspot_read import FIXED, OBJECTS, VERSION, ObjectType, Read, Wanted, results
from consentry.connectors.quota import Limit
from consentry.connectors.retry import retry_after
from consentry.errors import RetryLater, SourceFailed

# A private app's burst, and search's own limit (HubSpot, "API usage guidelines", November 2026).
LIMITS = {"": (Limit(100, 10.0),), "search": (Limit(4, 1.0),)}


class HubSpotConfig(ConnectorConfig):
    """The account, and how to log in."""

    base_url: BaseUrl = Field(default="https://api.hubapi.com", description="Where the API is.")
    token: SecretStr = Field(description="A private app's access token, as ${VARIABLE}.")
    overlap_minutes: int = Field(
        default=10, ge=0, le=1440, description="How far each window reaches back into the last."
    )


class HubSpotStream(ConnectorConfig):
    """What of a kind of record is read."""

    properties: tuple[str, ...] | None = Field(default=None, description="Properties to read; all of them by default.")
    archived: bool = Field(default=True, description="Whether archived records come too, with archived = true.")


class HubSpot:
    """The records of one HubSpot account."""

    Config: ClassVar[type[ConnectorConfig]] = HubSpotConfig
    StreamOptions: ClassVar[type[ConnectorConfig]] = HubSpotStream

    def __init__(
        self,
        config: HubSpotConfig,
        *,
        streams: Mapping[str, HubSpotStream] | None = None,
        account: str = "",
        base: Path = Path(),
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._streams, self._now = dict(streams or {}), now
        self._overlap_ms = config.overlap_minutes * 60_000
        self._properties: dict[str, list[str]] = {}
        self.http = HttpClient(
            config.base_url,
            vendor="HubSpot",
            account=account or config.base_url,
            headers=lambda: {"Authorization": f"Bearer {config.token.get_secret_value()}"},
            limits=LIMITS,
            pause=_pause,
            transport=transport,
            sleep=sleep,
        )

    def check(self) -> Check:
        """Log in by reading the contacts' properties."""
        try:
            count = len(self._discovered("contacts"))
        except (HttpFailed, RetryLater) as error:
            return Check(False, str(error))
        return Check(True, f"HubSpot accepts the token; contacts have {count} properties.")

    def discover(self) -> list[Stream]:
        """List the kinds of records that the job names (all when it names none), each with its properties."""
        wanted = [found for name, found in OBJECTS.items() if not self._streams or name in self._streams]
        with failing_as(SourceFailed):
            return [self._stream(found) for found in wanted]

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield what changed since `state`: columns id, createdAt, updatedAt, archived and the properties, as text."""
        found = OBJECTS[stream.name]
        with failing_as(SourceFailed):
            wanted = Wanted(found, self._properties_of(found), archived=self._options(found).archived)
            now_ms = int(self._now().timestamp() * 1000)
            yield from Read(self.http, wanted, state, now_ms=now_ms, overlap_ms=self._overlap_ms).pages()

    def _properties_of(self, found: ObjectType) -> tuple[str, ...]:
        """Return the properties that are read, the modified date always among them."""
        asked = self._options(found).properties
        names = self._discovered(found.name) if asked is None else list(asked)
        return tuple(dict.fromkeys([*names, found.modified]))

    def _options(self, found: ObjectType) -> HubSpotStream:
        return self._streams.get(found.name, HubSpotStream())

    def _stream(self, found: ObjectType) -> Stream:
        columns = [(name, pa.bool_() if name == "archived" else pa.string()) for name in FIXED]
        columns += [(name, pa.string()) for name in self._properties_of(found) if name not in FIXED]
        return Stream(found.name, ("id",), pa.schema(columns), cursor=found.modified)

    def _discovered(self, name: str) -> list[str]:
        if name not in self._properties:
            answer = self.http.request("GET", f"/crm/properties/{VERSION}/{name}")
            self._properties[name] = [item["name"] for item in results(answer)]
        return self._properties[name]


def _pause(status: int, headers: Mapping[str, str], body: Any) -> float | None:
    """Read how long to wait; a used-up day does not come back by trying (hubspot-api-python #117)."""
    asked = retry_after(headers.get("retry-after"), datetime.now(UTC))
    if status == 429 and isinstance(body, Mapping) and body.get("policyName") == "DAILY":
        return max(asked or 0.0, 3600.0)
    return asked
