"""Try a policy on cases: given these people and what they said, this is expected.

    cases:
      - name: a withdrawal ends the newsletter
        as_of: 2026-06-01T00:00:00Z
        given:
          - {identifier_type: email, purpose: newsletter, state: granted, effective_at: 2026-01-01T00:00:00Z}
          - {identifier_type: email, purpose: newsletter, state: withdrawn, effective_at: 2026-02-01T00:00:00Z}
        suppressed: []
        expect: {mailer: withdrawn}

The person has one identifier of each type that stands under `given`, all of them in the golden record. Of an event,
what is left out is what a good form would send: explicit, source `test`, the notice the policy needs, regime gdpr.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from consentry.config import Faults, Model, Name, bind, read_document
from consentry.consent.policy import Policy
from consentry.consent.policy_file import States
from consentry.consent.rules import REASONS, UNMAPPED, Event, Facts, Subject, decide
from consentry.consent.ruling import rule_of


class Said(Model):
    """One event of a case."""

    identifier_type: Name = "email"
    purpose: str
    state: States
    effective_at: AwareDatetime
    source: str = "test"
    regime: str | None = "gdpr"
    method: Literal["explicit", "implied", "guardian", "gpc", "import", "agent"] = "explicit"
    proven: bool = True
    notice_version: int | None = None
    expires_at: AwareDatetime | None = None


class Case(Model):
    """One case: who, what was said, and the reason code expected for each destination."""

    name: str
    as_of: AwareDatetime
    given: list[Said] = Field(default_factory=list)
    identifiers: list[Name] = Field(default_factory=list)
    suppressed: list[str] = Field(default_factory=list)
    residence: str | None = None
    minor: bool | None = None
    expect: Annotated[dict[Name, str], Field(min_length=1)]


class CaseFile(Model):
    """A file of cases."""

    cases: Annotated[list[Case], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Tried:
    """What one case came to at one destination."""

    case: str
    destination: str
    expected: str
    found: str

    @property
    def ok(self) -> bool:
        """Tell whether it is what was expected."""
        return self.expected == self.found


def read_cases(path: Path, policy: Policy, faults: Faults) -> list[Case]:
    """Read a file of cases; a destination or reason code that there is not is a fault."""
    document = read_document(path, faults)
    file = bind(document, CaseFile, faults) if document else None
    if document is None or file is None:
        return []
    for number, case in enumerate(file.cases):
        for destination, code in case.expect.items():
            line = document.line(("cases", number, "expect", destination))
            if destination not in policy.destinations:
                faults.add(path, line, f"The policy has no destination {destination!r}.")
            if code not in REASONS:
                faults.add(path, line, f"There is no reason code {code!r}; there are: {', '.join(REASONS)}.")
    return file.cases


def try_case(case: Case, policy: Policy) -> list[Tried]:
    """Decide one case for each destination it names."""
    kinds = sorted({said.identifier_type for said in case.given} | set(case.identifiers))
    subjects = [Subject(kind, kind) for kind in kinds]
    events = [_event(said, policy) for said in case.given]
    facts = Facts(case.residence, case.minor)
    tried = []
    for destination, expected in case.expect.items():
        known = policy.destinations[destination].identifiers
        sent = frozenset(kind for kind in kinds if kind in known) or frozenset(known)
        rule = rule_of(policy, destination, sent, as_of=case.as_of)
        answer = decide(subjects, events, frozenset(case.suppressed), rule, facts)
        tried.append(Tried(case.name, destination, expected, answer.reason))
    return tried


def _event(said: Said, policy: Policy) -> Event:
    purpose = said.purpose if said.purpose == "*" else policy.purpose_of(said.purpose)
    known = policy.purposes.get(purpose) if purpose else None
    needed = known.min_notice_version if known else 1
    return Event(
        identifier=said.identifier_type,
        purpose=purpose or UNMAPPED,
        state=said.state,
        source=said.source,
        effective_at=said.effective_at,
        regime=said.regime,
        method=said.method,
        proven=said.proven,
        notice_version=needed if said.notice_version is None else said.notice_version,
        expires_at=said.expires_at,
    )
