"""A job as its YAML file says it: the frozen models of every block."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BeforeValidator, Field, model_validator

from consentry.config import Model, Name
from consentry.connectors.drift import Drift
from consentry.consent.gate import Target
from consentry.consent.signals.rows import SignalBlock
from consentry.delivery.config import Sync
from consentry.identity.config import IdentityConfig
from consentry.segments.ast import Type
from consentry.segments.limits import Limits, Seconds


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _named(blocks: object) -> object:
    """Give each sync its key as its name, so that it knows it wherever it goes."""
    if not isinstance(blocks, dict):
        return blocks
    return {key: {**block, "name": key} if isinstance(block, dict) else block for key, block in blocks.items()}


Columns = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
# An attribute, or a property of an event.
Measured = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$")]
# How an amount of memory is written.
MEMORY = r"^\d+(\.\d+)?(MB|GB|MiB|GiB)$"


# What the keys of each provider need, and what they may have besides: a key itself stands nowhere in a job.
_KEYS_OF: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "file": (("path",), ("create",)),
    "environment": (("variable",), ()),
    "vault": (("path", "url", "key"), ("create", "mount", "variable")),
    "aws_kms": (("path", "key"), ("create", "region", "url")),
}


class Keys(Model):
    """Where the master key comes from; never from the job file itself.

    path: the key file (file), or the file of wrapped keys (vault, aws_kms), in the state folder. variable: the
    environment variable with the key (environment) or with Vault's token. key: the name of the wrapping key, mount: of
    the transit engine. url: where Vault is, or another address of KMS. region: of KMS.
    """

    provider: Literal["file", "environment", "vault", "aws_kms"]
    path: Path | None = None
    variable: str | None = None
    create: bool = False
    url: str | None = None
    key: str | None = None
    mount: str = "transit"
    region: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed, further = _KEYS_OF[self.provider]
        missing = [name for name in needed if getattr(self, name) is None]
        if missing:
            raise ValueError(f"keys of provider {self.provider} need {' and '.join(map(repr, missing))}")
        strange = sorted(self.model_fields_set - {"provider", *needed, *further})
        if strange:
            raise ValueError(f"keys of provider {self.provider} have no {' and no '.join(map(repr, strange))}")
        return self


class Identifier(Model):
    """An identifier in a column; a phone may name the column, or the country code, that gives its region."""

    column: str
    region: str | None = None
    region_code: str | None = Field(default=None, pattern="^[A-Z]{2}$")


def _as_identifier(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


def _as_signal(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


class EventName(Model):
    """What the events of a stream are called: one `name` for all, or the word in a `column`.

    names: how the words of the source are called here; without it they are taken as they are.
    """

    name: Name | None = None
    column: str | None = None
    names: dict[str, Name] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.name is None) == (self.column is None):
            raise ValueError("an event has either a 'name' or a 'column' that holds it")
        return self


class StreamBlock(Model):
    """One stream of a source: what its records are, how they are checked, and which column means what.

    entity: what a record is; `link` is a stream that only ties identifiers together, `aggregate` one of figures about
    nobody in particular, which is checked and kept but never merged into profiles.
    mode: `append` when each read brings what changed, `snapshot` when each read brings everything.
    drift: what happens when the source's columns change: evolve takes new ones in, freeze stops the stream,
    discard_value leaves new columns out, discard_row and quarantine leave out or set aside the records with them.
    allow_empty: an empty stream is not an alarm. max_shrink_pct: how much smaller a snapshot may get.
    deleted: the column by which the source says that a record is gone: a flag, or the time of deletion. Tombstones
    (`_deleted`, `_merged_into`) need no name.
    signal: the consent platform whose payloads a stream of consent holds, in the column mapped to `payload`.
    properties_json: the column that holds event properties as a JSON object.
    freshness: how old its newest record may get, such as `2 days`, before segments that read it count as stale.
    """

    entity: Literal["customer", "event", "consent", "link", "aggregate"]
    contract: str
    primary_key: Columns = Field(min_length=1)
    mode: Literal["append", "snapshot"] = "append"
    drift: Drift = "evolve"
    options: dict[str, Any] = Field(default_factory=dict)  # checked by the connector's own model
    updated_at: str | None = None
    deleted: str | None = None
    occurred_at: str | None = None
    event: EventName | None = None
    identifiers: dict[Name, Annotated[Identifier, BeforeValidator(_as_identifier)]] = Field(default_factory=dict)
    map: dict[Name, str] = Field(default_factory=dict)
    properties: dict[Name, str] = Field(default_factory=dict)
    signal: Annotated[SignalBlock, BeforeValidator(_as_signal)] | None = None
    properties_json: str | None = None
    allow_empty: bool = False
    freshness: Seconds | None = None
    max_shrink_pct: int = Field(default=50, ge=0, le=100)

    @model_validator(mode="after")
    def _fits_its_entity(self) -> Self:
        if self.entity == "event" and (self.event is None or self.occurred_at is None):
            raise ValueError("a stream of events needs 'event' and 'occurred_at'")
        if self.entity == "aggregate" and self.identifiers:
            raise ValueError("a stream of aggregates is about nobody: it has no 'identifiers'")
        if self.entity not in ("consent", "aggregate") and not self.identifiers:
            raise ValueError("a stream needs 'identifiers': whose record is it?")
        return self


class SourceBlock(Model):
    """A source: its connector, how far it is trusted when records disagree, and its streams.

    purposes: those of the policy for which it is read; its data is used for no other. Without them it is read for all
    that the job serves.
    """

    type: str
    purposes: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    trust: int = Field(default=1, ge=0, le=100)
    connection: dict[str, Any] = Field(default_factory=dict)  # checked by the connector's own Config
    streams: dict[Name, StreamBlock] = Field(min_length=1)


class Enrichment(Model):
    """A vendor that is asked what it knows of people, one by one, where they allow its purpose.

    destination: what the policy calls the vendor, by default the name of the block. identifiers: those that are sent.
    fields: an attribute of ours -> its place in the answer (`job_company.name`); a value we have is never replaced.
    units: of an attribute, the unit in which the vendor gives it.
    ttl_days: how long an answer, also "nobody", is good.
    """

    type: str
    connection: dict[str, Any] = Field(default_factory=dict)  # checked by the connector's own Config
    destination: Name | None = None
    purpose: str = Field(min_length=1, max_length=255)
    identifiers: tuple[Name, ...] = Field(min_length=1)
    fields: dict[Name, Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]] = Field(min_length=1)
    units: dict[Name, str] = Field(default_factory=dict)
    ttl_days: int = Field(default=90, ge=1)

    def target(self, name: str) -> Target:
        """Name this enrichment to the consent gate; no sync can have a name with a blank in it."""
        return Target(
            name=f"enrichment {name}",
            destination=self.destination or name,
            purpose=self.purpose,
            audience="",
            identifiers=self.identifiers,
        )


class DestinationBlock(Model):
    """A destination: its connector and how to reach it. What it may receive stands in the policy."""

    type: str
    connection: dict[str, Any] = Field(default_factory=dict)  # checked by the connector's own Config


class Profile(Model):
    """The merged profile: the contract that names its attributes.

    keep_earlier: how long replaced values of attributes that rules read are kept, such as `90 days`, to explain the
    segments of earlier days; by default they are not.
    """

    contract: str
    keep_earlier: Seconds | None = None


class QuarantineBlock(Model):
    """How much the quarantine keeps of each stream: rows with their content, and days since a row was last seen."""

    max_rows: int = Field(default=1_000_000, ge=0)
    keep_days: int = Field(default=365, ge=1)


class Job(Model):
    """One job file. Relative paths are relative to it; `state` is relative to where you are.

    units: the unit into which a name is converted (an attribute, or `event.property`), where its sources differ.
    """

    version: Literal[1]
    job: Name
    description: str = ""
    state: Path
    engine: Literal["duckdb"] = "duckdb"
    memory_limit: str | None = Field(default=None, pattern=MEMORY)
    as_of: AwareDatetime | None = None
    keys: Keys
    policy: Path
    sources: dict[Name, SourceBlock] = Field(min_length=1)
    identity: IdentityConfig = Field(default_factory=IdentityConfig)
    enrichments: dict[Name, Enrichment] = Field(default_factory=dict)
    profile: Profile
    quarantine: QuarantineBlock = Field(default_factory=QuarantineBlock)
    events: dict[Name, dict[Name, Type]] = Field(default_factory=dict)
    units: dict[Measured, str] = Field(default_factory=dict)
    segments: Path
    segment_limits: Limits = Limits()
    destinations: dict[Name, DestinationBlock] = Field(default_factory=dict)
    syncs: Annotated[dict[Name, Sync], BeforeValidator(_named)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        for name, sync in self.syncs.items():
            if sync.destination not in self.destinations:
                known = ", ".join(sorted(self.destinations)) or "none"
                raise ValueError(
                    f"sync {name} goes to {sync.destination!r}, which is not among the destinations ({known})"
                )
        return self

    def identifier_types(self) -> frozenset[str]:
        """Return every kind of identifier that any stream has."""
        blocks = self.sources.values()
        return frozenset(kind for block in blocks for stream in block.streams.values() for kind in stream.identifiers)


def instant(moment: datetime) -> str:
    """Write an instant as the store does: UTC, microseconds, Z."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
