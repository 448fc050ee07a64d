"""The contract of destinations, held by those that write to a vendor or a database."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa

from consentry.connectors.base import ConnectorConfig, Destination
from consentry.connectors.registry import connector
from consentry.connectors.sql_table import SqlTable, SqlTableConfig
from consentry.model.batch import Value
from consentry.testing.destination_contract import DestinationContract, Kind
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.audiences import AudienceVendor
from consentry.testing.sandbox.ga4 import GA4
from consentry.testing.sandbox.hubspot_lists import ContactList
from consentry.testing.sandbox.mailchimp import Mailchimp as Subscribers
from consentry.testing.sandbox.meta import Meta as AdAccount
from consentry.testing.sandbox.salesforce import Salesforce as Org
from tests.connectors.recorder import account, played

FAULTS = frozenset({"rate_limited", "server_error", "lost_answer", "partial", "refused_batch", "expired_token"})


@dataclass
class Playing:
    """One vendor of the sandbox. begin: makes its audience; held: who is in it; writes: what a write's path holds."""

    sandbox: Sandbox
    audience: str
    begin: Callable[[Sandbox], None]
    held: Callable[[Sandbox], set[str]]
    writes: str
    faults: frozenset[str] = FAULTS
    plays: Mapping[Kind, Callable[[Sandbox], None]] = field(default_factory=dict)

    def reset(self) -> None:
        self.sandbox.reset()
        self.begin(self.sandbox)

    def members(self) -> set[str]:
        return self.held(self.sandbox)

    def fault(self, kind: Kind, **how: Any) -> None:
        if kind in self.plays:
            self.plays[kind](self.sandbox)
            return
        self.sandbox.fault(kind, match=self.writes, seconds=0.01 if kind == "lost_answer" else 1.0, **how)


def _vendor(sandbox: Sandbox, name: str) -> AudienceVendor:
    found = sandbox.vendors[name]
    assert isinstance(found, AudienceVendor)
    return found


def _make(name: str, audience: str) -> Callable[[Sandbox], None]:
    return lambda sandbox: _vendor(sandbox, name).make(audience)


def _keys(name: str, audience: str) -> Callable[[Sandbox], set[str]]:
    return lambda sandbox: set(sandbox.vendors[name].members().get(audience, ()))


def _a_list(sandbox: Sandbox) -> None:
    sandbox.hubspot.lists._lists["77"] = ContactList("77", "Contract", "MANUAL", "2026-01-01T00:00:00Z")


def _listed(sandbox: Sandbox) -> set[str]:
    rows = sandbox.hubspot.contacts.rows
    return {str(rows[int(id)].properties["email"]) for id in sandbox.hubspot.members()["Contract"]}


def _tagged(sandbox: Sandbox) -> set[str]:
    vendor = _vendor(sandbox, "mailchimp")
    return {str(vendor.people[f"list1/{key}"]["email_address"]) for key in vendor.audiences["list1/1"]}


def _told(sandbox: Sandbox) -> set[str]:
    members = _vendor(sandbox, "webhook").audiences.get("vips", {})
    return {str(member["identifiers"]["email"]) for member in members.values()}


def _contacts(sandbox: Sandbox) -> None:
    org = played(sandbox, Org)
    with org.lock:
        org.objects.declare("Contact", {"In__c": "boolean"})
        people = [{"Id": f"003{n}", "Email": f"person{n}@example.com", "In__c": False} for n in range(10)]
        org.objects.put("Contact", people)


def _ticked(sandbox: Sandbox) -> set[str]:
    org = played(sandbox, Org)
    with org.lock:
        _, _, found = org.objects.select("SELECT Email FROM Contact WHERE In__c = true", deleted=False)
    return {str(record["Email"]) for record in found}


def _subscribers(sandbox: Sandbox) -> None:
    vendor = played(sandbox, Subscribers)
    vendor.make("list1/1")
    for number in range(10):
        vendor.join("list1", f"person{number}@example.com")


