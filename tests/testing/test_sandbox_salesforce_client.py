"""simple-salesforce, a client that others use against Salesforce itself, works against the simulator."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.salesforce import Salesforce

pytestmark = pytest.mark.filterwarnings("ignore")
client = pytest.importorskip("simple_salesforce", reason="Install the dependency group `reference`.")
requests: Any = pytest.importorskip("requests", reason="Install the dependency group `reference`.")


def _session(sandbox: Sandbox) -> Any:
    """A session that takes https://NAME.salesforce.com for the simulator, which the client cannot be told."""

    class ToSandbox(requests.adapters.HTTPAdapter):  # type: ignore[misc]
        def send(self, request: Any, *args: Any, **more: Any) -> Any:
            path = "/services/" + request.url.split("/services/", 1)[1]
            request.url = sandbox.url("salesforce") + path
            return super().send(request, *args, **more)

    session = requests.Session()
    session.mount("https://", ToSandbox())
    return session


@pytest.fixture
def org(sandbox: Sandbox) -> Salesforce:
    vendor = sandbox.vendors["salesforce"]
    assert isinstance(vendor, Salesforce)
    stamp = "2026-03-02T11:00:00.000Z"
    vendor.page_rows = 20
    vendor.put(
        "Contact",
        [
            {
                "Id": f"003{n:012d}AAA",
                "LastName": f'Name "{n}",\nsecond line',
                "SystemModstamp": stamp,
                "IsDeleted": n == 7,
            }
            for n in range(1, 51)
        ],
    )
    return vendor


def test_the_client_logs_in_queries_and_runs_a_bulk_job(sandbox: Sandbox, org: Salesforce) -> None:
    """simple-salesforce 1.12: client credentials, nextRecordsUrl, queryAll, Bulk API 2.0 with its locators."""
    org.portion_rows = 20
    made: Any = client.Salesforce(
        domain="sandbox.my",
        consumer_key="sandbox-client",
        consumer_secret="sandbox-salesforce",
        session=_session(sandbox),
        version="67.0",
    )
    query = "SELECT Id, LastName FROM Contact ORDER BY Id ASC"
    assert made.query_all(query)["totalSize"] == 49
    assert len(made.query_all(query)["records"]) == 49
    assert len(made.query_all(query, include_deleted=True)["records"]) == 50
    portions = list(made.bulk2.Contact.query(query, wait=0.01))
    rows = [row for portion in portions for row in csv.DictReader(io.StringIO(portion))]
    assert len(portions) == 3 and len(rows) == 49
    assert rows[0]["LastName"] == 'Name "1",\nsecond line'
    assert {field["name"] for field in made.Contact.describe()["fields"]} >= {"Id", "LastName", "IsDeleted"}
    with pytest.raises(client.exceptions.SalesforceMalformedRequest, match="INVALID_FIELD"):
        made.query("SELECT Nothing FROM Contact")


def test_the_client_logs_in_with_a_signed_assertion(sandbox: Sandbox, org: Salesforce) -> None:
    key = generate_private_key(65537, 2048)
    org.logins.public_key = key.public_key()
    made: Any = client.Salesforce(
        username="integration@example.com",
        consumer_key="sandbox-client",
        privatekey=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        session=_session(sandbox),
        version="67.0",
    )
    assert made.limits()["DailyApiRequests"]["Max"] > 0
