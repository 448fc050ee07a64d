"""Klaviyo as a destination: an audience is a list.

People are added and changed by bulk import jobs that name the list, and taken out by its membership endpoint.
Being on a list is not consent: nothing here calls a subscribe or unsubscribe endpoint, of which the first lifts
suppressions and the second may unsubscribe people everywhere (rudder-transformer #1841, PostHog #79855).
Contract: the published OpenAPI description, revision 2026-07-15 (klaviyo/openapi, MIT).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import httpx
from pydantic import Field, SecretStr

from consentry.connectors.base import Capabilities, Check, ConnectorConfig, Ok, OptOut, Outcome, Pending, Rejected
from consentry.connectors.http import BaseUrl, HttpClient, HttpFailed, failing_as
from consentry.connectors.http_destination import Outcomes, accounted
from consentry.connectors.klaviyo_import import ImportJob, job_id, matches
from consentry.connectors.klaviyo_opt_outs import opt_outs
from consentry.connectors.klaviyo_profile import IDENTIFIERS, Key, identity, profile
from consentry.connectors.quota import Limit
from consentry.connectors.versions import ApiVersion
from consentry.errors import ConsentryError, DestinationFailed
from consentry.model.batch import Batch, Row

REVISION = "2026-07-15"
# Stable for a year, deprecated for another, then gone.
API = ApiVersion("Klaviyo", REVISION, date(2028, 7, 15), "Klaviyo, API versioning and deprecation policy, 2026")
MEDIA_TYPE = "application/vnd.api+json"
IMPORT_MAX, IMPORT_BYTES, PROFILE_BYTES = 10_000, 5_000_000, 100_000
MEMBERS_MAX = 1_000
FILTER_MAX = 100
# `x-klaviyo-ratelimit` {burst, steady} of the operations that are called here.
_SLOW = (Limit(10, 1.0), Limit(150, 60.0))
_FAST = (Limit(75, 1.0), Limit(750, 60.0))
LIMITS = {
    "bulk_import": _SLOW,
    "import_job": _SLOW,
    "import_errors": _SLOW,
    "import_profiles": _SLOW,
    "members_add": _SLOW,
    "members_remove": _SLOW,
    "members": _FAST,
    "profiles": _FAST,
    "lists": _FAST,
}


class KlaviyoConfig(ConnectorConfig):
    """The account, and how to log in."""

    base_url: BaseUrl = Field(default="https://a.klaviyo.com", description="Where the API is.")
    token: SecretStr = Field(description="A private API key with lists and profiles read and write, as ${VARIABLE}.")
    patience_seconds: float = Field(default=600.0, gt=0, description="How long a run waits for its import jobs.")


class Klaviyo:
    """The lists of one Klaviyo account."""

    Config: ClassVar[type[ConnectorConfig]] = KlaviyoConfig
    api_version: ClassVar[ApiVersion] = API
    capabilities = Capabilities(
        batch_max=IMPORT_MAX,
        key_fields=IDENTIFIERS,
        operations=frozenset({"add", "change", "remove"}),
        asynchronous=True,
        quota=LIMITS,
    )

    def __init__(
        self,
        config: KlaviyoConfig,
        *,
        streams: Mapping[str, ConnectorConfig] | None = None,
        account: str = "",
        base: Path = Path(),
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.wait_seconds = config.patience_seconds
        self.http = HttpClient(
            config.base_url,
            vendor="Klaviyo",
            account=account or config.base_url,
            headers=lambda: {
                "Authorization": f"Klaviyo-API-Key {config.token.get_secret_value()}",
                "revision": REVISION,
                "Accept": MEDIA_TYPE,
                "Content-Type": MEDIA_TYPE,
            },
            limits=LIMITS,
            transport=transport,
            sleep=sleep,
        )

    @property
    def api_calls(self) -> int:
        """Return how many requests were sent."""
        return self.http.calls

    def check(self) -> Check:
        """Log in by listing one page of lists."""
        try:
            self.http.request("GET", "/api/lists", operation="lists")
        except ConsentryError as error:
            return Check(False, str(error))
        return Check(True, "Klaviyo accepts the key; lists and profiles can be kept in step.")

    def write(self, batch: Batch) -> Iterator[Outcome]:
        """Hand the people to import jobs that put them on the list; `poll` says what became of them."""
        return accounted(batch, self._write, self._find)

    def poll(self, job: str, batch: Batch) -> list[Outcome] | None:
        """Say what an import job did with its profiles: each is Ok with the profile's id once it is over."""
        with failing_as(DestinationFailed):
            return ImportJob(self.http, job, self._pages, self._known).outcomes([profile(row) for row in batch.rows])

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        """Take the people off the list; one whom Klaviyo does not know is off it already."""
        return accounted(batch, self._remove, self._find)

    def lookup(self, audience: str, remote_ids: Iterable[str]) -> frozenset[str]:
        """Return those of the profile ids that are on the list; the list is read until all are found."""
        wanted, found = set(remote_ids), set[str]()
        with failing_as(DestinationFailed):
            pages = self._pages(_members(audience), {"page[size]": "100"}, "members")
            while wanted - found and (page := next(pages, None)) is not None:
                found |= {item["id"] for item in page} & wanted
        return frozenset(found)

    def opt_outs(self, since: datetime | None, audiences: Collection[str]) -> Iterator[OptOut]:
        """Yield who is suppressed, everywhere or on one of the lists that are kept."""
        with failing_as(DestinationFailed):
            yield from opt_outs(self._pages, since, audiences)

    def _write(self, batch: Batch, outcomes: Outcomes) -> None:
        taken: set[tuple[str, str]] = set()
        sendable: list[tuple[int, dict[str, Any]]] = []
        for place, row in enumerate(batch.rows):
            made = profile(row)
            key = identity(made["attributes"])
            if key is None and row.remote_id is None:
                outcomes.settle(place, Rejected("identifier_missing"))
            elif key is not None and key in taken:
                outcomes.settle(place, Rejected("identifier_duplicate", key[0]))
            elif len(_encoded(made)) > PROFILE_BYTES:
                outcomes.settle(place, Rejected("profile_too_large"))
            else:
                taken |= {key} if key else set()
                sendable.append((place, made))
        for part in _parts(sendable):
            job = self._import(batch.audience, part)
            for place, _ in part:
                outcomes.settle(place, Pending(job))

    def _remove(self, batch: Batch, outcomes: Outcomes) -> None:
        ids = self._ids(batch.rows)
        known = list(dict.fromkeys(id for id in ids if id is not None))
        for first in range(0, len(known), MEMBERS_MAX):
            self._take_off(batch.audience, known[first : first + MEMBERS_MAX])
        for place, id in enumerate(ids):
            outcomes.settle(place, Ok(id))

    def _find(self, audience: str) -> None:
        self.http.request("GET", f"/api/lists/{quote(audience, safe='')}", operation="lists")

    def _import(self, audience: str, part: Sequence[tuple[int, dict[str, Any]]]) -> str:
        """Start an import job and return its id."""
        body = {
            "data": {
                "type": "profile-bulk-import-job",
                "attributes": {"profiles": {"data": [made for _, made in part]}},
                "relationships": {"lists": {"data": [{"type": "list", "id": audience}]}},
            }
        }
        # An import is an upsert: the same job sent twice changes nothing.
        answer = self.http.request(
            "POST", "/api/profile-bulk-import-jobs", body=body, repeatable=True, operation="bulk_import"
        )
        return job_id(answer)

    def _ids(self, rows: Sequence[Row]) -> list[str | None]:
        """Return the profile id of each row: the one it brings, else the one that Klaviyo has for it."""
        keys = [None if row.remote_id else identity(profile(row)["attributes"]) for row in rows]
        known = self._known([key for key in keys if key])
        return [row.remote_id or (known.get(key) if key else None) for row, key in zip(rows, keys, strict=True)]

    def _known(self, keys: Collection[Key]) -> dict[Key, str]:
        """Return the ids of the profiles that Klaviyo has by some identifiers, a hundred a call."""
        known: dict[Key, str] = {}
        for name in IDENTIFIERS:
            values = [value for kind, value in keys if kind == name]
            for first in range(0, len(values), FILTER_MAX):
                wanted = json.dumps(values[first : first + FILTER_MAX], ensure_ascii=False)
                params = {"filter": f"any({name},{wanted})", "fields[profile]": name, "page[size]": "100"}
                for page in self._pages("/api/profiles", params, "profiles"):
                    known |= {found: item["id"] for item in page if (found := identity(item["attributes"]))}
        return known

    def _take_off(self, audience: str, ids: Sequence[str]) -> None:
        """Remove profiles from the list; one that is gone is cut out by halving, for it fails the others."""
        body = {"data": [{"type": "profile", "id": id} for id in ids]}
        try:
            self.http.request("DELETE", _members(audience), body=body, operation="members_remove")
            return
        except HttpFailed as refusal:
            if refusal.status not in (400, 404):
                raise
        # Without the list itself every half would fail in turn: this says so at once.
        self._find(audience)
        middle = len(ids) // 2
        for half in (ids[:middle], ids[middle:]) if middle else ():
            self._take_off(audience, half)

    def _pages(self, path: str, params: Mapping[str, str], operation: str) -> Iterator[list[dict[str, Any]]]:
        query: Mapping[str, str] = params
        passed: set[str] = set()
        while True:
            answer = self.http.request("GET", path, params=query, operation=operation)
            yield matches(answer)
            link = (answer.body.get("links") or {}).get("next")
            if not link:
                return
            if link in passed:
                message = "Klaviyo gave the same page again, which would never end. Run again."
                raise DestinationFailed(message, code="repeated_cursor")
            passed.add(link)
            path, query = self.http.next_path(link)


def _members(audience: str) -> str:
    return f"/api/lists/{quote(audience, safe='')}/relationships/profiles"


def _encoded(made: Mapping[str, Any]) -> bytes:
    return json.dumps(made, separators=(",", ":")).encode()


def _parts(sendable: Sequence[tuple[int, dict[str, Any]]]) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Split rows into jobs of at most 10,000 profiles and 5 MB."""
    part: list[tuple[int, dict[str, Any]]] = []
    size = 1_000  # what stands around the profiles
    for place, made in sendable:
        length = len(_encoded(made)) + 1
        if part and (len(part) >= IMPORT_MAX or size + length > IMPORT_BYTES):
            yield part
            part, size = [], 1_000
        part.append((place, made))
        size += length
    if part:
        yield part
