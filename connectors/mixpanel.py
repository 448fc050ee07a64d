"""Mixpanel as a source: raw events from the export API, user profiles from the query API."""

from __future__ import annotations

import base64
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, BinaryIO, ClassVar, Literal, cast
from zoneinfo import ZoneInfo, available_timezones

import httpx
from pydantic import Field, SecretStr, field_validator

from consentry.connectors.base import Check, ConnectorConfig, Page, State, Stream
from consentry.connectors.export_lines import Row, as_text, instant, line_id, read_lines, text_batch, text_schema
from consentry.connectors.http import BaseUrl, HttpClient, HttpFailed, failing_as
from consentry.connectors.quota import Limit
from consentry.connectors.retry import retry_after
from consentry.errors import RetryLater, SourceFailed

EVENT_COLUMNS = (
    "event",
    "distinct_id",
    "insert_id",
    "occurred_at",
    "processed_at",
    "user_id",
    "device_id",
    "properties",
)
PROFILE_COLUMNS = ("distinct_id", "email", "phone", "name", "first_name", "last_name", "last_seen", "properties")
# export.openapi.yaml and query.openapi.yaml (mixpanel/docs @ba229069): 60 an hour each; the export also 3 a second.
LIMITS = {"export": (Limit(60, 3600.0), Limit(3, 1.0)), "engage": (Limit(60, 3600.0),)}
_HOSTS = {"us": ("data", "mixpanel"), "eu": ("data-eu", "eu.mixpanel"), "in": ("data-in", "in.mixpanel")}


class MixpanelConfig(ConnectorConfig):
    """The project, and the service account that reads it."""

    project_id: int = Field(description="The project's number.")
    username: str = Field(description="The service account's user name.")
    secret: SecretStr = Field(description="The service account's secret, as ${VARIABLE}.")
    residency: Literal["us", "eu", "in"] = Field(default="us", description="Where the project's data is kept.")
    base_url: BaseUrl | None = Field(default=None, description="Another host for both APIs; a proxy or a simulator.")
    start_date: date = Field(description="The first day of events to read.")
    time_zone: str = Field(
        default="UTC",
        description="The zone of the export's days: UTC for projects created since January 2023, else the project's.",
    )
    local_times: bool = Field(
        default=False,
        description="Whether the events' times count from midnight in time_zone instead of UTC, as old projects' do.",
    )
    window_days: int = Field(default=7, ge=1, le=365, description="How many days one export request covers.")
    late_days: int = Field(
        default=5, ge=0, le=60, description="How many days back each run reads again, for late events."
    )

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError("this time zone is not known; write UTC, Europe/Berlin or the like")
        return name


class MixpanelStream(ConnectorConfig):
    """What of a stream is read."""

    events: tuple[str, ...] = Field(default=(), description="For events: the names to read; all of them by default.")
    cohort: int | None = Field(default=None, description="For profiles: only the members of the cohort of this number.")


