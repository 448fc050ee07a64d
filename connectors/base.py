"""What a connector is: the protocols, and the values that pass through them.

A connector is one class with one `Config`. A source answers `check`, `discover` and `read`; a destination
`check` and `write`. What else it can do is a small protocol of its own (`Removes`, `LooksUp`, ...), which the
pipeline asks for with isinstance; it never tries and catches.

Every connector is made in the same way (`consentry.connectors.registry.connect` does it):

    Connector(config, *, streams={}, account="", base=Path(), keep=Path())

config: an instance of its `Config`, from the `connection:` block. streams: for a source, an instance of its
`StreamOptions` a stream, from the stream's `options:` block. account: names the account at the vendor; its
quota is shared by all connectors of that name. base: the folder that relative paths of the config start from.
keep: a folder for what the connector must remember by itself from run to run, such as tokens that rotate. A
connector takes those of the keywords that it needs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import pyarrow as pa
from pydantic import ConfigDict

from consentry.config import Model
from consentry.connectors.quota import Limit
from consentry.model.batch import Batch, Operation, Row

# Where a source continues: plain JSON, kept with the data it describes.
State = Mapping[str, Any]


class ConnectorConfig(Model):
    """Base of every connector's settings: frozen, unknown keys refused, secrets as SecretStr."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NoOptions(ConnectorConfig):
    """The stream options of a source whose streams need none."""


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a connector can do its work: `ok`, and a sentence that says what it may do or what is wrong."""

    ok: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Stream:
    """One kind of record a source has.

    primary_key: the columns that name a record. cursor: the column that moves when a record changes, if any.
    schema: what is known beforehand; a page may bring more columns.
    """

    name: str
    primary_key: tuple[str, ...]
    schema: pa.Schema
    cursor: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Some records of a stream, and the state from which a later read continues after them."""

    records: pa.RecordBatch
    state: State = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HashRules:
    """How a platform wants identifiers hashed: what the policy's `rules:` names, where it is written, when read."""

    rules: str
    identifiers: tuple[str, ...]
    source: str
    read: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a destination takes and can do.

    batch_max: rows in one call of `write`. key_fields: identifiers by which it knows a person, best first.
    operations: what may be asked of it. idempotent: whether the same batch sent twice is noticed by nobody.
    asynchronous: whether accepted is not yet applied. hashing: how identifiers must be hashed, if they must.
    quota: the account's limits by operation. erases: whether a person can be erased there, not only taken out.
    audience_min: people below which the platform makes no use of an audience; a smaller one is not brought in step.
    """

    batch_max: int
    key_fields: tuple[str, ...]
    operations: frozenset[Operation]
    idempotent: bool = True
    asynchronous: bool = False
    hashing: HashRules | None = None
    quota: Mapping[str, Sequence[Limit]] = field(default_factory=dict)
    erases: bool = False
    audience_min: int = 0


@dataclass(frozen=True, slots=True)
class Ok:
    """The destination has the row; remote_id is its own name for the person, when it gave one."""

    remote_id: str | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """The row was not needed or not possible here, and nothing is wrong."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The destination refuses this row and will refuse it again: a code, and the field at fault if known."""

    code: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """The row was not taken; it may be sent again after some seconds."""

    after: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows whether the row was taken: the answer was lost."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The row was accepted and is applied later; job: what the destination calls the work it is part of."""

    job: str


Outcome = Ok | Skipped | Rejected | Retry | Unknown | Pending


@runtime_checkable
class Connector(Protocol):
    """Anything that is found by `type:` in a job."""

    Config: ClassVar[type[ConnectorConfig]]

    def check(self) -> Check:
        """Log in, and say what may be read or written; never raises for a refusal."""
        ...


