"""Read the policy: which purposes there are, and what each destination may receive for them.

The policy denies by default and says so; what it does not name does not leave. Every list is explicit, a wildcard
is no name, and a key that is not known is a fault with its line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from consentry.config import Document, Faults, Model, Name, bind, read_document
from consentry.consent.duration import Duration
from consentry.consent.fides import DATA_USES, is_misspelt_use
from consentry.consent.transforms import DIRECT_IDENTIFIERS, FieldRule, IdentifierRule, Pass, rules_fault
from consentry.model.names import did_you_mean

# The six of GDPR Art. 6(1), and the opt-out model of the US state laws, which is not one of them.
Basis = Literal[
    "consent", "contract", "legal_obligation", "vital", "public_task", "legitimate_interests", "opt_out"
]  # fmt: skip
# From the one that lets the fewest through to the one that lets the most: where someone lives is unknown, the
# first holds. Contract and the like stand last, for no refusal of the person ends them.
STRICTNESS: tuple[Basis, ...] = (
    "consent", "legitimate_interests", "opt_out", "contract", "legal_obligation", "public_task", "vital"
)  # fmt: skip
_NEEDS_REF: Mapping[Basis, str] = {
    "contract": "contract_ref",
    "legal_obligation": "law_ref",
    "public_task": "law_ref",
    "legitimate_interests": "lia_ref",
}
States = Literal["granted", "denied", "withdrawn", "expired", "objected"]
# Google's two (support.google.com/google-ads/answer/14310715); the connector spells them as its platform wants.
Signal = Literal["ad_user_data", "ad_personalization"]
SIGNALS: tuple[Signal, ...] = ("ad_user_data", "ad_personalization")
# What is tried to take someone out again, in this order, until one works.
Removal = Literal["remove_member", "replace_list", "delete_audience", "manual"]


def _removals() -> list[Removal]:
    return ["remove_member", "manual"]


Text = Annotated[str, Field(min_length=1, max_length=255)]
# An alias is text, or one key with its values: {tcf: [1, 3]}.
Alias = Text | Annotated[dict[Name, list[int]], Field(min_length=1, max_length=1)]


class Purpose(Model):
    """Why data is used.

    basis: the lawful basis by regime. ttl: how long a grant lasts. min_notice_version: the oldest notice a grant
    may have been given under. special_categories: those of GDPR Art. 9 that the notice names. minors: whether a child
    needs a guardian's grant. sale_or_sharing: whether Global Privacy Control and US opt-outs of sale end it.
    """

    description: Text | None = None
    alias: list[Alias] = Field(default_factory=list)
    basis: Annotated[dict[Name, Basis], Field(min_length=1)]
    ttl: Duration = Duration(months=13)
    min_notice_version: Annotated[int, Field(ge=1)] = 1
    special_categories: list[Name] = Field(default_factory=list)
    minors: Literal["guardian", "allow"] = "guardian"
    sale_or_sharing: bool = False
    lia_ref: Text | None = None
    contract_ref: Text | None = None
    law_ref: Text | None = None


class Transfer(Model):
    """How data may go to where the recipient is: `none` inside the EEA, else a mechanism and where it is filed."""

    mechanism: Literal["none", "adequacy", "scc", "bcr", "derogation"]
    ref: Text | None = None


class Destination(Model):
    """What one destination account may receive: every purpose must hold, and nothing unnamed leaves.

    min_segment: the fewest people an audience may have. min_change: the fewest who may join or leave it at once,
    so that the difference of two days shows nobody. child_directed: whose age is unknown is not sent.
    signals: what a platform is told of a person's consent, as fields `granted` or `denied`: each is granted when the
    ledger holds a grant for every purpose named, whatever the basis of the purpose.
    """

    connector: Name
    role: Literal["controller", "processor"]
    dpa_ref: Text | None = None
    transfer: Transfer
    purposes_all_of: Annotated[list[Name], Field(min_length=1)]
    identifiers: Annotated[dict[Name, IdentifierRule], Field(min_length=1)]
    fields: dict[Name, FieldRule] = Field(default_factory=dict)
    signals: dict[Signal, Annotated[list[Name], Field(min_length=1)]] = Field(default_factory=dict)
    min_segment: Annotated[int, Field(ge=0)] = 50
    min_change: Annotated[int, Field(ge=0)] = 0
    child_directed: bool = False
    on_withdraw: list[Removal] = Field(default_factory=_removals, min_length=1)


class Merge(Model):
    """What holds for a person who is several records.

    identifier_scope: `strict` wants a grant for every identifier of the types that are sent; `identifier` sends
    those that have one. shared_by: from how many people on an identifier carries no grant. skew: how close two
    systems may disagree before nobody knows which came last.
    """

    conflict: Literal["most_restrictive"] = "most_restrictive"
    identifier_scope: Literal["strict", "identifier"] = "strict"
    shared_by: Annotated[int, Field(ge=2)] = 2
    skew: Duration = Duration(seconds=300)


class Source(Model):
    """How far a system that reports consent is believed, and how its words for a state translate."""

    trust: Annotated[int, Field(ge=0, le=100)]
    states: dict[Text, States] = Field(default_factory=dict)


class Profiling(Model):
    """The purpose under which behaviour and attributes may form a profile."""

    purpose: Name


class Residence(Model):
    """Which column of the records says where someone lives, and which countries are under which regime."""

    field: Name
    regimes: Annotated[dict[Name, Annotated[list[Text], Field(min_length=1)]], Field(min_length=1)]


class Minors(Model):
    """Which column says how old someone is, and below which age they are a child.

    age: years. born: a date, or the year of birth, of which the later birthday counts. limit: 16 is the highest that
    GDPR Art. 8 lets a member state set, and that of CCPA 1798.120(c).
    """

    age: Name | None = None
    born: Name | None = None
    limit: Annotated[int, Field(ge=13, le=21)] = 16

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.age is None) == (self.born is None):
            raise ValueError("minors are told by either 'age' or 'born'")
        return self


class Controller(Model):
    """Who answers for the processing: named in receipts and in the register."""

    name: Text
    contact: Text


class PolicyFile(Model):
    """The policy file as it stands; a higher revision comes after a lower one."""

    version: Literal[1]
    revision: Annotated[int, Field(ge=1)] = 1
    policy_id: Text
    default: Literal["deny"]
    controller: Controller | None = None
    purposes: Annotated[dict[Name, Purpose], Field(min_length=1)]
    destinations: dict[Name, Destination] = Field(default_factory=dict)
    merge: Merge = Merge()
    sources: dict[Name, Source] = Field(default_factory=dict)
    profiling: Profiling | None = None
    residence: Residence | None = None
    minors: Minors | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy in force: the file, the hash of its bytes, and what its purposes are called elsewhere."""

    path: Path
    sha256: str
    file: PolicyFile
    aliases: Mapping[str, str] = field(repr=False)

    @property
    def policy_id(self) -> str:
        """Return the name the policy gives itself."""
        return self.file.policy_id

    @property
    def purposes(self) -> Mapping[str, Purpose]:
        """Return the purposes by name."""
        return self.file.purposes

    @property
    def destinations(self) -> Mapping[str, Destination]:
        """Return the destinations by name."""
        return self.file.destinations

    def trust(self, source_system: str) -> int:
        """Return how far a source is believed; one that the policy does not name, least."""
        source = self.file.sources.get(source_system)
        return source.trust if source else 0

    def purpose_of(self, word: str) -> str | None:
        """Return the purpose that a source's word stands for, if it is one."""
        return word if word in self.purposes else self.aliases.get(word)

    def state_of(self, source_system: str, word: str) -> States | None:
        """Return the state that a source's word stands for: its own vocabulary first, then ours; never guessed."""
        source = self.file.sources.get(source_system)
        if source and source.states:
            return source.states.get(word)
        return _STATES.get(word)