class Mixpanel:
    """The events and profiles of one Mixpanel project.

    Proof level B: requests and the simulator's answers are checked against the published description; no client of
    the vendor's reads this API. `profiles` has no modified date, so that each read brings all: use mode `snapshot`.
    """

    Config: ClassVar[type[ConnectorConfig]] = MixpanelConfig
    StreamOptions: ClassVar[type[ConnectorConfig]] = MixpanelStream

    def __init__(
        self,
        config: MixpanelConfig,
        *,
        streams: Mapping[str, MixpanelStream] | None = None,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config, self._streams, self._now = config, dict(streams or {}), now
        self._zone = ZoneInfo(config.time_zone)
        data, query = (f"https://{host}.com" for host in _HOSTS[config.residency])
        secret = f"{config.username}:{config.secret.get_secret_value()}"
        headers = {
            "Authorization": "Basic " + base64.b64encode(secret.encode()).decode(),
            # The only value that the description allows.
            "Accept-Encoding": "gzip",
        }

        def client(base_url: str) -> HttpClient:
            return HttpClient(
                config.base_url or base_url,
                vendor="Mixpanel",
                account=account or f"{config.project_id}",
                headers=lambda: headers,
                limits=LIMITS,
                pause=_pause,
                transport=transport,
                sleep=sleep,
            )

        self._data, self._query = client(data), client(query)

    def check(self) -> Check:
        """Log in by asking for one profile at most."""
        try:
            total = self._engage({}).get("total", 0)
        except (HttpFailed, SourceFailed, RetryLater) as error:
            return Check(False, str(error))
        return Check(
            True, f"Mixpanel accepts the service account; project {self._config.project_id} has {total} profiles."
        )

    def discover(self) -> list[Stream]:
        """List the two streams there are."""
        return [
            Stream(
                "events",
                ("event", "occurred_at", "distinct_id", "insert_id"),
                text_schema(EVENT_COLUMNS),
                cursor="occurred_at",
                description="Raw events; late ones are read again and replace themselves by their key.",
            ),
            Stream(
                "profiles", ("distinct_id",), text_schema(PROFILE_COLUMNS), description="User profiles, all of them."
            ),
        ]

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield the events since `state` (the last `late_days` again), or all profiles."""
        with failing_as(SourceFailed):
            yield from self._events(state) if stream.name == "events" else self._profiles(state)

    def _events(self, state: State) -> Iterator[Page]:
        today = self._now().astimezone(self._zone).date()
        first = self._first_day(state)
        while first <= today:
            last = min(date.fromisoformat(state["to"]), today) if "to" in state else self._end(first, today)
            reading = {"from": first.isoformat(), "to": last.isoformat()}
            mark = state.get("mark") if state.get("to") == last.isoformat() else None
            with tempfile.TemporaryFile() as file:
                self._export(first, last, cast(BinaryIO, file))
                for rows, behind in read_lines(lambda: _from_start(file), self._event, mark):
                    yield Page(text_batch(rows, EVENT_COLUMNS), {**reading, "mark": dict(behind)})
            first = last + timedelta(days=1)
            # The days that may change are read again by the next run, not within this one.
            state = {"next" if first > today else "from": first.isoformat()}
            yield Page(text_batch([], EVENT_COLUMNS), state)

    def _end(self, first: date, today: date) -> date:
        return min(first + timedelta(days=self._config.window_days - 1), today)

    def _first_day(self, state: State) -> date:
        if "from" in state:
            return date.fromisoformat(state["from"])
        if "next" not in state:
            return self._config.start_date
        back = date.fromisoformat(state["next"]) - timedelta(days=self._config.late_days + 1)
        return max(back, self._config.start_date)

    def _export(self, first: date, last: date, file: BinaryIO) -> None:
        params = {
            "project_id": str(self._config.project_id),
            "from_date": first.isoformat(),
            "to_date": last.isoformat(),
            "time_in_ms": "true",
        }
        names = self._options("events").events
        if names:
            params["event"] = json.dumps(list(names))
        self._data.request("GET", "/api/2.0/export", params=params, into=file, operation="export")

    def _event(self, line: Mapping[str, Any]) -> Row:
        """Lay one event out; raises ValueError or TypeError when it has no name or no time."""
        found = dict(line["properties"]) if isinstance(line.get("properties"), dict) else {}
        if not isinstance(line.get("event"), str) or not isinstance(found.get("time"), int | float):
            raise ValueError("no event")
        processed = found.get("mp_processing_time_ms")
        return {
            "event": line["event"],
            "distinct_id": as_text(found.get("distinct_id")),
            "insert_id": as_text(found.get("$insert_id")) or line_id(line),
            "occurred_at": self._instant(found["time"]),
            "processed_at": instant(processed / 1000) if isinstance(processed, int) else None,
            "user_id": as_text(found.get("$user_id")),
            "device_id": as_text(found.get("$device_id")),
            "properties": as_text({key: value for key, value in found.items() if key != "time"}),
        }

    def _instant(self, milliseconds: float) -> str:
        if not self._config.local_times:
            return instant(milliseconds / 1000)
        local = datetime.fromtimestamp(milliseconds / 1000, UTC).replace(tzinfo=self._zone)
        return instant(local.timestamp())

    def _profiles(self, state: State) -> Iterator[Page]:
        page, session = int(state.get("page", 0)), str(state.get("session_id", ""))
        while True:
            try:
                answer = self._engage({"page": str(page), "session_id": session} if page else {})
            except HttpFailed as refused:
                if refused.status != 400 or "page" not in state:
                    raise
                # The session of an earlier read is over: what it gave is given again, and replaces itself.
                page, session, state = 0, "", {}
                continue
            found, size, session = answer["results"], answer["page_size"], str(answer.get("session_id", ""))
            if answer.get("page") != page:
                raise SourceFailed(
                    f"Mixpanel answered page {page} of the profiles with another page. Run again.",
                    code="repeated_cursor",
                )
            page += 1
            ended = len(found) < size or not found
            following = {} if ended else {"page": page, "session_id": session}
            yield Page(text_batch([_profile(one) for one in found], PROFILE_COLUMNS), following)
            if ended:
                return

    def _engage(self, form: Mapping[str, str]) -> dict[str, Any]:
        cohort = self._options("profiles").cohort
        if cohort is not None:
            form = {**form, "filter_by_cohort": json.dumps({"id": cohort}), "include_all_users": "false"}
        answer = self._query.request(
            "POST",
            "/api/query/engage",
            params={"project_id": str(self._config.project_id)},
            form=form,
            repeatable=True,
            operation="engage",
        ).body
        if not isinstance(answer, dict) or not isinstance(answer.get("results"), list) or "page_size" not in answer:
            raise SourceFailed("Mixpanel answered in a shape that is not its own. Check base_url.", code="bad_answer")
        return answer

    def _options(self, stream: str) -> MixpanelStream:
        return self._streams.get(stream, MixpanelStream())


def _from_start(file: Any) -> Any:  # a temporary file, whose type has no common name
    file.seek(0)
    return file


def _profile(found: Mapping[str, Any]) -> Row:
    known = found.get("$properties") or {}
    text = {name: as_text(known.get(f"${name}")) for name in PROFILE_COLUMNS[1:-1]}
    return {"distinct_id": as_text(found.get("$distinct_id")), **text, "properties": as_text(known)}


def _pause(status: int, headers: Mapping[str, str], _body: Any) -> float | None:
    """Read how long to wait: a 429 without a date means that the hour's 60 queries are used up."""
    after = retry_after(headers.get("retry-after"), datetime.now(UTC))
    return 3600.0 if after is None and status == 429 else after
