"""Amplitude as a source: the event export, hour of upload by hour of upload."""

from __future__ import annotations

import base64
import gzip
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, BinaryIO, ClassVar, cast

import httpx
from pydantic import AwareDatetime, Field, SecretStr

from consentry.connectors.base import Check, ConnectorConfig, Page, State, Stream
from consentry.connectors.export_lines import Row, as_text, line_id, read_lines, text_batch, text_schema
from consentry.connectors.http import BaseUrl, HttpClient, HttpFailed, failing_as
from consentry.errors import RetryLater, SourceFailed

COLUMNS = (
    "uuid", "event_type", "user_id", "device_id", "amplitude_id", "insert_id", "occurred_at", "uploaded_at",
    "event_properties", "user_properties", "payload",
)  # fmt: skip
# What is uploaded within an hour can be exported two hours after its end at the latest (Export API, November 2026).
LAG = timedelta(hours=2)
_HOUR = timedelta(hours=1)
_DAMAGED = (zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error)


class AmplitudeConfig(ConnectorConfig):
    """The project, and its keys."""

    api_key: SecretStr = Field(description="The project's API key, as ${VARIABLE}.")
    secret_key: SecretStr = Field(description="The project's secret key, as ${VARIABLE}.")
    base_url: BaseUrl = Field(
        default="https://amplitude.com", description="Where the API is; https://analytics.eu.amplitude.com in the EU."
    )
    start: AwareDatetime = Field(description="The first hour of upload to read, with its zone.")
    window_hours: int = Field(default=24, ge=1, le=8_760, description="How many hours one export covers at most.")


class Amplitude:
    """The events of one Amplitude project, by the hour in which Amplitude received them.

    An event of last week that a phone delivers today is in today's export: reading by upload hour misses nothing and
    repeats nothing. Proof level D: documentation only.
    """

    Config: ClassVar[type[ConnectorConfig]] = AmplitudeConfig

    def __init__(
        self,
        config: AmplitudeConfig,
        *,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config, self._now = config, now
        keys = f"{config.api_key.get_secret_value()}:{config.secret_key.get_secret_value()}"
        headers = {"Authorization": "Basic " + base64.b64encode(keys.encode()).decode()}
        self.http = HttpClient(
            config.base_url,
            vendor="Amplitude",
            account=account or config.base_url,
            headers=lambda: headers,
            transport=transport,
            sleep=sleep,
        )

    def check(self) -> Check:
        """Log in by exporting one hour."""
        hour = _hour(self._now() - LAG) - 2 * _HOUR
        try:
            with tempfile.TemporaryFile() as file:
                there = self._export(hour, hour, cast(BinaryIO, file))
        except (HttpFailed, RetryLater) as error:
            return Check(False, str(error))
        return Check(
            True, f"Amplitude accepts the keys; the hour {hour:%Y-%m-%dT%H} UTC has {'some' if there else 'no'} events."
        )

    def discover(self) -> list[Stream]:
        """List the one stream there is."""
        return [
            Stream("events", ("uuid",), text_schema(COLUMNS), cursor="uploaded_at", description="Events as uploaded.")
        ]

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield what was uploaded since `state`, up to the last hour that is whole."""
        with failing_as(SourceFailed):
            end = _hour(self._now() - LAG) - _HOUR
            hours = self._config.window_hours
            while (first := _at(state["next"]) if "next" in state else _hour(self._config.start)) <= end:
                last = _at(state["to"]) if "to" in state else min(first + (hours - 1) * _HOUR, end)
                try:
                    for page in self._window(first, last, state):
                        state = page.state
                        yield page
                except _TooLarge:
                    # More than 4 GB are refused; the window is halved until it fits.
                    hours = max(1, hours // 2)
                    state = {"next": _text(first)}

    def _window(self, first: datetime, last: datetime, state: State) -> Iterator[Page]:
        with tempfile.TemporaryFile() as file:
            if self._export(first, last, cast(BinaryIO, file)):
                yield from self._pages(cast(BinaryIO, file), first, last, state)
        yield Page(text_batch([], COLUMNS), {"next": _text(last + _HOUR)})

    def _export(self, first: datetime, last: datetime, file: BinaryIO) -> bool:
        """Bring an export into the file; False when there are no events. Raises _TooLarge."""
        params = {"start": f"{first:%Y%m%dT%H}", "end": f"{last:%Y%m%dT%H}"}
        try:
            self.http.request("GET", "/api/2/export", params=params, into=file)
        except HttpFailed as refused:
            if refused.status == 404:
                return False
            if refused.status == 400 and last > first:
                raise _TooLarge from None
            raise
        return True

    def _pages(self, file: BinaryIO, first: datetime, last: datetime, state: State) -> Iterator[Page]:
        reading = {"next": _text(first), "to": _text(last)}
        done = list(state.get("files", []))
        damaged = False
        try:
            with zipfile.ZipFile(file) as archive:
                for name in sorted(one.filename for one in archive.infolist() if not one.is_dir()):
                    if name in done:
                        continue
                    mark = state.get("mark") if state.get("file") == name else None
                    for rows, behind in read_lines(partial(_lines, archive, name), _event, mark):
                        at = {"files": list(done), "file": name, "mark": dict(behind)}
                        yield Page(text_batch(rows, COLUMNS), {**reading, **at})
                    done.append(name)
        except _DAMAGED:
            damaged = True
        if damaged:
            raise SourceFailed(
                "An export of Amplitude is damaged. Run again; it is fetched anew.", code="damaged_export"
            )


class _TooLarge(Exception):
    """An export of more than one hour was refused; it may be too large."""


def _lines(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    with archive.open(name) as packed, gzip.GzipFile(fileobj=packed) as lines:
        yield from lines


def _event(line: Mapping[str, Any]) -> Row:
    """Lay one event out; times of the export are in UTC. Raises ValueError when it has no type or time."""
    if not isinstance(line.get("event_type"), str):
        raise ValueError("no event")
    return {
        "uuid": as_text(line.get("uuid")) or line_id(line),
        "event_type": line["event_type"],
        **{name: as_text(line.get(name)) for name in ("user_id", "device_id", "amplitude_id")},
        "insert_id": as_text(line.get("$insert_id")),
        "occurred_at": _utc(line["event_time"]),
        "uploaded_at": _utc(line["server_upload_time"]) if line.get("server_upload_time") else None,
        "event_properties": as_text(line.get("event_properties")),
        "user_properties": as_text(line.get("user_properties")),
        "payload": as_text(dict(line)),
    }


def _utc(text: Any) -> str:
    try:
        at = datetime.fromisoformat(text)
    except TypeError:
        raise ValueError("no time") from None
    return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _text(hour: datetime) -> str:
    return f"{hour:%Y-%m-%dT%H}"


def _at(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC)
