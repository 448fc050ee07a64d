"""Decide for one person: the rules of consent in Python, which `rules_sql` says again for everybody at once.

A decision is a set function of what is known, so that the order of arrival cannot matter, and it only ever asks
of a refusal whether it stands, so that one refusal more never lets more through:

- a grant stands when no refusal for the same identifier and purpose is later (by more than the skew when another
  system reported it) or comes from a source that is trusted more; an objection is only taken back by the person;
- an identifier that has refusals but no standing grant refuses; one refusing identifier refuses the person;
- a standing grant counts when its regime is the person's, it was given explicitly, its notice and mechanism are on
  record, it has not run out and its notice is recent enough.

Refusals count whatever their date: a clock set back by `as_of` never revives what was withdrawn since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

ALLOW = "allow"
UNMAPPED = "unmapped"
ANY = "*"
# The purpose under which the ledger keeps that someone is known to be a child; no policy can name it.
CHILD = "#child"
# First hit decides: of several refusals a person is told the first of this list.
REASONS = (
    "no_policy",
    "suppressed",
    "objected",
    "minor",
    "age_unknown",
    "merged_conflict",
    "conflict_within_skew",
    "withdrawn",
    "denied",
    "no_identifier",
    "shared_identifier",
    "regime_mismatch",
    "implied",
    "unproven",
    "expired",
    "notice_superseded",
    "identifier_scope",
    "unmapped",
    "purpose_not_covered",
    "no_record",
    ALLOW,
)
RANK: Mapping[str, int] = {reason: rank for rank, reason in enumerate(REASONS)}
EXPLICIT = frozenset({"explicit", "guardian", "import", "agent"})
# Of those, what somebody said themselves or had somebody say: only that takes an objection back (GDPR Art. 21).
PERSONAL = frozenset({"explicit", "guardian", "agent"})
# Bases that no refusal of consent touches; suppression does.
UNCONDITIONAL = frozenset({"contract", "legal_obligation", "vital", "public_task"})


@dataclass(frozen=True, slots=True)
class Event:
    """What one source said of one identifier, as far as a decision needs it."""

    identifier: str
    purpose: str
    state: str
    source: str
    effective_at: datetime
    regime: str | None = None
    method: str = "explicit"
    proven: bool = True
    notice_version: int = 1
    expires_at: datetime | None = None

    @property
    def grants(self) -> bool:
        """Tell whether this is a grant; everything else refuses."""
        return self.state == "granted"


@dataclass(frozen=True, slots=True)
class Subject:
    """One identifier of a person.

    served: whether it is the one of its kind that the golden record holds, which is the one that would leave.
    shared_by: how many people have it.
    """

    identifier: str
    kind: str
    served: bool = True
    shared_by: int = 1


@dataclass(frozen=True, slots=True)
class PurposeRule:
    """A purpose as of one instant.

    basis: by regime, and under ANY the one that holds when the regime is not known. accepts: the regimes whose
    grants count there. cutoff: a grant of that instant or before has run out. guarded: whether a child needs a
    guardian's grant.
    """

    purpose: str
    basis: Mapping[str, str]
    accepts: Mapping[str, AbstractSet[str]]
    cutoff: datetime
    min_notice: int
    guarded: bool = True


@dataclass(frozen=True, slots=True)
class TargetRule:
    """Everything one target asks: each purpose must hold, for the identifier types that would be sent."""

    name: str
    purposes: tuple[PurposeRule, ...]
    kinds: AbstractSet[str]
    strict: bool
    shared_by: int
    skew: timedelta
    as_of: datetime
    trust: Callable[[str], int]
    child_directed: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What the records of a person say besides consent, as far as the policy asks.

    regime: that of the one country where they live, ANY when records name several or one that the policy does not
    place, None when nobody knows. minor: whether they are a child; None when nobody knows.
    """

    regime: str | None = None
    minor: bool | None = None


NOTHING_KNOWN = Facts()


@dataclass(frozen=True, slots=True)
class Answer:
    """The reason code, and the identifier types that may leave when it is ALLOW."""

    reason: str
    kinds: frozenset[str] = frozenset()

    @property
    def allow(self) -> bool:
        """Tell whether anything may leave."""
        return self.reason == ALLOW


