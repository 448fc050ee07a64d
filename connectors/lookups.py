"""Look people up at an enrichment vendor one by one, within a budget, and lay the answers out in pages.

Who is looked up is the pipeline's affair: it hands over people whose consent allows it, with the identifiers the
policy lets out, and it keeps the answers. Here a person is asked for once and the budget is held.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Literal, TypeVar

import httpx
import pyarrow as pa
from pydantic import Field, SecretStr

from consentry.connectors.base import Check, ConnectorConfig, Page
from consentry.connectors.http import AnswerLost, BaseUrl, HttpClient, failing_as
from consentry.connectors.quota import Limit
from consentry.errors import ConsentryError, SourceFailed

# An answer is paid for: at most these many are lost when the machine fails.
PAGE_PEOPLE = 20
# So many lost answers in a row mean that the vendor is not well.
LOST_MAX = 5
# found: paid for. none: the vendor knows nobody, free. queued: asked for, comes later. lost: no answer came.
Status = Literal["found", "none", "queued", "lost"]
SCHEMA = pa.schema(
    [
        ("person_id", pa.string()),
        ("status", pa.string()),
        ("likelihood", pa.float64()),
        ("data", pa.string()),
        ("source", pa.string()),
        ("fetched_at", pa.timestamp("us", tz="UTC")),
    ]
)


class LookupConfig(ConnectorConfig):
    """What every enrichment vendor's settings have: the key, and the budget of a run."""

    api_key: SecretStr = Field(description="The API key, as ${VARIABLE}; it travels in a header.")
    base_url: BaseUrl = Field(description="Where the API is.")
    max_lookups: int = Field(default=1_000, ge=0, description="How many people at most one run asks for.")
    max_matches: int = Field(default=500, ge=0, description="How many answers that are paid for at most one run takes.")


@dataclass(frozen=True, slots=True)
class Found:
    """What a vendor answered for one person."""

    status: Status
    data: Mapping[str, Any] | None = field(default=None, repr=False)
    likelihood: float | None = None


C = TypeVar("C", bound=LookupConfig)
# Asks for one person, given the identifiers by their kind.
Ask = Callable[[Mapping[str, str]], Found]


class LookupVendor(ABC, Generic[C]):
    """Base of the enrichment vendors: what they ask and how they say who they are, is all that differs.

    vendor: its name in sentences. source: the name that its answers carry.
    """

    looks_up_by: ClassVar[tuple[str, ...]] = ("email", "phone")
    vendor: ClassVar[str]
    source: ClassVar[str]

    def __init__(
        self,
        config: C,
        *,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config, self._now = config, now
        self.http = HttpClient(
            config.base_url,
            vendor=self.vendor,
            account=account or config.base_url,
            headers=lambda: self.credentials(config.api_key.get_secret_value()),
            limits={"": self.limits()},
            transport=transport,
            sleep=sleep,
        )

    @abstractmethod
    def credentials(self, key: str) -> Mapping[str, str]:
        """Return the headers that the key travels in."""

    @abstractmethod
    def limits(self) -> Sequence[Limit]:
        """Return what the account allows."""

    @abstractmethod
    def ask(self, identifiers: Mapping[str, str]) -> Found:
        """Ask for one person, by their identifiers; no match is no error."""

    def check(self) -> Check:
        """Log in with a question that matches nobody, and therefore costs nothing."""
        try:
            self.ask({"email": "nobody@consentry.invalid"})
        except ConsentryError as error:
            return Check(False, str(error))
        most = f"{self._config.max_lookups:,} look-ups and {self._config.max_matches:,} paid matches"
        return Check(True, f"{self.vendor} accepts the key; a run makes {most} at most.")

    def enrich(self, people: Iterable[pa.RecordBatch]) -> Iterator[Page]:
        """Look people up, each once, within the budget."""
        return look_up(people, self.ask, source=self.source, budget=self._config, now=self._now)

    def odd(self) -> SourceFailed:
        """Return the error for an answer that is not of this vendor."""
        message = f"{self.vendor} answered in a shape that is not its own. Check base_url."
        return SourceFailed(message, code="bad_answer")


def look_up(
    people: Iterable[pa.RecordBatch], ask: Ask, *, source: str, budget: LookupConfig, now: Callable[[], datetime]
) -> Iterator[Page]:
    """Yield the answers, some twenty a page; stops when the budget is used up.

    people: columns person_id and one a kind of identifier; whoever has none is left out.
    Raises SourceFailed or RetryLater, behind a page with what was answered before.
    """
    counted = _Counted(budget)
    rows: list[dict[str, Any]] = []
    failure: ConsentryError | None = None
    for person, identifiers in _each(people):
        if counted.is_spent():
            break
        try:
            with failing_as(SourceFailed):
                found = _asked(ask, identifiers)
            rows.append(_row(person, found, source, now()))
            counted.note(found)
        except ConsentryError as error:
            failure = error
            break
        if len(rows) == PAGE_PEOPLE:
            yield _page(rows)
            rows = []
    if rows:
        yield _page(rows)
    if failure:
        raise failure


class _Counted:
    """What of the budget is used, and how many answers were lost in a row."""

    def __init__(self, budget: LookupConfig) -> None:
        self._budget, self._asked, self._matched, self._lost = budget, 0, 0, 0

    def is_spent(self) -> bool:
        return self._asked >= self._budget.max_lookups or self._matched >= self._budget.max_matches

    def note(self, found: Found) -> None:
        self._asked += 1
        # A lost answer may have been paid for.
        self._matched += found.status in ("found", "lost")
        self._lost = self._lost + 1 if found.status == "lost" else 0
        if self._lost == LOST_MAX:
            message = (
                f"{LOST_MAX} answers in a row were lost, and may have cost. Nothing more is asked for in this run."
            )
            raise SourceFailed(message, code="answers_lost")


def _asked(ask: Ask, identifiers: Mapping[str, str]) -> Found:
    try:
        return ask(identifiers)
    except AnswerLost:
        return Found("lost")


def _each(people: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, dict[str, str]]]:
    for batch in people:
        for row in batch.to_pylist():
            person = row.pop("person_id")
            identifiers = {kind: str(value) for kind, value in row.items() if value}
            if identifiers:
                yield person, identifiers


def _row(person: str, found: Found, source: str, at: datetime) -> dict[str, Any]:
    data = None if found.data is None else json.dumps(found.data, ensure_ascii=False, separators=(",", ":"))
    told = {"status": found.status, "likelihood": found.likelihood, "data": data}
    return {"person_id": person, **told, "source": source, "fetched_at": at.astimezone(UTC)}


def _page(rows: list[dict[str, Any]]) -> Page:
    return Page(pa.RecordBatch.from_pylist(rows, SCHEMA))