_STATES: Mapping[str, States] = {
    "granted": "granted",
    "denied": "denied",
    "withdrawn": "withdrawn",
    "expired": "expired",
    "objected": "objected",
}


def read_policy(path: Path, faults: Faults) -> Policy | None:
    """Read a policy file, or return None with every fault noted under its file and line."""
    known = len(faults.found)
    document = read_document(path, faults)
    if document is None:
        return None
    file = bind(document, PolicyFile, faults)
    if file is None:
        return None
    aliases = _aliases(file, document, faults)
    for where, sentence in _contradictions(file):
        faults.add(path, document.line(where), sentence)
    if len(faults.found) > known:
        return None
    return Policy(path, hashlib.sha256(path.read_bytes()).hexdigest(), file, aliases)


def _aliases(file: PolicyFile, document: Document, faults: Faults) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, purpose in file.purposes.items():
        for number, alias in enumerate(purpose.alias):
            if not isinstance(alias, str):
                continue
            if is_misspelt_use(alias):
                hint = did_you_mean(alias, DATA_USES) or "."
                sentence = f"fideslang has no data use {alias!r}{hint}"
                faults.add(document.path, document.line(("purposes", name, "alias", number)), sentence)
            if found.get(alias, name) != name or (alias in file.purposes and alias != name):
                sentence = f"The alias {alias!r} stands for another purpose too. Keep it with one purpose."
                faults.add(document.path, document.line(("purposes", name, "alias", number)), sentence)
            found[alias] = name
    return found


