"""What a CRM with one token and one API is made of: its client, its streams by name, fields of one's own."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Generic, TypeVar

import httpx
from pydantic import Field, SecretStr

from consentry.connectors.base import Check, ConnectorConfig, Stream
from consentry.connectors.http import BaseUrl, HttpClient, HttpFailed, failing_as
from consentry.connectors.quota import Limit
from consentry.connectors.retry import RetryPolicy, retry_after
from consentry.errors import RetryLater, SourceFailed


class TokenConfig(ConnectorConfig):
    """The account, how to log in, and how far a window of changes reaches back into the last."""

    base_url: BaseUrl = Field(description="Where the API is.")
    token: SecretStr = Field(description="The API's token, as ${VARIABLE}.")
    overlap_minutes: int = Field(ge=0, le=1440, description="How far each window reaches back into the last.")


C = TypeVar("C", bound=TokenConfig)


class TokenSource(ABC, Generic[C]):
    """Base of such sources.

    vendor: its name in sentences. shown: the streams of a job that names none. limits: the account's quota. probe: a
    path, with its query, that anybody who is logged in may read, and what it shows.
    """

    vendor: ClassVar[str]
    shown: ClassVar[tuple[str, ...]]
    limits: ClassVar[Sequence[Limit]]
    probe: ClassVar[tuple[str, Mapping[str, str], str]]
    policy: ClassVar[RetryPolicy] = RetryPolicy()

    def __init__(
        self,
        config: C,
        *,
        streams: Mapping[str, ConnectorConfig] | None = None,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._streams, self._now = tuple(streams or self.shown), now
        self._overlap = timedelta(minutes=config.overlap_minutes)
        # The fields of one's own that each kind of record has, once they were asked for.
        self._own: dict[str, tuple[str, ...]] = {}
        self.http = HttpClient(
            config.base_url,
            vendor=self.vendor,
            account=account or config.base_url,
            headers=lambda: self.headers(config.token.get_secret_value()),
            limits={"": self.limits},
            policy=self.policy,
            pause=self.pause,
            turned_away=self.turned_away,
            transport=transport,
            sleep=sleep,
        )

    @abstractmethod
    def headers(self, token: str) -> Mapping[str, str]:
        """Return the headers of every request."""

    # Bodies of errors are JSON of any shape.
    def pause(self, status: int, headers: Mapping[str, str], body: Any) -> float | None:
        """Read how long to wait from an answer that refuses."""
        return retry_after(headers.get("retry-after"), datetime.now(UTC))

    def turned_away(self, status: int, headers: Mapping[str, str], body: Any) -> bool:
        """Tell whether an answer means "too many calls" although its status is not 429."""
        return False

    @abstractmethod
    def described(self, name: str) -> Stream | None:
        """Describe a stream; None when the name means nothing here."""

    def check(self) -> Check:
        """Log in by reading what anybody may read."""
        path, params, seen = self.probe
        try:
            self.http.request("GET", path, params=params)
        except (HttpFailed, RetryLater) as error:
            return Check(False, str(error))
        return Check(True, f"{self.vendor} accepts the token{seen}.")

    def discover(self) -> list[Stream]:
        """List the streams that the job names, all when it names none, each with the account's own fields."""
        with failing_as(SourceFailed):
            return [stream for name in self._streams if (stream := self.described(name)) is not None]
