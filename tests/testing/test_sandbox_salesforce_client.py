"""simple-salesforce, a client that others use against Salesforce itself, works against the simulator."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from consentry.connectors.base import Ok
from consentry.connectors.salesforce import Salesforce as Destination
from consentry.connectors.salesforce import SalesforceConfig
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.salesforce import Salesforce
from tests.connectors.recorder import Recorder, batch, person, through

pytestmark = pytest.mark.filterwarnings("ignore")
client = pytest.importorskip("simple_salesforce", reason="Install the dependency group `reference`.")
requests: Any = pytest.importorskip("requests", reason="Install the dependency group `reference`.")


def _session(sandbox: Sandbox) -> Any:
    """A session that takes https://NAME.salesforce.com for the simulator, which the client cannot be told."""

    class ToSandbox(requests.adapters.HTTPAdapter):  # type: ignore[misc]
        def send(self, request: Any, *args: Any, **more: Any) -> Any:
            session.sent.append(request)
            path = "/services/" + request.url.split("/services/", 1)[1]
            request.url = sandbox.url("salesforce") + path
            return super().send(request, *args, **more)

    session = requests.Session()
    session.sent = []
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


def test_our_ingest_job_asks_for_what_the_clients_does(sandbox: Sandbox, org: Salesforce) -> None:
    with org.lock:
        org.objects.declare("Contact", {"In__c": "boolean"})
    session, recorder, named = _session(sandbox), Recorder(), f"003{1:012d}AAA"
    logged_in = {"consumer_key": "sandbox-client", "consumer_secret": "sandbox-salesforce"}
    made: Any = client.Salesforce(domain="sandbox.my", session=session, version="67.0", **logged_in)
    (told,) = made.bulk2.Contact.update(
        records=[{"Email": "person1@example.com", "Id": named, "In__c": "true"}], wait=0
    )
    assert (told["numberRecordsProcessed"], told["numberRecordsFailed"]) == (1, 0)
    assert named in made.bulk2.Contact.get_successful_records(told["job_id"])
    settings = {"base_url": sandbox.url("salesforce"), "client_id": "sandbox-client", "bulk_from": 1}
    config = SalesforceConfig.model_validate({**settings, "client_secret": "sandbox-salesforce"})
    ours = Destination(config, account="ingest", transport=recorder, sleep=lambda seconds: None)
    assert through(ours, batch("In__c", person(1, named))) == [Ok(named)]
    theirs = [_asked(sent.method, sent.url, sent.body or b"") for sent in session.sent if "/ingest" in sent.url]
    seen = [_asked(sent.method, str(sent.url), sent.content) for sent in recorder.seen if "/ingest" in str(sent.url)]
    # Made, filled, closed.
    assert seen[:3] == theirs[:3] and len(theirs) > 3
    recorder.close()


def _asked(method: str, url: str, body: bytes | str) -> tuple[str, str, Any]:
    """Return a request in the terms of its vendor: without the job's id, and a table as its rows."""
    text = body.decode() if isinstance(body, bytes) else body
    path = re.sub("750[0-9A-Z]+", "ID", url.split("/services/", 1)[1])
    return (
        method,
        path,
        list(csv.DictReader(io.StringIO(text))) if path.endswith("/batches") else json.loads(text or "0"),
    )


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
