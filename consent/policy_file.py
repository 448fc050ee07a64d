"""What a policy file says: its purposes, and what each destination may receive for them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from consentry.config import Model, Name
from consentry.consent.duration import Duration
from consentry.consent.transforms import FieldRule, IdentifierRule

# The six of GDPR Art. 6(1), and the opt-out model of the US state laws, which is not one of them.
Basis = Literal[
    "consent", "contract", "legal_obligation", "vital", "public_task", "legitimate_interests", "opt_out"
]  # fmt: skip
# From the one that lets the fewest through to the one that lets the most: where someone lives is unknown, the
# first holds. Contract and the like stand last, for no refusal of the person ends them.
STRICTNESS: tuple[Basis, ...] = (
    "consent", "legitimate_interests", "opt_out", "contract", "legal_obligation", "public_task", "vital"
)  # fmt: skip
States = Literal["granted", "denied", "withdrawn", "expired", "objected"]
# Google's two (support.google.com/google-ads/answer/14310715); the connector spells them as its platform wants.
Signal = Literal["ad_user_data", "ad_personalization"]
SIGNALS: tuple[Signal, ...] = ("ad_user_data", "ad_personalization")
# What is tried to take someone out again, in this order, until one works.
Removal = Literal["remove_member", "replace_list", "delete_audience", "manual"]


def _removals() -> list[Removal]:
    return ["remove_member", "manual"]


Text = Annotated[str, Field(min_length=1, max_length=255)]
# What a rule reads: ("event", name) or ("attribute", name).
Input = tuple[str, str]
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

    def covers(self, category: str) -> bool:
        """Tell whether the purpose may see a special category: its notice names it, and it rests on consent alone."""
        return category in self.special_categories and set(self.basis.values()) == {"consent"}


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


class Special(Model):
    """Its category, and the purpose whose grant lets it into a profile: by default that of profiling."""

    category: Name
    purpose: Name | None = None


class SpecialInputs(Model):
    """Attributes and events of a special category (GDPR Art. 9), by name."""

    attributes: dict[Name, Special] = Field(default_factory=dict)
    events: dict[Name, Special] = Field(default_factory=dict)


class Profiling(Model):
    """The purpose under which behaviour and attributes may form a profile.

    special: what a profile holds only of those who granted a purpose that names its category.
    """

    purpose: Name
    special: SpecialInputs = SpecialInputs()

    def named(self) -> dict[Input, Special]:
        """Return what is special by what rules read: ("attribute", name) or ("event", name)."""
        attributes: dict[Input, Special] = {("attribute", name): it for name, it in self.special.attributes.items()}
        return attributes | {("event", name): it for name, it in self.special.events.items()}

    def admits(self, special: Special) -> str:
        """Name the purpose whose grant lets something special into a profile."""
        return special.purpose or self.purpose


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
