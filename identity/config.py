"""Settings of the identity part: rules per identifier type, and which value wins in the golden record.

An empty block is a working one: every type gets the rule of its kind, and the kind follows from the name.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions at import, where no checker sees them.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator

from consentry.config import Model, Name
from consentry.identity.similar_config import SimilarRules

Kind = Literal["email", "phone", "external", "cookie"]
# The identifier type of records that only their likeness links.
SIMILAR = "similar"
Criterion = Literal["trust", "verified", "recency", "completeness"]

MAX_PURPOSES = 62
# Stands for every purpose that no source names: a source that names any may not be linked for it.
OTHER_PURPOSES = "*"
_COOKIE_WORDS = ("anonymous", "cookie", "device", "visitor", "client_id", "session")


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for one identifier type, every blank filled.

    unique: two values of it are two people. max_per_person: values of it that one person may have; None is any
    number. max_persons_per_value: people who may share a value before it stops linking; None is any number.
    priority: when links contradict each other the lower number is believed. blocked: RE2 patterns.
    window_days: only values last seen within so many days of each other count towards max_per_person; None counts all.
    min_trust: sources that are trusted less do not link by it; trust: how far a source is trusted in this type alone.
    """

    type: str
    kind: Kind
    unique: bool
    max_per_person: int | None
    max_persons_per_value: int | None
    priority: int
    blocked: tuple[str, ...]
    window_days: int | None = None
    min_trust: int = 0
    trust: Mapping[str, int] = field(default_factory=dict)


# Segment Unify's defaults (segment-docs, identity-resolution-onboarding.md): user_id 1, everything else 5.
# Cookies change with every browser, so that a person may have any number of them. An external id is made to name
# one customer, whose addresses change over the years, so that more has to speak against it.
_DEFAULTS: dict[Kind, tuple[bool, int | None, int | None, int]] = {
    "external": (True, 1, 20, 10),
    "email": (False, 5, 5, 20),
    "phone": (False, 5, 5, 30),
    "cookie": (False, None, 5, 40),
}


# Likeness is believed last, joins any number of records, and is no identifier that a job could set.
_LIKENESS = Rule(
    type=SIMILAR, kind="external", unique=False, max_per_person=None, max_persons_per_value=None, priority=1_000,
    blocked=(),
)  # fmt: skip


class IdentifierRule(Model):
    """What the job says about one identifier type; what it leaves out follows from the kind."""

    kind: Kind | None = None
    unique: bool | None = None
    max_per_person: int | None = Field(default=None, ge=1)
    max_persons_per_value: int | None = Field(default=None, ge=1)
    priority: int | None = Field(default=None, ge=0)
    blocked: tuple[str, ...] = ()
    window_days: int | None = Field(default=None, ge=1)
    min_trust: int = Field(default=0, ge=0, le=100)
    trust: dict[Name, int] = Field(default_factory=dict)

    @field_validator("blocked")
    @classmethod
    def _patterns_compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                pc.match_substring_regex(pa.array([""]), pattern)
            except pa.ArrowInvalid:
                message = (
                    f"the pattern {pattern!r} is not a regular expression in RE2's syntax, which has no look-around"
                )
                raise ValueError(message) from None
        return patterns

    @model_validator(mode="after")
    def _unique_is_one(self) -> IdentifierRule:
        if self.unique and self.max_per_person not in (None, 1):
            raise ValueError("a unique identifier has one value a person. Leave out 'max_per_person', or 'unique'")
        return self


