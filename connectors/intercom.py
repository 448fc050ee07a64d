"""Intercom as a source: contacts, merges and companies through API 2.16."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field, SecretStr

from consentry.connectors.base import ConnectorConfig, Page, State, Stream
from consentry.connectors.http import BaseUrl, failing_as
from consentry.connectors.intercom_read import COLUMNS, MERGE_SCHEMA, ContactRead, companies, merges
from consentry.connectors.paging import ahead
from consentry.connectors.quota import Limit
from consentry.connectors.retry import retry_after
from consentry.connectors.token_source import TokenConfig, TokenSource
from consentry.connectors.tombstones import FIELDS
from consentry.errors import SourceFailed

# The newest description (Intercom-OpenAPI @8889625a); each version is answered for years, by this header.
VERSION = "2.16"
# 10,000 calls a minute and app, spread over windows of ten seconds (Intercom, "Rate limiting", November 2026).
LIMITS = (Limit(1_500, 10.0),)
_OWN = {"contacts": "contact", "companies": "company"}


class IntercomConfig(TokenConfig):
    """The workspace, and how to log in."""

    base_url: BaseUrl = Field(
        default="https://api.intercom.io",
        description="Where the API is; https://api.eu.intercom.io or https://api.au.intercom.io by region.",
    )
    token: SecretStr = Field(description="The app's access token, as ${VARIABLE}.")
    overlap_minutes: int = Field(
        default=15, ge=0, le=1440, description="How far each window reaches back: new contacts are found minutes late."
    )


class Intercom(TokenSource[IntercomConfig]):
    """The contacts and companies of one Intercom workspace.

    Streams: contacts (users and leads), contacts_merged, companies (whole each time: land them as a snapshot).
    Attributes of one's own are columns, `custom_attributes.NAME`; times are ISO text in UTC. Deleted and archived
    contacts vanish from the search without a word: land contacts as a snapshot where that matters.
    Proof level B: requests and the simulator's answers are checked against the published description.
    """

    Config: ClassVar[type[ConnectorConfig]] = IntercomConfig

    vendor, shown, limits, probe = "Intercom", ("contacts", "contacts_merged", "companies"), LIMITS, ("/me", {}, "")

    def pause(self, status: int, headers: Mapping[str, str], body: Any) -> float | None:
        """Read how long to wait: Intercom gives the Unix second at which the window opens."""
        asked = retry_after(headers.get("retry-after"), datetime.now(UTC))
        opens = headers.get("x-ratelimit-reset", "")
        if asked is not None or not opens.isascii() or not opens.isdigit():
            return asked
        return max(0.0, int(opens) - time.time())

    def headers(self, token: str) -> Mapping[str, str]:
        """Return the token as a bearer's, and the version of the API."""
        return {"Authorization": f"Bearer {token}", "Intercom-Version": VERSION, "Accept": "application/json"}

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield what changed since `state`, as text; lists and objects as JSON."""
        now, overlap = int(self._now().timestamp()), int(self._overlap.total_seconds())
        with failing_as(SourceFailed):
            if stream.name == "contacts":
                columns = self._columns("contacts")
                yield from ahead(ContactRead(self.http, columns, state, now=now, overlap=overlap).pages())
            elif stream.name == "contacts_merged":
                yield from ahead(merges(self.http, state, now=now, overlap=overlap))
            else:
                yield from ahead(companies(self.http, self._columns("companies"), state))

    def described(self, name: str) -> Stream | None:
        """Describe a stream; None when the name means nothing here."""
        if name == "contacts_merged":
            about = "Contacts that were merged away, each with the one that stands for it now."
            return Stream(name, ("id", "merged_id"), MERGE_SCHEMA, "updated_at", about)
        if name not in COLUMNS:
            return None
        schema = pa.schema([(each, pa.string()) for each in self._columns(name)])
        if name == "contacts":
            schema = pa.schema([*schema, *FIELDS])
        return Stream(name, ("id",), schema, cursor="updated_at" if name == "contacts" else None)

    def _columns(self, name: str) -> tuple[str, ...]:
        if name not in self._own:
            answer = self.http.request("GET", "/data_attributes", params={"model": _OWN[name]})
            found = answer.body.get("data") if isinstance(answer.body, Mapping) else None
            if not isinstance(found, list):
                raise SourceFailed("Intercom answered without 'data'. Check base_url.", code="garbage")
            self._own[name] = tuple(str(each["full_name"]) for each in found if each.get("custom"))
        return (*COLUMNS[name], *self._own[name])