@runtime_checkable
class Source(Connector, Protocol):
    """Where customer data comes from. A class attribute `StreamOptions` gives its streams options of their own."""

    def discover(self) -> list[Stream]:
        """List the streams there are."""
        ...

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield the records that changed since `state`, all of them when it is empty.

        A read that stops after any page and is taken up with that page's state goes on behind the page. Nested
        values come as JSON text. A line that is no record comes as one, its text in the column `_malformed`.
        Raises SourceFailed with a sentence, or RetryLater when the source asks for a pause.
        """
        ...


@runtime_checkable
class NoticesChanges(Protocol):
    """A source that can tell, cheaply, that a stream is as it was: a snapshot of it need not be taken again."""

    def changed(self, stream: Stream, state: State) -> bool:
        """Tell whether a full read now may differ from the one that ended with `state`."""
        ...


@runtime_checkable
class Remarks(Protocol):
    """A source that knows in which way what it gave is incomplete: sampled, thresholded, cut short."""

    def remarks(self) -> list[str]:
        """Return a sentence about each such way, of what was read so far."""
        ...


@runtime_checkable
class Enriches(Connector, Protocol):
    """A vendor that knows more about people. looks_up_by: the kinds of identifiers it takes."""

    looks_up_by: ClassVar[tuple[str, ...]]

    def enrich(self, people: Iterable[pa.RecordBatch]) -> Iterator[Page]:
        """Look people up, each once, within the budget of the settings; take no more of `people` than that.

        people: columns person_id and one a kind of identifier, null when the person has none. They may be looked up:
        that was decided before. Pages have person_id, status ('found', 'none', 'queued', 'lost'), likelihood, data
        (JSON text), source and fetched_at. Raises SourceFailed or RetryLater, behind what was answered before.
        """
        ...


@runtime_checkable
class Destination(Connector, Protocol):
    """Where audiences go."""

    capabilities: Capabilities

    @property
    def api_calls(self) -> int:
        """Return how many requests were sent."""
        ...

    def write(self, batch: Batch) -> Iterator[Outcome]:
        """Add or change the people of a batch in its audience: one outcome a row, in the order of the rows.

        Raises DestinationFailed when nothing of the batch can be sent at all (wrong credentials, no such
        audience), RetryLater when the destination asks for a pause longer than the client waits.
        """
        ...


@runtime_checkable
class Removes(Protocol):
    """A destination that can take people out of an audience."""

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        """Take the people of a batch out of its audience: one outcome a row; one not in it is Ok."""
        ...


@runtime_checkable
class Polls(Protocol):
    """A destination that accepts rows and applies them later: its `write` and `remove` yield Pending and do not wait.

    The job is journalled with its rows, and asked about until it has ended: in the run that began it, or in a later
    one when that run was cut off or its wait was used up.
    """

    @property
    def wait_seconds(self) -> float:
        """Return how long a run waits for jobs, in all; it ends as paused then."""
        ...

    def poll(self, job: str, batch: Batch) -> Sequence[Outcome] | None:
        """Say what became of a job: one outcome a row, none of them Pending; None while it is under way.

        batch: the rows of the job in the order in which they were sent, without their fields. Nothing is sent, and
        a job that the destination does not know any more is Unknown. Raises as `write` does.
        """
        ...


@runtime_checkable
class KnowsByValue(Protocol):
    """A destination that finds people by what they were sent with, and has no lasting name of its own for them.

    The ledger keeps that, sealed: who changes an address is taken out under the old one first, and who is gone from
    our side can still be taken out.
    """

    def known_by(self, row: Row) -> Mapping[str, str]:
        """Return those of a row's identifiers by which the person would be found there."""
        ...


@runtime_checkable
class Replaces(Protocol):
    """A destination that can make an audience of exactly some people, when it cannot take single ones out."""

    def replace(self, batch: Batch) -> Iterator[Outcome]:
        """Make the people of a batch the whole of its audience: one outcome a row; everybody else is out after it.

        The batch holds all of them, more than `batch_max` if need be; it may be empty. Raises as `write` does.
        """
        ...


@runtime_checkable
class DeletesAudience(Protocol):
    """A destination that can delete an audience as a whole."""

    def delete_audience(self, audience: str) -> None:
        """Delete an audience; one that is gone already is no error. Raises DestinationFailed or RetryLater."""
        ...


@dataclass(frozen=True, slots=True)
class OptOut:
    """What one person told a destination: take me off.

    value: the identifier as the destination has it; a phone in E.164. event_id: the same for the same word whenever
    it is read; it need not tell people apart, and holds no identifier and no hash of one.
    """

    identifier_type: str
    value: str = field(repr=False)
    reason: Literal["unsubscribed", "suppressed", "complained", "bounced"]
    at: datetime
    event_id: str


@runtime_checkable
class PullsSuppressions(Protocol):
    """A destination that knows who unsubscribed, complained or bounced there: read before anything is pushed."""

    def opt_outs(self, since: datetime | None, audiences: Collection[str]) -> Iterator[OptOut]:
        """Yield who opted out since an instant, everybody when it is None. Raises as `write` does.

        audiences: those that a job keeps there; what was said about others alone does not concern it.
        """
        ...


@runtime_checkable
class LooksUp(Protocol):
    """A destination that can say who is in an audience: settles outcomes that got lost."""

    def lookup(self, audience: str, remote_ids: Iterable[str]) -> frozenset[str]:
        """Return those of the remote ids that are in the audience now."""
        ...