def decide(
    subjects: Sequence[Subject],
    events: Sequence[Event],
    suppressed: AbstractSet[str],
    rule: TargetRule,
    facts: Facts = NOTHING_KNOWN,
) -> Answer:
    """Answer for one person and target.

    events: all that are recorded for the person's identifiers. suppressed: the purposes the person is suppressed
    for, ANY for all.
    """
    visible = [event for event in events if not event.grants or event.effective_at <= rule.as_of]
    case = _Case(subjects, visible, suppressed, rule, facts)
    answers = [_for_purpose(case, purpose) for purpose in rule.purposes]
    refusal = min((answer.reason for answer in answers), key=RANK.__getitem__, default="no_policy")
    if refusal != ALLOW:
        return Answer(refusal)
    kinds = frozenset.intersection(*(answer.kinds for answer in answers))
    return Answer(ALLOW, kinds) if kinds or not rule.kinds else Answer("identifier_scope")


class _Case:
    """One person before one target, and what holds for all of its purposes."""

    __slots__ = ("age_unknown", "by_identifier", "events", "minor", "named", "regime", "rule", "subjects", "suppressed")

    def __init__(
        self,
        subjects: Sequence[Subject],
        events: Sequence[Event],
        suppressed: AbstractSet[str],
        rule: TargetRule,
        facts: Facts,
    ) -> None:
        self.subjects, self.events, self.suppressed, self.rule = subjects, events, suppressed, rule
        self.by_identifier: dict[str, list[Event]] = {one.identifier: [] for one in subjects}
        for event in events:
            if event.identifier in self.by_identifier:
                self.by_identifier[event.identifier].append(event)
        # A milder regime that only a grant names holds for what that grant was given for, and for nothing else.
        self.named = None if facts.regime else {event.identifier for event in events if event.grants and event.regime}
        self.regime = _regime(events, facts)
        self.minor = facts.minor is True or any(event.purpose == CHILD and not event.grants for event in events)
        self.age_unknown = rule.child_directed and facts.minor is None and not self.minor

    def everything(self, *, named_only: bool) -> Answer:
        """Let every identifier out that would be sent."""
        served = frozenset(
            one.kind
            for one in self.subjects
            if one.served
            and one.kind in self.rule.kinds
            and (self.named is None or not named_only or one.identifier in self.named)
        )
        return Answer(ALLOW, served) if served or not self.rule.kinds else Answer("no_identifier")


def _regime(events: Sequence[Event], facts: Facts) -> str:
    """Return the one regime that residence and every event name, else ANY: the strictest holds.

    Without a known residence a grant must name it, for a refusal must never move a person under a milder regime.
    """
    named = {event.regime for event in events if event.regime}
    if facts.regime:
        return facts.regime if named <= {facts.regime} else ANY
    if len(named) != 1 or not any(event.grants and event.regime for event in events):
        return ANY
    return named.pop()


def _for_purpose(case: _Case, purpose: PurposeRule) -> Answer:
    if case.suppressed & {ANY, purpose.purpose}:
        return Answer("suppressed")
    key = case.regime if case.regime in purpose.basis else ANY
    basis = purpose.basis[key]
    milder = basis != purpose.basis[ANY]
    if basis in UNCONDITIONAL:
        return case.everything(named_only=milder)
    standing = {name: _standing(told, purpose, case.rule) for name, told in case.by_identifier.items()}
    guarded = purpose.guarded and case.minor
    refusal = _first(_refusal(list(standing.values())), _of_age(case, purpose, standing.values()))
    if refusal:
        return Answer(refusal)
    if basis != "consent" and not guarded:
        return case.everything(named_only=milder)
    accepts = purpose.accepts[key]
    codes = {name: _code(found, accepts, purpose, guarded) for name, found in standing.items()}
    return _covered(case.subjects, codes, case.events, case.rule)


def _of_age(case: _Case, purpose: PurposeRule, standing: Iterable[_Standing]) -> str | None:
    """Refuse a child for whom no guardian answered (GDPR Art. 8, CCPA 1798.120(c))."""
    if not purpose.guarded:
        return None
    if case.age_unknown:
        return "age_unknown"
    asked = case.minor and not any(grant.method == "guardian" for one in standing for grant in one.grants)
    return "minor" if asked else None


def _first(*reasons: str | None) -> str | None:
    return min((reason for reason in reasons if reason), key=RANK.__getitem__, default=None)


@dataclass(frozen=True, slots=True)
class _Standing:
    """One identifier and purpose: the refusal that holds, the grants that stand, and how far grants have lapsed."""

    refusal: str | None
    grants: tuple[Event, ...]
    lapsed: datetime | None


