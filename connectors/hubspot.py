"""HubSpot: records, merges, associations and subscriptions as a source, lists of contacts as a destination.

The first read of a kind of record lists every one; later ones search what changed since, and list what was archived.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pyarrow as pa
from pydantic import Field, SecretStr

from consentry.connectors import hubspot_related as related
from consentry.connectors.base import Check, ConnectorConfig, OptOut, Outcome, Page, State, Stream
from consentry.connectors.http import BaseUrl, HttpClient, HttpFailed, failing_as
from consentry.connectors.hubspot_lists import CAPABILITIES, HubSpotLists
from consentry.connectors.hubspot_opt_outs import opt_outs
from consentry.connectors.hubspot_read import API, FIXED, OBJECTS, VERSION, ObjectType, Read, Wanted, results
from consentry.connectors.paging import ahead
from consentry.connectors.quota import Limit
from consentry.connectors.retry import retry_after
from consentry.connectors.tombstones import FIELDS
from consentry.connectors.versions import ApiVersion
from consentry.errors import DestinationFailed, RetryLater, SourceFailed
from consentry.model.batch import Batch

# A private app's burst, and search's own limit (HubSpot, "API usage guidelines", November 2026).
LIMITS = {"": (Limit(100, 10.0),), "search": (Limit(4, 1.0),)}
# What a job gets that names no stream.
SHOWN = ("contacts", "companies", "deals")
SHOWN_BESIDE = ("contacts_merged", "contacts_to_companies", "deals_to_contacts", "email_preferences")
_TIE = re.compile(r"(?P<first>\w+?)_to_(?P<second>\w+)")


class HubSpotConfig(ConnectorConfig):
    """The account, and how to log in."""

    base_url: BaseUrl = Field(default="https://api.hubapi.com", description="Where the API is.")
    token: SecretStr = Field(description="A private app's access token, as ${VARIABLE}.")
    overlap_minutes: int = Field(
        default=10, ge=0, le=1440, description="How far each window reaches back into the last."
    )
    contact_key: str = Field(
        default="email",
        pattern=r"^[a-z0-9_]+$",
        description="As a destination: email, or the unique property by which contacts are known.",
    )


class HubSpotStream(ConnectorConfig):
    """What of a kind of record is read."""

    properties: tuple[str, ...] | None = Field(default=None, description="Properties to read; all of them by default.")
    archived: bool = Field(default=True, description="Whether archived records come too, with archived = true.")
    object: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="A custom object's type id (2-1234567), when the stream's name is no kind of HubSpot's own.",
    )


class HubSpot:
    """The records of one HubSpot account.

    Streams: a kind of record by its name in the API (`contacts`, `companies`, `deals`, `tickets` ...), or any name
    with the option `object`. `contacts_merged` tells which records were merged into which; `contacts_to_companies`
    ties two kinds; `email_preferences` is a consent feed. The last two are whole each time: land them as snapshots.
    Proof level B: the vendor's description (2026-09) and its own Python client against the simulator.
    The first read is one list, page behind page. Windows searched side by side would be slower: search gives 4 pages
    of 200 a second, the list 10 pages of 100 (measured with 50 ms a page: 809 rows/s against 1,114).
    As a destination see `hubspot_lists`.
    """

    Config: ClassVar[type[ConnectorConfig]] = HubSpotConfig
    capabilities = CAPABILITIES
    api_version: ClassVar[ApiVersion] = API
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
        self._lists = HubSpotLists(self.http, contact_key=config.contact_key)

    @property
    def api_calls(self) -> int:
        """Return how many requests were sent."""
        return self.http.calls

    def write(self, batch: Batch) -> Iterator[Outcome]:
        """Keep the contacts of a batch, and put new ones on the list."""
        return self._lists.write(batch)

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        """Take the contacts of a batch off the list."""
        return self._lists.remove(batch)

    def lookup(self, audience: str, remote_ids: Iterable[str]) -> frozenset[str]:
        """Return those of the contact ids that are on the list."""
        return self._lists.lookup(audience, remote_ids)

    def opt_outs(self, since: datetime | None, audiences: Collection[str]) -> Iterator[OptOut]:
        """Yield who opted out of all e-mail, or bounced for good."""
        with failing_as(DestinationFailed):
            yield from opt_outs(self.http, since)

    def check(self) -> Check:
        """Log in by reading the contacts' properties."""
        try:
            count = len(self._discovered("contacts"))
        except (HttpFailed, RetryLater, SourceFailed) as error:
            return Check(False, str(error))
        return Check(True, f"HubSpot accepts the token; contacts have {count} properties.")

    def discover(self) -> list[Stream]:
        """List the streams that the job names (the common ones when it names none); records with their properties."""
        with failing_as(SourceFailed):
            named = self._streams or (*SHOWN, *SHOWN_BESIDE)
            return [stream for name in named if (stream := self._stream(name)) is not None]

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield what changed since `state`: columns id, createdAt, updatedAt, archived and the properties, as text."""
        now_ms = int(self._now().timestamp() * 1000)
        with failing_as(SourceFailed):
            if (found := self._object(stream.name)) is not None:
                wanted = Wanted(found, self._properties_of(stream.name, found), self._options(stream.name).archived)
                yield from ahead(Read(self.http, wanted, state, now_ms=now_ms, overlap_ms=self._overlap_ms).pages())
            elif (merged := _merged(stream.name)) is not None:
                yield from related.merges(self.http, merged, state, now_ms=now_ms, overlap_ms=self._overlap_ms)
            elif tie := _TIE.fullmatch(stream.name):
                yield from ahead(related.associations(self.http, tie["first"], tie["second"], state))
            else:
                yield from ahead(related.preferences(self.http, state))

    def _stream(self, name: str) -> Stream | None:
        """Describe a stream; None when the name means nothing here."""
        if (found := self._object(name)) is not None:
            columns = [(fixed, pa.bool_() if fixed == "archived" else pa.string()) for fixed in FIXED]
            columns += [(each, pa.string()) for each in self._properties_of(name, found) if each not in FIXED]
            return Stream(name, ("id",), pa.schema([*columns, *FIELDS]), cursor=found.modified)
        if _merged(name) is not None:
            about = "Records that were merged away, each with the one that stands for it now."
            return Stream(name, ("id", "merged_id"), related.MERGE_SCHEMA, "updatedAt", about)
        if (tie := _TIE.fullmatch(name)) and {tie["first"], tie["second"]} <= OBJECTS.keys():
            about = "Which records of two kinds are tied together; whole each time."
            return Stream(name, ("from_id", "to_id", "type_id"), related.ASSOCIATION_SCHEMA, None, about)
        if name == "email_preferences":
            about = "What each address is subscribed to, and who opted out of everything; whole each time."
            return Stream(name, ("event_id",), related.PREFERENCE_SCHEMA, None, about)
        return None

    def _object(self, name: str) -> ObjectType | None:
        custom = self._options(name).object
        if custom is not None:
            return OBJECTS.get(custom, ObjectType(custom, "hs_lastmodifieddate"))
        return OBJECTS.get(name)

    def _properties_of(self, name: str, found: ObjectType) -> tuple[str, ...]:
        """Return the properties that are read, the modified date always among them."""
        asked = self._options(name).properties
        names = self._discovered(found.name) if asked is None else list(asked)
        return tuple(dict.fromkeys([*names, found.modified]))

    def _options(self, name: str) -> HubSpotStream:
        return self._streams.get(name, HubSpotStream())

    def _discovered(self, name: str) -> list[str]:
        if name not in self._properties:
            answer = self.http.request("GET", f"/crm/properties/{VERSION}/{name}")
            self._properties[name] = [item["name"] for item in results(answer)]
        return self._properties[name]


def _merged(name: str) -> ObjectType | None:
    return OBJECTS.get(name.removesuffix("_merged")) if name.endswith("_merged") else None


def _pause(status: int, headers: Mapping[str, str], body: Any) -> float | None:
    """Read how long to wait; a used-up day does not come back by trying (hubspot-api-python #117)."""
    asked = retry_after(headers.get("retry-after"), datetime.now(UTC))
    if status == 429 and isinstance(body, Mapping) and body.get("policyName") == "DAILY":
        return max(asked or 0.0, 3600.0)
    return asked
