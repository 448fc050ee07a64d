"""What destinations over HTTP share: an account, and one outcome for every row whatever comes back.

A connector says what it calls and reads its vendor's answers into `Outcomes`; what a lost answer, a refusal of
the whole batch or a long pause means for the rows is decided here, once.
"""

from __future__ import annotations

import base64
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import httpx

from consentry.connectors.base import Capabilities, Check, ConnectorConfig, Ok, Outcome, Rejected, Retry, Unknown
from consentry.connectors.http import Answer, AnswerLost, BaseUrl, HttpClient, HttpFailed, Pause, TurnedAway
from consentry.connectors.tokens import LoginRefused
from consentry.errors import ConsentryError, DestinationFailed, RetryLater, SkipRecord
from consentry.model.batch import Batch, Row

# Statuses with which vendors refuse what is in a request, not who asks.
REFUSALS = frozenset({400, 409, 413, 422})
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")


class Outcomes:
    """One outcome for each row of a batch, set in whatever order they become known; the first word counts."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._known: dict[int, Outcome] = {}

    def settle(self, place: int, outcome: Outcome) -> None:
        """Say what became of one row."""
        self._known.setdefault(place, outcome)

    def settle_rest(self, outcome: Outcome) -> None:
        """Say the same of all rows of which nothing is known yet."""
        for place in self.open():
            self.settle(place, outcome)

    def open(self) -> list[int]:
        """Return the places of the rows of which nothing is known yet."""
        return [place for place in range(len(self.rows)) if place not in self._known]

    def keyed(self, key: Callable[[Row], str | None], field: str, *, twice: Outcome | None = None) -> dict[str, int]:
        """Return where each key stands among the open rows.

        Rows without a key are rejected; so are second rows of one key, unless `twice` says what they come to.
        """
        places: dict[str, int] = {}
        for place in self.open():
            value = key(self.rows[place])
            if not value:
                self.settle(place, Rejected("identifier_missing", field))
            elif value in places:
                self.settle(place, twice or Rejected("identifier_duplicate", field))
            else:
                places[value] = place
        return places

    def __iter__(self) -> Iterator[Outcome]:
        return (self._known.get(place, Unknown()) for place in range(len(self.rows)))


def accounted(
    batch: Batch, work: Callable[[Batch, Outcomes], None], find: Callable[[str], None] = lambda audience: None
) -> Iterator[Outcome]:
    """Send a batch by `work` and yield one outcome a row; rows of which it says nothing are Unknown.

    find: raises HttpFailed when there is no such audience; asked when a batch is refused as a whole, so that a
    wrong name in the job does not make a dead letter of every row.
    Raises DestinationFailed and RetryLater after the outcomes of what was sent before, SkipRecord when the
    destination refused the batch as a whole.
    """
    outcomes = Outcomes(batch.rows)
    stop: ConsentryError | None = None
    try:
        work(batch, outcomes)
    except AnswerLost as lost:
        stop = DestinationFailed(str(lost), code=lost.code)
    except HttpFailed as failed:
        stop = _meant(failed, batch, find)
        outcomes.settle_rest(Retry(0))
    except RetryLater as later:
        stop = later
        outcomes.settle_rest(Retry(later.after))
    except DestinationFailed as failure:
        stop = failure
        outcomes.settle_rest(Retry(0))
    if isinstance(stop, SkipRecord):
        raise stop
    yield from outcomes
    if stop:
        raise stop


def _meant(failed: HttpFailed, batch: Batch, find: Callable[[str], None]) -> ConsentryError:
    """Tell a refused batch from a destination that cannot be written at all."""
    if failed.status not in REFUSALS or isinstance(failed, LoginRefused):
        return DestinationFailed(str(failed), code=failed.code)
    try:
        find(batch.audience)
    except HttpFailed as missing:
        return DestinationFailed(str(missing), code=missing.code)
    except RetryLater as later:
        return later
    return SkipRecord(str(failed), code=failed.code)


def halving(send: Callable[[Sequence[int]], None], places: Sequence[int], outcomes: Outcomes) -> None:
    """Send rows; when they are refused as a whole, send the halves, until the rows at fault stand alone."""
    code: str | None = None
    try:
        send(places)
    except HttpFailed as failed:
        if failed.status not in REFUSALS or isinstance(failed, LoginRefused):
            raise
        code = failed.code
    if code is None:
        return
    if len(places) == 1:
        outcomes.settle(places[0], Rejected(code))
        return
    middle = len(places) // 2
    halving(send, places[:middle], outcomes)
    halving(send, places[middle:], outcomes)


def shaped(answer: Answer, vendor: str) -> dict[str, Any]:
    """Return the object in an answer; raises AnswerLost when there is none, for then nobody knows what happened."""
    if isinstance(answer.body, dict):
        return answer.body
    raise AnswerLost(f"{vendor} answered something that is not its API. Check base_url.", code="garbage")


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a list of an answer, none when it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def code_in(value: object, otherwise: str) -> str:
    """Return a vendor's reason code, when it is one: free text may quote what was sent."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else otherwise


def basic(user: str, password: str) -> str:
    """Return the Authorization header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def text(value: object) -> str:
    """Write a value as the vendors that know only strings want it: true and false in lower case, nothing as ''."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


class HttpConfig(ConnectorConfig):
    """Where an API is; every destination over HTTP adds how to log in."""

    base_url: BaseUrl


C = TypeVar("C", bound=HttpConfig)


class HttpDestination(ABC, Generic[C]):
    """Base of destinations over HTTP: one account, its client, and outcomes that always add up."""

    Config: ClassVar[type[ConnectorConfig]]
    capabilities: Capabilities
    vendor: ClassVar[str]
    pause: ClassVar[Pause | None] = None
    turned_away: ClassVar[TurnedAway | None] = None

    def __init__(
        self,
        config: C,
        *,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config, self._sleep = config, sleep
        self.http = HttpClient(
            config.base_url,
            vendor=self.vendor,
            account=account or config.base_url,
            headers=self.headers,
            renew=self.renew,
            limits=self.capabilities.quota,
            pause=type(self).pause,
            turned_away=type(self).turned_away,
            transport=transport,
            sleep=sleep,
        )

    @property
    def api_calls(self) -> int:
        """Return how many requests were sent."""
        return self.http.calls

    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """Return what every request carries."""

    def renew(self, refused: Mapping[str, str]) -> bool:
        """Log in anew after headers were refused, and tell whether that gave others; most tokens do not change."""
        return False

    @abstractmethod
    def greet(self) -> str:
        """Log in and return a sentence that says what may be done; raises HttpFailed for a refusal."""

    @abstractmethod
    def send(self, batch: Batch, outcomes: Outcomes) -> None:
        """Add or change the people of a batch."""

    @abstractmethod
    def take_out(self, batch: Batch, outcomes: Outcomes) -> None:
        """Take the people of a batch out."""

    def find(self, audience: str) -> None:
        """Raise HttpFailed when there is no such audience; without a call where the vendor has none for it."""
        return

    def check(self) -> Check:
        """Log in."""
        try:
            return Check(True, self.greet())
        except ConsentryError as error:
            return Check(False, str(error))

    def write(self, batch: Batch) -> Iterator[Outcome]:
        """Add or change the people of a batch in its audience: one outcome a row."""
        return accounted(batch, self.send, self.find)

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        """Take the people of a batch out of its audience: one outcome a row; one not in it is Ok."""
        return accounted(batch, self.take_out, self.find)


OK = Ok()