def _standing(events: Sequence[Event], purpose: PurposeRule, rule: TargetRule) -> _Standing:
    grants = [e for e in events if e.grants and e.purpose == purpose.purpose]
    refusals = [e for e in events if not e.grants and e.purpose in (purpose.purpose, ANY)]
    standing = tuple(g for g in grants if all(_stands(g, r, rule) for r in refusals))
    lapsed = max((g.effective_at for g in grants if g.expires_at and g.expires_at <= rule.as_of), default=None)
    refusal = _latest(refusals, grants, rule.skew) if refusals and not standing else None
    return _Standing(refusal, standing, lapsed)


def _stands(grant: Event, refusal: Event, rule: TargetRule) -> bool:
    if refusal.state == "objected" and grant.method not in PERSONAL:
        return False
    skew = timedelta() if grant.source == refusal.source else rule.skew
    return grant.effective_at > refusal.effective_at + skew and rule.trust(grant.source) >= rule.trust(refusal.source)


def _latest(refusals: Sequence[Event], grants: Sequence[Event], skew: timedelta) -> str:
    latest = max(event.effective_at for event in refusals)
    last = [event for event in refusals if event.effective_at == latest]
    state = min((event.state for event in last), key=RANK.__getitem__)
    if state == "objected":
        return state
    at_once = any(
        abs(grant.effective_at - latest) <= skew and (grant.source != refusal.source or grant.effective_at == latest)
        for grant in grants
        for refusal in last
    )
    return "conflict_within_skew" if at_once else state


def _refusal(found: Sequence[_Standing]) -> str | None:
    refusals = [one.refusal for one in found if one.refusal]
    if not refusals:
        return None
    first = min(refusals, key=RANK.__getitem__)
    return "merged_conflict" if first != "objected" and any(one.grants for one in found) else first


def _code(found: _Standing, accepts: AbstractSet[str], purpose: PurposeRule, guarded: bool) -> str | None:
    """Return how far the best standing grant gets, ALLOW at best, or None when there is none."""
    codes = [_check(grant, found.lapsed, accepts, purpose, guarded) for grant in found.grants]
    return max(codes, key=RANK.__getitem__, default=None)


def _check(
    grant: Event, lapsed: datetime | None, accepts: AbstractSet[str], purpose: PurposeRule, guarded: bool
) -> str:
    if guarded and grant.method != "guardian":
        return "minor"
    if grant.regime and grant.regime not in accepts:
        return "regime_mismatch"
    if grant.method not in EXPLICIT:
        return "implied"
    if not grant.proven:
        return "unproven"
    if grant.effective_at <= purpose.cutoff or (lapsed is not None and grant.effective_at <= lapsed):
        return "expired"
    return "notice_superseded" if grant.notice_version < purpose.min_notice else ALLOW


def _covered(
    subjects: Sequence[Subject], codes: Mapping[str, str | None], events: Sequence[Event], rule: TargetRule
) -> Answer:
    """Compare what would be sent with what was granted."""
    if all(code is None for code in codes.values()):
        return Answer(_absent(events))
    asked = [one for one in subjects if _is_asked(one, rule)]
    served = frozenset(one.kind for one in asked if one.served)
    if rule.kinds and not served:
        return Answer("no_identifier")
    reasons = {one.identifier: _reason(one, codes[one.identifier], rule) for one in asked}
    good = frozenset(one.kind for one in asked if one.served and reasons[one.identifier] == ALLOW)
    holds = all(reason == ALLOW for reason in reasons.values()) if rule.kinds and rule.strict else None
    if holds is None:
        holds = any(reason == ALLOW for reason in reasons.values())
    if holds:
        return Answer(ALLOW, good & rule.kinds)
    return Answer(min((reason for reason in reasons.values() if reason != ALLOW), key=RANK.__getitem__))


def _is_asked(one: Subject, rule: TargetRule) -> bool:
    if not rule.kinds:
        return True
    return one.kind in rule.kinds and (rule.strict or one.served)


def _reason(one: Subject, code: str | None, rule: TargetRule) -> str:
    if code is None:
        return "identifier_scope"
    return "shared_identifier" if one.shared_by >= rule.shared_by else code


def _absent(events: Sequence[Event]) -> str:
    purposes = {event.purpose for event in events}
    if purposes - {UNMAPPED, ANY, CHILD}:
        return "purpose_not_covered"
    return UNMAPPED if UNMAPPED in purposes else "no_record"