class FieldRule(Model):
    """How the records compete for one field: `order` of the criteria, and `sources`, best first, before them.

    verified: the column that says whether a record's value of the field was verified.
    """

    order: tuple[Criterion, ...] = ("trust", "verified", "recency", "completeness")
    sources: tuple[Name, ...] = ()
    verified: Name | None = None

    @field_validator("order")
    @classmethod
    def _once_each(cls, order: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
        if len(set(order)) != len(order):
            raise ValueError("a criterion stands twice. Name each of trust, verified, recency, completeness once")
        return order


class GoldenRules(FieldRule):
    """How the records of a person compete for the fields of the golden record; `fields` are the exceptions."""

    fields: dict[Name, FieldRule] = Field(default_factory=dict)

    def rule(self, field: str) -> FieldRule:
        """Return the rule of a field."""
        return self.fields.get(field) or FieldRule(order=self.order, sources=self.sources)


class Linking(Model):
    """For what records may be linked with others.

    purposes: of each source, the purposes for which its records may be linked; a source that is not named, for all.
    All records of a person have a purpose in common. consent: a purpose of the policy: records of people who refused
    it are linked to nothing.
    """

    purposes: dict[Name, Annotated[tuple[Name, ...], Field(min_length=1)]] = Field(default_factory=dict)
    consent: Name | None = None

    @field_validator("purposes")
    @classmethod
    def _few(cls, purposes: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if len({name for names in purposes.values() for name in names}) > MAX_PURPOSES:
            raise ValueError(f"at most {MAX_PURPOSES} purposes of linking can be told apart")
        return purposes

    def names(self) -> tuple[str, ...]:
        """Return every purpose that is named, in order of the alphabet."""
        return tuple(sorted({name for names in self.purposes.values() for name in names}))

    def places(self) -> dict[str, int]:
        """Return the bit of each purpose that is told apart: those that are named, and all others as one."""
        named = {name: n for n, name in enumerate(self.names())}
        return named | {OTHER_PURPOSES: MAX_PURPOSES} if named else {}

    def bits(self, source: str) -> int:
        """Return the purposes of a source as bits, in their `places`; all of them when the source is not named."""
        allowed = self.purposes.get(source)
        return -1 if allowed is None else sum(1 << n for n, name in enumerate(self.names()) if name in allowed)


class IdentityConfig(Model):
    """The `identity` block of a job.

    agreement: columns of the customer records that, all equal, make two records of a shared value one person.
    contradiction: the column that, clearly different, makes two records of a shared e-mail or phone two people;
    null for none.
    large_person: customer records of one person beyond which an alarm is raised, and records on one value beyond
    which it no longer speaks for others.
    similar: how records that share no identifier are recognised as one person; null for not at all.
    """

    identifiers: dict[Name, IdentifierRule] = Field(default_factory=dict)
    golden: GoldenRules = Field(default_factory=GoldenRules)
    agreement: tuple[Name, ...] = ("given_name", "family_name")
    contradiction: Name | None = "given_name"
    large_person: int = Field(default=100, ge=2)
    linking: Linking = Field(default_factory=Linking)
    similar: SimilarRules | None = None

    def rule(self, type: str) -> Rule:
        """Return the rule of an identifier type, declared or not."""
        if type == SIMILAR:
            return _LIKENESS
        given = self.identifiers.get(type) or IdentifierRule()
        kind = given.kind or kind_of(type)
        unique, per_person, per_value, priority = _DEFAULTS[kind]
        unique = unique if given.unique is None else given.unique
        default_per_person = 1 if unique else (per_person if per_person != 1 else 5)
        return Rule(
            type=type,
            kind=kind,
            unique=unique,
            max_per_person=given.max_per_person or default_per_person,
            max_persons_per_value=given.max_persons_per_value or per_value,
            priority=priority if given.priority is None else given.priority,
            blocked=given.blocked,
            window_days=given.window_days,
            min_trust=given.min_trust,
            trust=given.trust,
        )


def kind_of(type: str) -> Kind:
    """Tell the kind of an identifier type by its name; an id that is no cookie is an external id."""
    if "email" in type:
        return "email"
    if "phone" in type or "mobile" in type:
        return "phone"
    return "cookie" if any(word in type for word in _COOKIE_WORDS) else "external"
