"""The CRM sources keep the contract of sources."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from consentry.connectors.base import NoOptions, Source
from consentry.connectors.intercom import Intercom, IntercomConfig
from consentry.connectors.pipedrive import Pipedrive, PipedriveConfig
from consentry.connectors.salesforce import Salesforce, SalesforceConfig, SalesforceStream
from consentry.testing.sandbox import Sandbox
from tests.connectors.nothing_is_lost import NothingIsLost

_accounts = count()
STAMP = "2026-03-02T11:00:00Z"


class _AgainstSandbox(NothingIsLost):
    """A vendor of the sandbox, with few records a page. match: the requests for records."""

    vendor = ""
    match = ""

    @pytest.fixture(autouse=True)
    def _sandbox(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        # Their methods of loading differ, so that the tests below know their vendors.
        self.simulator: Any = sandbox.vendors[self.vendor]
        self.fill()

    def fill(self) -> None:
        raise NotImplementedError

    def made(self, maker: Any, config: Any, **streams: Any) -> Source:
        account = f"contract-{next(_accounts)}"
        source = maker(config, streams=streams, account=account, sleep=lambda seconds: None)
        assert isinstance(source, Source)
        return source

    def inject(self, **fault: Any) -> None:
        self.sandbox.fault(match=self.match, **fault)

    def clear(self) -> None:
        self.sandbox.clear_faults()

    def requests(self) -> int:
        return sum(self.match.strip("*") in seen.path for seen in self.sandbox.requests)


class TestSalesforce(_AgainstSandbox):
    vendor, match, secrets = "salesforce", "*/v67.0/query*", ("sandbox-salesforce",)
    key = ("Id",)
    renews = True

    def fill(self) -> None:
        self.simulator.page_rows = 7
        stamp = STAMP.replace("Z", ".000Z")
        self.simulator.put("Contact", [{"Id": f"003{n:012d}AAA", "SystemModstamp": stamp} for n in range(30)])

    def make(self) -> Source:
        login = {"client_id": "sandbox-client", "client_secret": "sandbox-salesforce"}
        config = SalesforceConfig.model_validate({"base_url": self.sandbox.url("salesforce"), **login})
        return self.made(Salesforce, config, contacts=SalesforceStream(fields=("LastName",), via="rest"))

    def make_empty(self) -> Source:
        self.simulator.reset()
        return self.make()

    def requests(self) -> int:
        return sum("/query" in seen.path for seen in self.sandbox.requests)

    def expected(self) -> set[tuple[str, ...]]:
        return {(f"003{n:012d}AAA",) for n in range(30)}


class TestSalesforceBulk(TestSalesforce):
    match = "*/jobs/query*"

    def fill(self) -> None:
        super().fill()
        self.simulator.portion_rows = 7

    def make(self) -> Source:
        login = {"client_id": "sandbox-client", "client_secret": "sandbox-salesforce"}
        config = SalesforceConfig.model_validate({"base_url": self.sandbox.url("salesforce"), **login})
        return self.made(Salesforce, config, contacts=SalesforceStream(fields=("LastName",), via="bulk"))

    def make_empty(self) -> Source:
        pytest.skip("a job is started, looked at and fetched, whatever it finds")


class TestPipedrive(_AgainstSandbox):
    vendor, match, secrets = "pipedrive", "/persons", ("sandbox-pipedrive",)

    def fill(self) -> None:
        self.simulator.put("persons", [{"id": n, "update_time": STAMP} for n in range(1, 1301)])

    def make(self) -> Source:
        self.simulator.turned_away = 0
        url = self.sandbox.url("pipedrive")
        config = PipedriveConfig.model_validate({"base_url": url, "token": "sandbox-pipedrive"})
        return self.made(Pipedrive, config, persons=NoOptions())

    def make_empty(self) -> Source:
        self.simulator.reset()
        return self.make()

    def expected(self) -> set[tuple[str, ...]]:
        return {(str(n),) for n in range(1, 1301)}


class TestIntercom(_AgainstSandbox):
    vendor, match, secrets = "intercom", "/contacts/search", ("sandbox-intercom",)

    def fill(self) -> None:
        self.simulator.put({"id": str(n), "updated_at": 1_770_000_000 + n // 100} for n in range(400))

    def make(self) -> Source:
        url = self.sandbox.url("intercom")
        config = IntercomConfig.model_validate({"base_url": url, "token": "sandbox-intercom"})
        return self.made(Intercom, config, contacts=NoOptions())

    def make_empty(self) -> Source:
        self.simulator.reset()
        return self.make()

    def expected(self) -> set[tuple[str, ...]]:
        return {(str(n),) for n in range(400)}
