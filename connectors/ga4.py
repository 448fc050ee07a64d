"""Google Analytics 4 as a source of aggregates: reports of the Data API, day by day.

Figures change for about three days, so that each run asks for the last days again. What it gets replaces what
was there: a row whose dimensions come again by its key, and a row whose dimensions do not come again by one that
says so (`withdrawn`) with figures of zero. Sums over a day are therefore right after every run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import httpx
from pydantic import Field, SecretStr

from consentry.connectors.base import Check, ConnectorConfig, Page, State, Stream
from consentry.connectors.ga4_read import Read, Wanted, report_schema
from consentry.connectors.ga4_report import Quotas, Report
from consentry.connectors.google_login import google_login
from consentry.connectors.http import BaseUrl, HttpClient, HttpFailed, failing_as
from consentry.connectors.quota import Limit
from consentry.connectors.retry import retry_after
from consentry.errors import ConfigError, RetryLater, SourceFailed

SCOPE = "https://www.googleapis.com/auth/analytics.readonly"
# Ten requests at a time (Data API, "Limits and quotas", November 2026); reads here are one after the other.
LIMITS = {"": (Limit(10, 1.0),)}


class GA4Config(ConnectorConfig):
    """The property, and the service account that reads it."""

    property_id: str = Field(pattern=r"^\d+$", description="The property's number.")
    credentials: SecretStr = Field(description="The service account's JSON key, as ${VARIABLE}.")
    base_url: BaseUrl = Field(default="https://analyticsdata.googleapis.com", description="Where the API is.")
    start_date: date = Field(description="The first day to read, in the property's time zone.")
    refetch_days: int = Field(default=3, ge=0, le=60, description="How many of the last days each run asks for again.")
    window_days: int = Field(default=28, ge=1, le=365, description="How many days one report covers.")
    page_rows: int = Field(default=10_000, ge=1, le=250_000, description="How many rows one request asks for.")


class GA4Stream(ConnectorConfig):
    """A report. Each of its rows is of one day: `date` is always among the dimensions."""

    # At most 9 dimensions and 10 metrics a request (Data API, "Limits and quotas").
    dimensions: tuple[str, ...] = Field(default=(), max_length=8, description="Dimensions beside date.")
    metrics: tuple[str, ...] = Field(
        default=("activeUsers", "sessions"), min_length=1, max_length=10, description="What is counted."
    )


class GA4:
    """Reports of one Google Analytics 4 property. The streams are the reports that the job names.

    Its rows are counts of nobody in particular: there is nothing in them to merge profiles by, and they never are.
    Give the streams `entity: aggregate`.
    Proof level A: requests and the simulator's answers are checked against Google's discovery document, and Google's
    own client (google-analytics-data) reads the same rows from the simulator.
    """

    Config: ClassVar[type[ConnectorConfig]] = GA4Config
    StreamOptions: ClassVar[type[ConnectorConfig]] = GA4Stream

    def __init__(
        self,
        config: GA4Config,
        *,
        streams: Mapping[str, GA4Stream] | None = None,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config, self._now = config, now
        self._streams = dict(streams or {"traffic": GA4Stream()})
        self._quotas = Quotas()
        self._remarks: dict[str, None] = {}
        name = account or config.property_id
        login = google_login(config.credentials, SCOPE, account=name, transport=transport, sleep=sleep)
        self.http = HttpClient(
            config.base_url,
            vendor="Google Analytics",
            account=name,
            headers=login.headers,
            renew=login.renew,
            limits=LIMITS,
            pause=_pause,
            transport=transport,
            sleep=sleep,
        )

    def check(self) -> Check:
        """Log in by asking each report for yesterday's first row; names what is incomplete about it."""
        found: dict[str, None] = {}
        zone = ""
        try:
            for name, options in self._streams.items():
                yesterday = self._yesterday(options)
                report = self._run(options, yesterday, yesterday, offset=0, limit=1)
                found |= dict.fromkeys(report.remarks(name))
                zone = report.zone
        except (HttpFailed, SourceFailed, ConfigError, RetryLater) as error:
            return Check(False, str(error))
        about = " ".join(["Figures of it are aggregates and never merge profiles.", *found])
        return Check(True, f"Property {self._config.property_id} can be read; its days are in {zone}. {about}")

    def discover(self) -> list[Stream]:
        """List the reports of the job."""
        return [
            Stream(
                name,
                ("date", *options.dimensions),
                report_schema(("date", *options.dimensions), options.metrics),
                cursor="date",
                description="A report by day.",
            )
            for name, options in self._streams.items()
        ]

    def remarks(self) -> list[str]:
        """Return a sentence about each way in which what was read is incomplete."""
        return list(self._remarks)

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield the days since `state` up to yesterday, the last `refetch_days` of them again."""
        options = self._streams[stream.name]

        def run(first: date, end: date, offset: int) -> Report:
            report = self._run(options, first, end, offset=offset, limit=self._config.page_rows)
            self._remarks |= dict.fromkeys(report.remarks(stream.name))
            return report

        with failing_as(SourceFailed):
            wanted = Wanted(
                name=stream.name,
                dimensions=("date", *options.dimensions),
                metrics=options.metrics,
                start=self._config.start_date,
                last=self._yesterday(options),
                refetch=self._config.refetch_days,
                window=self._config.window_days,
            )
            yield from Read(wanted, state, run).pages()

    def _yesterday(self, options: GA4Stream) -> date:
        """Return the last day that is over in the property's own zone, which any report tells."""
        today = self._now().astimezone(UTC).date() - timedelta(days=1)
        zone = self._run(GA4Stream(metrics=options.metrics[:1]), today, today, offset=0, limit=1).zone
        return self._now().astimezone(ZoneInfo(zone)).date() - timedelta(days=1)

    def _run(self, options: GA4Stream, first: date, end: date, *, offset: int, limit: int) -> Report:
        self._quotas.await_next()
        names = ("date", *options.dimensions)
        body = {
            "dateRanges": [{"startDate": first.isoformat(), "endDate": end.isoformat()}],
            "dimensions": [{"name": name} for name in names],
            "metrics": [{"name": name} for name in options.metrics],
            "orderBys": [{"dimension": {"dimensionName": name}} for name in names],
            "offset": str(offset),
            "limit": str(limit),
            "returnPropertyQuota": True,
        }
        path = f"/v1beta/properties/{self._config.property_id}:runReport"
        report = Report.read(self.http.request("POST", path, body=body, repeatable=True).body)
        self._quotas.note(report.quota)
        return report


def _pause(status: int, headers: Mapping[str, str], body: Any) -> float | None:
    """Read how long to wait: a 429 says in words which of the property's quotas is used up."""
    after = retry_after(headers.get("retry-after"), datetime.now(UTC))
    if after is not None or status != 429:
        return after
    error = body.get("error") if isinstance(body, Mapping) else None
    words = str(error.get("message", "")).lower() if isinstance(error, Mapping) else ""
    if "concurrent" in words:
        return None
    return 86_400.0 if "per day" in words else 3_600.0
