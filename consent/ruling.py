"""Turn what the policy says into the rules of one instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from consentry.consent.policy import Policy
from consentry.consent.policy_file import STRICTNESS
from consentry.consent.rules import ANY, PurposeRule, TargetRule


def rule_of(policy: Policy, destination: str, kinds: frozenset[str], *, as_of: datetime) -> TargetRule:
    """Return the rule of one destination of the policy, for the identifier types that would be sent."""
    found = policy.destinations[destination]
    rule = target_rule(policy, destination, found.purposes_all_of, kinds, as_of=as_of)
    return replace(rule, child_directed=found.child_directed)


def target_rule(
    policy: Policy, name: str, purposes: Sequence[str], kinds: frozenset[str], *, as_of: datetime
) -> TargetRule:
    """Return the rule of a target that asks for these purposes and sends these identifier types."""
    merge = policy.file.merge
    return TargetRule(
        name=name,
        purposes=tuple(purpose_rule(policy, purpose, as_of) for purpose in dict.fromkeys(purposes)),
        kinds=kinds,
        strict=merge.identifier_scope == "strict",
        shared_by=merge.shared_by,
        skew=merge.skew.span,
        as_of=as_of,
        trust=policy.trust,
    )


def purpose_rule(policy: Policy, name: str, as_of: datetime) -> PurposeRule:
    """Return the rule of one purpose; where the regime is not known the strictest basis holds."""
    purpose = policy.purposes[name]
    strictest = min(purpose.basis.values(), key=STRICTNESS.index)
    alike = frozenset(regime for regime, basis in purpose.basis.items() if basis == strictest)
    return PurposeRule(
        purpose=name,
        basis={**purpose.basis, ANY: strictest},
        accepts={**{regime: frozenset({regime}) for regime in purpose.basis}, ANY: alike},
        cutoff=purpose.ttl.before(as_of),
        min_notice=purpose.min_notice_version,
        guarded=purpose.minors == "guardian",
    )
