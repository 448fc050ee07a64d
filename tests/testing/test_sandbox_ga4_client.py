"""Google's own Data API client works against the sandbox: it is not merely what our connector expects."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from consentry.connectors.ga4 import GA4, GA4Config, GA4Stream
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.ga4 import GA4 as Simulator
from consentry.testing.sandbox.ga4 import PROPERTY, SCOPE, Visit

data: Any = pytest.importorskip("google.analytics.data_v1beta", reason="Install the dependency group `reference`.")
rest: Any = pytest.importorskip("google.analytics.data_v1beta.services.beta_analytics_data.transports.rest")
service_account: Any = pytest.importorskip("google.oauth2.service_account")
oauth2: Any = pytest.importorskip("google.oauth2.credentials")
wire: Any = pytest.importorskip("google.auth.transport.requests")
exceptions: Any = pytest.importorskip("google.api_core.exceptions")

# The client brings its own warnings, which are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")
CHANNEL = "sessionDefaultChannelGroup"


@pytest.fixture
def vendor(sandbox: Sandbox) -> Simulator:
    found = sandbox.vendors["ga4"]
    assert isinstance(found, Simulator)
    days = [date(2026, 3, day) for day in range(1, 11)]
    channels = ("Direct", "Email", "Organic Search")
    found.visits = [Visit(f"{day:%Y%m%d}", {CHANNEL: name}, {"sessions": 10}) for day in days for name in channels]
    return found


@pytest.fixture
def client(sandbox: Sandbox, vendor: Simulator) -> Any:
    """google-analytics-data 0.23 over REST, logged in by google-auth 2.62 at the key's `token_uri`.

    The client gets the token alone: with the whole key google-auth would look up where the account may be used from,
    at iamcredentials.googleapis.com, which cannot be pointed elsewhere.
    """
    key = json.loads(vendor.service_account(sandbox.url("ga4")))
    login = service_account.Credentials.from_service_account_info(key, scopes=[SCOPE])
    login.refresh(wire.Request())
    credentials = oauth2.Credentials(login.token)
    return data.BetaAnalyticsDataClient(
        transport=rest.BetaAnalyticsDataRestTransport(host=sandbox.url("ga4"), credentials=credentials)
    )


def _request(**more: Any) -> Any:
    return data.RunReportRequest(
        property=f"properties/{PROPERTY}",
        date_ranges=[data.DateRange(start_date="2026-03-01", end_date="2026-03-10")],
        dimensions=[data.Dimension(name="date"), data.Dimension(name=CHANNEL)],
        metrics=[data.Metric(name="sessions")],
        order_bys=[
            data.OrderBy(dimension=data.OrderBy.DimensionOrderBy(dimension_name=name)) for name in ("date", CHANNEL)
        ],
        return_property_quota=True,
        **more,
    )


def test_googles_client_logs_in_and_reads_the_rows_that_our_connector_reads(
    sandbox: Sandbox, vendor: Simulator, client: Any
) -> None:
    vendor.other_row = vendor.thresholded = True
    vendor.sampling = (5_000, 20_000)
    pages = [client.run_report(_request(limit=7, offset=offset)) for offset in range(0, 30, 7)]
    theirs = [
        (*(one.value for one in row.dimension_values), row.metric_values[0].value)
        for page in pages
        for row in page.rows
    ]
    config = GA4Config.model_validate(
        {
            "property_id": PROPERTY,
            "credentials": vendor.service_account(sandbox.url("ga4")),
            "base_url": sandbox.url("ga4"),
            "start_date": "2026-03-01",
        }
    )
    source = GA4(config, streams={"traffic": GA4Stream(dimensions=(CHANNEL,), metrics=("sessions",))}, account="theirs")
    (stream,) = source.discover()
    rows = [row for page in source.read(stream, {}) for row in page.records.to_pylist()]
    assert theirs == [(row["date"].replace("-", ""), row[CHANNEL], row["sessions"]) for row in rows]
    last = pages[-1]
    assert (last.row_count, last.metadata.time_zone, last.metadata.currency_code) == (30, "Europe/Berlin", "EUR")
    assert last.metadata.data_loss_from_other_row and last.metadata.subject_to_thresholding
    assert last.metadata.sampling_metadatas[0].samples_read_count == 5_000
    assert last.property_quota.tokens_per_day.remaining == 200_000 - 50


def test_googles_client_takes_the_sandboxs_refusals_for_googles(
    sandbox: Sandbox, vendor: Simulator, client: Any
) -> None:
    with pytest.raises(exceptions.BadRequest):
        client.run_report(data.RunReportRequest(property=f"properties/{PROPERTY}", metrics=[{"name": "mails"}]))
    with pytest.raises(exceptions.Forbidden):
        client.run_report(data.RunReportRequest(property="properties/999", metrics=[{"name": "sessions"}]))
    sandbox.enforce_limits()
    vendor.left["tokensPerDay"] = 5
    with pytest.raises(exceptions.TooManyRequests):
        client.run_report(_request())
