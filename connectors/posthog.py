"""PostHog as a source: events through the query endpoint, persons through their list."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

import httpx
from pydantic import AwareDatetime, Field, SecretStr

from consentry.connectors.base import Check, ConnectorConfig, Page, State, Stream
from consentry.connectors.export_lines import Row, as_text, text_batch, text_schema
from consentry.connectors.http import BaseUrl, HttpClient, HttpFailed, failing_as
from consentry.connectors.paging import Cursors, repeated
from consentry.connectors.quota import Limit
from consentry.errors import RetryLater, SourceFailed

EVENT_COLUMNS = ("uuid", "event", "distinct_id", "person_id", "occurred_at", "properties")
PERSON_COLUMNS = ("id", "email", "name", "distinct_ids", "created_at", "properties")
# Private endpoints (PostHog, "API overview", November 2026).
LIMITS = {"": (Limit(240, 60.0), Limit(1_200, 3_600.0))}
PERSONS_PAGE = 100
# In the order of (timestamp, uuid), behind the last event read: any number of events may share a timestamp.
_EVENTS = (
    "SELECT toString(uuid), event, distinct_id, toString(person_id), toString(timestamp), properties FROM events"
    " WHERE timestamp < toDateTime64({until}, 6, 'UTC') AND (timestamp > toDateTime64({since}, 6, 'UTC')"
    " OR (timestamp = toDateTime64({since}, 6, 'UTC') AND toString(uuid) > {last}))"
    " ORDER BY timestamp, toString(uuid)"
)


class PostHogConfig(ConnectorConfig):
    """The project, and who reads it."""

    project_id: str = Field(pattern=r"^\d+$", description="The project's number.")
    api_key: SecretStr = Field(description="A personal API key with query:read and person:read, as ${VARIABLE}.")
    base_url: BaseUrl = Field(
        default="https://us.posthog.com", description="Where the private API is; https://eu.posthog.com in the EU."
    )
    start: AwareDatetime = Field(description="Since when events are read, with its zone.")
    late_hours: int = Field(
        default=72, ge=0, description="How far back each run reads again, for events that come late."
    )
    page_rows: int = Field(default=10_000, ge=1, le=50_000, description="How many events one query asks for.")


class PostHog:
    """The events and persons of one PostHog project.

    Proof level D: documentation only. The list of persons has no modified date: each read brings all of them, use
    mode `snapshot`. For tens of millions of events use PostHog's batch exports and the files source.
    """

    Config: ClassVar[type[ConnectorConfig]] = PostHogConfig

    def __init__(
        self,
        config: PostHogConfig,
        *,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config, self._now = config, now
        self._path = f"/api/projects/{config.project_id}"
        self.http = HttpClient(
            config.base_url,
            vendor="PostHog",
            account=account or config.base_url,
            headers=lambda: {"Authorization": f"Bearer {config.api_key.get_secret_value()}"},
            limits=LIMITS,
            transport=transport,
            sleep=sleep,
        )

    def check(self) -> Check:
        """Log in by counting the persons, and by a query that reads nothing."""
        try:
            count = self._persons_page(f"{self._path}/persons/", {"limit": "1"}).get("count")
            self._query("SELECT 1 LIMIT 1", {})
        except (HttpFailed, SourceFailed, RetryLater) as error:
            return Check(False, str(error))
        known = f"{count:,} persons" if isinstance(count, int) else "persons"
        return Check(True, f"PostHog accepts the key; project {self._config.project_id} has {known}.")

    def discover(self) -> list[Stream]:
        """List the two streams there are."""
        about = "Events; the last late_hours come again in each run and replace themselves by their uuid."
        return [
            Stream("events", ("uuid",), text_schema(EVENT_COLUMNS), cursor="occurred_at", description=about),
            Stream("persons", ("id",), text_schema(PERSON_COLUMNS), description="Persons, all of them."),
        ]

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield the events since `state` (the last `late_hours` again), or all persons."""
        with failing_as(SourceFailed):
            yield from self._events(state) if stream.name == "events" else self._persons(state)

    def _events(self, state: State) -> Iterator[Page]:
        at = dict(state)
        if "until" not in at or at.get("done"):
            since = self._config.start
            if at.get("done"):
                since = max(since, datetime.fromisoformat(at["until"]) - timedelta(hours=self._config.late_hours))
            at = {"since": _text(since), "last": "", "until": _text(self._now())}
        while True:
            values = {name: at[name] for name in ("since", "last", "until")}
            found = self._query(f"{_EVENTS} LIMIT {self._config.page_rows}", values)
            if len(found) < self._config.page_rows:
                at = {"until": at["until"], "done": True}
            else:
                behind = {"since": found[-1][4], "last": found[-1][0]}
                if (behind["since"], behind["last"]) == (at["since"], at["last"]):
                    raise repeated("PostHog")
                at |= behind
            yield Page(text_batch((_event(one) for one in found), EVENT_COLUMNS), dict(at))
            if at.get("done"):
                return

    def _query(self, query: str, values: Mapping[str, str]) -> list[list[Any]]:
        body = {"query": {"kind": "HogQLQuery", "query": query, "values": values}}
        answer = self.http.request("POST", f"{self._path}/query/", body=body, repeatable=True).body
        if not isinstance(answer, Mapping) or not isinstance(answer.get("results"), list):
            raise _strange()
        rows: list[list[Any]] = answer["results"]
        return rows

    def _persons(self, state: State) -> Iterator[Page]:
        link: str | None = state.get("next") or f"{self._path}/persons/?{urlencode({'limit': PERSONS_PAGE})}"
        cursors = Cursors("PostHog")
        cursors.follow(link)
        while link:
            path, _, query = link.partition("?")
            answer = self._persons_page(path, dict(httpx.QueryParams(query)))
            following = answer.get("next")
            link = None
            if following:
                there, params = self.http.next_path(str(following))
                link = cursors.follow(f"{there}?{urlencode(params)}")
            yield Page(text_batch((_person(one) for one in answer["results"]), PERSON_COLUMNS), {"next": link})

    def _persons_page(self, path: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        answer = self.http.request("GET", path, params=params).body
        if not isinstance(answer, Mapping) or not isinstance(answer.get("results"), list):
            raise _strange()
        return answer


def _event(row: list[Any]) -> Row:
    uuid, event, distinct_id, person_id, at, properties = row
    occurred = datetime.fromisoformat(at)
    return {
        "uuid": uuid,
        "event": event,
        "distinct_id": distinct_id,
        "person_id": person_id,
        "occurred_at": _text(occurred.replace(tzinfo=occurred.tzinfo or UTC)),
        "properties": as_text(properties),
    }


def _person(found: Mapping[str, Any]) -> Row:
    properties = found.get("properties") or {}
    return {
        "id": as_text(found.get("uuid")) or as_text(found.get("id")),
        "email": as_text(properties.get("email")),
        "name": as_text(properties.get("name")),
        "distinct_ids": as_text(found.get("distinct_ids")),
        "created_at": as_text(found.get("created_at")),
        "properties": as_text(properties),
    }


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _strange() -> SourceFailed:
    return SourceFailed("PostHog answered in a shape that is not its own. Check base_url.", code="bad_answer")