Finding = tuple[tuple[str | int, ...], str]


def _contradictions(file: PolicyFile) -> Iterator[Finding]:
    for name, purpose in file.purposes.items():
        yield from _unfounded(name, purpose)
    for name, destination in file.destinations.items():
        yield from _undeclared(file, name, destination)
        yield from _untransferable(name, destination)
        yield from _exposed(file, name, destination)
        yield from _untold(file, name, destination)
    if file.residence:
        yield from _misplaced(file.residence)
    if file.profiling and file.profiling.purpose not in file.purposes:
        yield ("profiling", "purpose"), _unknown_purpose(file, file.profiling.purpose)


def _untold(file: PolicyFile, name: str, destination: Destination) -> Iterator[Finding]:
    for signal, purposes in destination.signals.items():
        where = ("destinations", name, "signals", signal)
        for purpose in purposes:
            if purpose not in file.purposes:
                yield where, _unknown_purpose(file, purpose)
            elif signal == "ad_user_data" and purpose not in destination.purposes_all_of:
                # A platform goes on using whom it has: only a removal ends that, and only a purpose brings one.
                yield where, f"The signal 'ad_user_data' needs {purpose!r}: add it to 'purposes_all_of' of {name!r}."


def _misplaced(residence: Residence) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for regime, countries in residence.regimes.items():
        for number, country in enumerate(countries):
            if country in seen:
                sentence = f"The country {country!r} stands under {seen[country]!r} too. Keep it under one regime."
                yield ("residence", "regimes", regime, number), sentence
            seen[country] = regime


def _unknown_purpose(file: PolicyFile, name: str) -> str:
    hint = did_you_mean(name, file.purposes) or "."
    return f"The purpose {name!r} is not declared under 'purposes'{hint}"


def _unfounded(name: str, purpose: Purpose) -> Iterator[Finding]:
    for regime, basis in purpose.basis.items():
        needed = _NEEDS_REF.get(basis)
        if needed and getattr(purpose, needed) is None:
            sentence = f"The basis {basis} of purpose {name!r} needs {needed!r}: where its assessment is filed."
            yield ("purposes", name, "basis", regime), sentence


def _undeclared(file: PolicyFile, name: str, destination: Destination) -> Iterator[Finding]:
    for number, purpose in enumerate(destination.purposes_all_of):
        where = ("destinations", name, "purposes_all_of", number)
        if purpose not in file.purposes:
            yield where, _unknown_purpose(file, purpose)
        if purpose in destination.purposes_all_of[:number]:
            yield where, f"The purpose {purpose!r} stands here twice. Keep it once."


def _untransferable(name: str, destination: Destination) -> Iterator[Finding]:
    where = ("destinations", name)
    if destination.role == "processor" and destination.dpa_ref is None:
        yield (*where, "role"), f"The processor {name!r} needs 'dpa_ref': where its contract is filed (GDPR Art. 28)."
    if destination.transfer.mechanism != "none" and destination.transfer.ref is None:
        yield (
            (*where, "transfer"),
            f"The transfer to {name!r} needs 'ref': where its {destination.transfer.mechanism} is filed.",
        )
    for kind, rule in destination.identifiers.items():
        fault = rules_fault(kind, rule)
        if fault:
            yield (*where, "identifiers", kind), fault


def _exposed(file: PolicyFile, name: str, destination: Destination) -> Iterator[Finding]:
    for column, rule in destination.fields.items():
        where = ("destinations", name, "fields", column)
        if column in DIRECT_IDENTIFIERS and isinstance(rule, Pass):
            yield where, f"The field {column!r} is a direct identifier. Name it under 'identifiers', or transform it."
        category = rule.special_category
        if category is None:
            continue
        for purpose in destination.purposes_all_of:
            declared = file.purposes.get(purpose)
            if declared and category not in declared.special_categories:
                yield where, f"Purpose {purpose!r} does not name the special category {category!r} of field {column!r}."
            elif declared and set(declared.basis.values()) != {"consent"}:
                yield where, f"The field {column!r} is of a special category, which leaves for consent alone (Art. 9)."