def _slow(name: str) -> Callable[[Sandbox], None]:
    def late(sandbox: Sandbox) -> None:
        vendor: Any = sandbox.vendors[name]
        vendor.polls_to_complete = 5

    return late


def _unreadable(sandbox: Sandbox) -> None:
    played(sandbox, AdAccount).unreadable = {_hashed("person0@example.com")}


def _hashed(email: str) -> str:
    return hashlib.sha256(email.encode()).hexdigest()


class _Vendor(DestinationContract):
    """A destination against its simulator; the settings are those of its connection."""

    __test__ = False
    playing: ClassVar[Playing]
    name: ClassVar[str]
    audience: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}
    begin: ClassVar[Callable[[Sandbox], None]]
    held: ClassVar[Callable[[Sandbox], set[str]]]
    writes: ClassVar[str]
    faults: ClassVar[frozenset[str]] = FAULTS
    plays: ClassVar[Mapping[Kind, Callable[[Sandbox], None]]] = {}

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _sandbox(cls) -> Iterator[None]:
        with Sandbox() as sandbox:
            how = (cls.audience, cls.begin, cls.held, cls.writes, cls.faults, cls.plays)
            cls.playing = cls.simulator = Playing(sandbox, *how)
            yield

    def make(self) -> Destination:
        made: Any = connector(self.name)
        config: ConnectorConfig = made.Config.model_validate(
            {"base_url": self.playing.sandbox.url(self.name), **self.settings}
        )
        destination: Destination = made(config, account=account(), sleep=lambda seconds: None)
        return destination


class TestHubSpot(_Vendor):
    __test__ = True
    name, audience, writes = "hubspot", "77", "batch/upsert"
    settings: ClassVar[dict[str, Any]] = {"token": "sandbox-hubspot"}
    begin, held = staticmethod(_a_list), staticmethod(_listed)


class TestMailchimp(_Vendor):
    __test__ = True
    name, audience, writes = "mailchimp", "list1/1", "/3.0/lists/list1"
    settings: ClassVar[dict[str, Any]] = {"token": "sandbox-us6", "new_members": "pending"}
    begin, held = staticmethod(_make("mailchimp", "list1/1")), staticmethod(_tagged)
    # Its rate limit is a 403 that names no wait.
    faults = FAULTS - {"rate_limited"}


class TestMailchimpWithFields(TestMailchimp):
    """People on the list already, whose fields a batch writes: pending until it has ended."""

    settings: ClassVar[dict[str, Any]] = {"token": "sandbox-us6"}
    fields: ClassVar[Mapping[str, Value]] = {"given_name": "Ada"}
    writes = "/3.0/batches"
    begin = staticmethod(_subscribers)
    plays: ClassVar[Mapping[Kind, Callable[[Sandbox], None]]] = {"delay": _slow("mailchimp")}
    faults = FAULTS - {"rate_limited"} | {"delay"}


class TestMeta(_Vendor):
    __test__ = True
    name, audience, writes = "meta", "4711", "/users"
    settings: ClassVar[dict[str, Any]] = {"token": "sandbox-meta"}
    # Meta counts what it cannot read and never says which it was: the connector halves, so that the row must stay bad.
    plays: ClassVar[Mapping[Kind, Callable[[Sandbox], None]]] = {"partial": _unreadable}
    begin, held = staticmethod(_make("meta", "4711")), staticmethod(_keys("meta", "4711"))

    def identifiers(self, email: str) -> dict[str, str]:
        return {"email": _hashed(email)}


class TestGoogleDataManager(_Vendor):
    __test__ = True
    name, audience, writes = "google_data_manager", "99", "audienceMembers:"
    fields: ClassVar[Mapping[str, Value]] = {"ad_user_data": "granted", "ad_personalization": "granted"}
    begin, held = staticmethod(_make("google_data_manager", "99")), staticmethod(_keys("google_data_manager", "99"))
    plays: ClassVar[Mapping[Kind, Callable[[Sandbox], None]]] = {"delay": _slow("google_data_manager")}
    faults = FAULTS | {"delay"}

    def identifiers(self, email: str) -> dict[str, str]:
        return {"email": _hashed(email)}

    def make(self) -> Destination:
        key = played(self.playing.sandbox, GA4).service_account(self.playing.sandbox.url("ga4"))
        type(self).settings = {"credentials": key, "customer_id": "1234567890", "terms_accepted": True}
        return super().make()


