"""Salesforce: any object by SOQL or Bulk API 2.0, deletes and merges included; records with a checkbox in return."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Literal, Self

import httpx
import pyarrow as pa
from pydantic import Field, SecretStr, model_validator

from consentry.connectors.base import Check, ConnectorConfig, Outcome, Page, State, Stream
from consentry.connectors.http import BaseUrl, HttpClient, HttpFailed, failing_as
from consentry.connectors.jwt_bearer import GRANT, assertion
from consentry.connectors.paging import ahead
from consentry.connectors.salesforce_limits import is_daily_limit, pause, room
from consentry.connectors.salesforce_read import API, DATA, URL_QUERY, Read, Wanted
from consentry.connectors.salesforce_records import CAPABILITIES, SalesforceRecords
from consentry.connectors.tokens import Login, TokenStore, token_endpoint
from consentry.connectors.tombstones import FIELDS
from consentry.connectors.versions import ApiVersion
from consentry.errors import ConfigError, RetryLater, SourceFailed
from consentry.model.batch import Batch

# The streams that need no `object`, by the names that other sources use.
OBJECTS = {
    "contacts": "Contact",
    "leads": "Lead",
    "accounts": "Account",
    "opportunities": "Opportunity",
    "campaign_members": "CampaignMember",
    "individuals": "Individual",
    "contact_point_consents": "ContactPointTypeConsent",
}
SHOWN = ("contacts", "leads", "accounts", "contacts_merged", "leads_merged", "accounts_merged")
MERGE_SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "merged_id", "updatedAt")])
_STAMPS = ("SystemModstamp", "LastModifiedDate", "CreatedDate")
# Compound fields repeat others, and bulk jobs refuse them as they do binary ones.
_UNREADABLE = frozenset({"address", "location", "base64"})
# A JWT for Salesforce is good for three minutes at most.
_JWT_SECONDS = 180


class SalesforceConfig(ConnectorConfig):
    """The org, and how to log in."""

    base_url: BaseUrl = Field(description="The org's own address (My Domain), https://NAME.my.salesforce.com.")
    auth: Literal["client_credentials", "jwt_bearer", "refresh_token"] = Field(
        default="client_credentials", description="The OAuth flow that the connected app allows."
    )
    client_id: SecretStr = Field(description="The connected app's consumer key, as ${VARIABLE}.")
    client_secret: SecretStr | None = Field(default=None, description="Its consumer secret, as ${VARIABLE}.")
    username: str | None = Field(default=None, description="For jwt_bearer: the user to act as.")
    private_key: SecretStr | None = Field(default=None, description="For jwt_bearer: the RSA key in PEM, ${VARIABLE}.")
    audience: str = Field(
        default="https://login.salesforce.com",
        description="For jwt_bearer: the login server; https://test.salesforce.com for a sandbox org.",
    )
    refresh_token: SecretStr | None = Field(
        default=None,
        description="For refresh_token: the first one. Later ones, good for one use, are kept in the state folder.",
    )
    overlap_minutes: int = Field(
        default=10, ge=0, le=1440, description="How far each window reaches back into the last."
    )
    daily_share: float = Field(
        default=0.9, gt=0, le=1, description="The share of the org's daily calls at which it pauses; others need some."
    )
    object: str = Field(
        default="Contact", pattern=r"^[A-Za-z]\w*$", description="As a destination: the object whose records are kept."
    )
    key: str = Field(
        default="Email", pattern=r"^[A-Za-z]\w*$", description="As a destination: the unique field they are known by."
    )
    identifier: str = Field(default="email", description="As a destination: our identifier that stands for the key.")
    create: bool = Field(default=False, description="As a destination: whether people who are not known are made.")
    bulk_from: int = Field(
        default=2_000, ge=1, description="As a destination: records in a batch from which on a bulk job writes them."
    )
    patience_seconds: float = Field(
        default=600.0, gt=0, description="As a destination: how long a run waits for its bulk jobs."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed: dict[str, tuple[str, ...]] = {
            "client_credentials": ("client_secret",),
            "jwt_bearer": ("username", "private_key"),
            "refresh_token": ("refresh_token",),
        }
        missing = [name for name in needed[self.auth] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"auth {self.auth} needs {' and '.join(missing)}")
        return self


class SalesforceStream(ConnectorConfig):
    """What of an object is read."""

    object: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z]\w*$",
        description="The object's API name, when the stream is called otherwise.",
    )
    fields: tuple[str, ...] | None = Field(default=None, description="Fields to read; all readable ones by default.")
    deleted: bool = Field(default=True, description="Whether deleted records come too, with IsDeleted = true.")
    via: Literal["auto", "rest", "bulk"] = Field(
        default="auto", description="How to ask: auto takes a bulk job for the first read and for long queries."
    )


class Salesforce:
    """The objects of one Salesforce org.

    Streams: contacts, leads, accounts, opportunities, campaign_members, individuals, contact_point_consents, or any
    name with the option `object`. contacts_merged (leads_merged, accounts_merged) tells which records were merged
    into which. Proof level C: simple-salesforce drives the same simulator; Salesforce publishes no description.
    As a destination see `salesforce_records`.
    """

    Config: ClassVar[type[ConnectorConfig]] = SalesforceConfig
    capabilities = CAPABILITIES
    api_version: ClassVar[ApiVersion] = API
    StreamOptions: ClassVar[type[ConnectorConfig]] = SalesforceStream

    def __init__(
        self,
        config: SalesforceConfig,
        *,
        streams: Mapping[str, SalesforceStream] | None = None,
        account: str = "",
        keep: Path = Path(),
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._streams, self._now, self._sleep = dict(streams or {}), now, sleep
        self._overlap = timedelta(minutes=config.overlap_minutes)
        self._described: dict[str, dict[str, str]] = {}
        account = account or config.base_url
        fetch = token_endpoint(
            f"{config.base_url}/services/oauth2/token",
            vendor="Salesforce",
            account=account,
            form=_login_form(config, now),
            rotates=config.auth == "refresh_token",
            transport=transport,
            sleep=sleep,
        )
        store = TokenStore(keep / "salesforce-tokens.json") if config.auth == "refresh_token" else None
        self.login = Login(fetch, account=account, refresh=config.refresh_token, store=store)
        self.http = HttpClient(
            config.base_url,
            vendor="Salesforce",
            account=account,
            headers=self.login.headers,
            renew=self.login.renew,
            pause=pause,
            turned_away=is_daily_limit,
            room=room(config.daily_share),
            transport=transport,
            sleep=sleep,
        )
        self._records = SalesforceRecords(
            self.http,
            object=config.object,
            key=config.key,
            identifier=config.identifier,
            create=config.create,
            bulk_from=config.bulk_from,
        )
        self.wait_seconds = config.patience_seconds

    @property
    def api_calls(self) -> int:
        """Return how many requests were sent."""
        return self.http.calls

    def write(self, batch: Batch) -> Iterator[Outcome]:
        """Keep the records of a batch, and tick the audience's checkbox."""
        return self._records.write(batch)

    def poll(self, job: str, batch: Batch) -> list[Outcome] | None:
        """Say what a bulk job did with the records of a batch."""
        return self._records.poll(job, batch)

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        """Untick the audience's checkbox."""
        return self._records.remove(batch)

    def lookup(self, audience: str, remote_ids: Iterable[str]) -> frozenset[str]:
        """Return those of the record ids whose checkbox is ticked."""
        return self._records.lookup(audience, remote_ids)

    def check(self) -> Check:
        """Log in and read the org's limits."""
        try:
            body = self.http.request("GET", f"{DATA}/limits").body
        except (HttpFailed, RetryLater, ConfigError) as error:
            return Check(False, str(error))
        calls = body.get("DailyApiRequests", {}) if isinstance(body, Mapping) else {}
        left, most = calls.get("Remaining"), calls.get("Max")
        return Check(True, f"Salesforce accepts the login; {left} of {most} calls are left for today.")

    def discover(self) -> list[Stream]:
        """List the streams that the job names (the common ones when it names none), each with its fields."""
        with failing_as(SourceFailed):
            return [stream for name in self._streams or SHOWN if (stream := self._stream(name)) is not None]

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield what changed since `state`: the fields as text, IsDeleted as boolean."""
        with failing_as(SourceFailed):
            found, merged = self._object(stream.name)
            assert found is not None
            wanted = self._merges(found) if merged else self._wanted(stream.name, found, state)
            read = Read(self.http, wanted, state, now=self._now(), overlap=self._overlap, sleep=self._sleep)
            for page in ahead(read.pages()):
                yield Page(_merged_rows(page.records, wanted.stamp), page.state) if merged else page

    def _stream(self, name: str) -> Stream | None:
        """Describe a stream; None when the name means nothing here."""
        found, merged = self._object(name)
        if found is None:
            return None
        if merged:
            about = "Records that were merged away, each with the one that stands for it now."
            return Stream(name, ("id", "merged_id"), MERGE_SCHEMA, "updatedAt", about)
        fields = self._fields(name, found)
        columns = [(each, pa.bool_() if each == "IsDeleted" else pa.string()) for each in fields]
        return Stream(name, ("Id",), pa.schema([*columns, *FIELDS]), cursor=self._stamp(found))

    def _object(self, name: str) -> tuple[str | None, bool]:
        """Return the object of a stream, and whether the stream is about its merges."""
        named = self._options(name).object or OBJECTS.get(name)
        if named is None and name.endswith("_merged"):
            plain = name.removesuffix("_merged")
            return self._options(plain).object or OBJECTS.get(plain), True
        return named, False

    def _wanted(self, name: str, found: str, state: State) -> Wanted:
        options, fields = self._options(name), self._fields(name, found)
        long = len(", ".join(fields)) > URL_QUERY
        bulk = options.via == "bulk" or (options.via == "auto" and (long or not state))
        instants = frozenset(each for each, kind in self._kinds(found).items() if kind == "datetime")
        return Wanted(found, fields, self._stamp(found), instants, options.deleted, bulk)

    def _merges(self, found: str) -> Wanted:
        if "MasterRecordId" not in self._kinds(found):
            message = f"Salesforce keeps no merges of {found}: it has no MasterRecordId. Leave the stream out."
            raise SourceFailed(message, code="no_merges")
        stamp = self._stamp(found)
        fields = ("Id", "MasterRecordId", "IsDeleted", stamp)
        having = "IsDeleted = true AND MasterRecordId != null"
        return Wanted(found, fields, stamp, frozenset({stamp}), deleted=True, bulk=False, having=having)

    def _fields(self, name: str, found: str) -> tuple[str, ...]:
        """Return the fields that are read: Id, the modified date and what tells of deletes always among them."""
        kinds = self._kinds(found)
        asked = self._options(name).fields
        chosen = [each for each, kind in kinds.items() if kind not in _UNREADABLE] if asked is None else list(asked)
        flags = [each for each in ("IsDeleted", "MasterRecordId") if each in kinds]
        return tuple(dict.fromkeys(["Id", *chosen, self._stamp(found), *flags]))

    def _stamp(self, found: str) -> str:
        kinds = self._kinds(found)
        stamp = next((each for each in _STAMPS if each in kinds), None)
        if stamp is None:
            message = f"The Salesforce object {found} has no modified date, so it cannot be read in windows."
            raise SourceFailed(message, code="no_cursor")
        return stamp

    def _kinds(self, found: str) -> dict[str, str]:
        """Return the types of an object's fields, by name."""
        if found not in self._described:
            body = self.http.request("GET", f"{DATA}/sobjects/{found}/describe").body
            if not isinstance(body, Mapping) or not isinstance(body.get("fields"), list):
                raise SourceFailed("Salesforce answered without 'fields'. Check base_url.", code="garbage")
            self._described[found] = {field["name"]: field["type"] for field in body["fields"]}
        return self._described[found]

    def _options(self, name: str) -> SalesforceStream:
        return self._streams.get(name, SalesforceStream())


def _login_form(config: SalesforceConfig, now: Callable[[], datetime]) -> Callable[[str | None], Mapping[str, str]]:
    """Return what makes the fields of a login, given the refresh token of the moment."""
    client = {"client_id": config.client_id.get_secret_value()}
    secret = {"client_secret": config.client_secret.get_secret_value()} if config.client_secret else {}

    def form(refresh: str | None) -> Mapping[str, str]:
        if config.auth == "client_credentials":
            return {"grant_type": "client_credentials", **client, **secret}
        if config.auth == "refresh_token":
            return {"grant_type": "refresh_token", "refresh_token": refresh or "", **client, **secret}
        assert config.private_key is not None and config.username is not None
        ends = int(now().timestamp()) + _JWT_SECONDS
        claims: dict[str, str | int] = {
            "iss": client["client_id"],
            "sub": config.username,
            "aud": config.audience,
            "exp": ends,
        }
        return {"grant_type": GRANT, "assertion": assertion(config.private_key, claims)}

    return form


def _merged_rows(records: pa.RecordBatch, stamp: str) -> pa.RecordBatch:
    columns = [records[name] for name in ("MasterRecordId", "Id", stamp)]
    return pa.RecordBatch.from_arrays(columns, schema=MERGE_SCHEMA)