class TestCustomerIo(_Vendor):
    __test__ = True
    name, audience, writes = "customer_io", "7", "/api/v2/batch"
    settings: ClassVar[dict[str, Any]] = {"site_id": "site", "token": "sandbox-customer-io"}
    begin, held = staticmethod(_make("customer_io", "7")), staticmethod(_keys("customer_io", "7"))


class TestBraze(_Vendor):
    __test__ = True
    name, audience, writes = "braze", "vips", "/users/track"
    settings: ClassVar[dict[str, Any]] = {"token": "sandbox-braze", "identifier": "email", "create": True}
    begin, held = staticmethod(_make("braze", "vips")), staticmethod(_keys("braze", "vips"))


class TestIterable(_Vendor):
    __test__ = True
    name, audience, writes = "iterable", "7", "/lists/subscribe"
    settings: ClassVar[dict[str, Any]] = {"token": "sandbox-iterable"}
    begin, held = staticmethod(_make("iterable", "7")), staticmethod(_keys("iterable", "7"))


class TestActiveCampaign(_Vendor):
    __test__ = True
    name, audience, writes = "activecampaign", "7", "/contact/sync"
    settings: ClassVar[dict[str, Any]] = {"token": "sandbox-activecampaign"}
    begin, held = staticmethod(_make("activecampaign", "7")), staticmethod(_keys("activecampaign", "7"))


class TestWebhook(_Vendor):
    __test__ = True
    name, audience, writes = "webhook", "vips", "/members"
    settings: ClassVar[dict[str, Any]] = {"secret": "sandbox-webhook-secret"}
    begin, held = staticmethod(lambda sandbox: None), staticmethod(_told)

    def make(self) -> Destination:
        made: Any = connector(self.name)
        url = f"{self.playing.sandbox.url(self.name)}/members"
        config = made.Config.model_validate({"base_url": url, **self.settings})
        destination: Destination = made(config, account=account(), sleep=lambda seconds: None)
        return destination


class TestSalesforce(_Vendor):
    __test__ = True
    name, audience, writes = "salesforce", "In__c", "/composite/"
    more: ClassVar[dict[str, Any]] = {}
    begin, held = staticmethod(_contacts), staticmethod(_ticked)

    def make(self) -> Destination:
        logins = played(self.playing.sandbox, Org).logins
        type(self).settings = {"client_id": logins.client_id, "client_secret": logins.client_secret, **self.more}
        return super().make()


class TestSalesforceInBulk(TestSalesforce):
    writes = "/batches"
    more: ClassVar[dict[str, Any]] = {"bulk_from": 1}
    plays: ClassVar[Mapping[Kind, Callable[[Sandbox], None]]] = {"delay": _slow("salesforce")}
    faults = FAULTS | {"delay"}


class _Table:
    """A SQLite database in a folder."""

    audience = "vips"
    faults: frozenset[str] = frozenset()

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def reset(self) -> None:
        self.path.unlink(missing_ok=True)

    def fault(self, kind: Kind, **how: Any) -> None:
        raise AssertionError("nothing can be planned here")

    def members(self) -> set[str]:
        engine = sa.create_engine(self.url, poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            return set(connection.execute(sa.text("SELECT email FROM members")).scalars())


class TestSqlTable(DestinationContract):
    table: ClassVar[_Table]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _folder(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.table = cls.simulator = _Table(tmp_path_factory.mktemp("sql") / "shop.db")

    def make(self) -> Destination:
        return SqlTable(SqlTableConfig.model_validate({"url": self.table.url, "table": "members"}))
