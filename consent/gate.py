"""Decide who may go where, and make the only batches that a destination can receive.

A batch carries a seal under a key that exists only inside one Gate, drawn anew in each process; delivery has the
seal checked before a connector sees the batch. People are decided for a plan from the warehouse, all at once, and
again from the ledger itself at the moment their batch is sealed: what was withdrawn in between does not leave.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from consentry.consent.instants import micros
from consentry.consent.keys import Keyring
from consentry.consent.ledger import Ledger
from consentry.consent.mirror import mirror
from consentry.consent.payload import GRANTED, LEAVING, Payloads, without_imputed
from consentry.consent.policy import Policy
from consentry.consent.policy_file import SIGNALS, Destination
from consentry.consent.present import Register, decide_now, registered
from consentry.consent.rules import Answer, PurposeRule, TargetRule
from consentry.consent.rules_sql import DECISIONS, decide_all
from consentry.consent.ruling import purpose_rule, target_rule
from consentry.consent.subjects import Keyed, write_facts, write_subjects
from consentry.errors import Blocked, ConfigError
from consentry.model.batch import Batch, Operation, Row, Value
from consentry.model.names import did_you_mean
from consentry.warehouse import Warehouse

PROFILE = "profile"
People = Sequence[Mapping[str, Value]]


@dataclass(frozen=True, slots=True)
class Target:
    """One sync as the policy sees it.

    name: of the sync. destination: its name in the policy. identifiers: the types that are sent. fields: what the
    destination calls a field -> its column of the golden record.
    """

    name: str
    destination: str
    purpose: str
    audience: str
    identifiers: tuple[str, ...]
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decided:
    """How many people a target may receive, and how many are refused by reason code."""

    allowed: int
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A batch that may be sent, who was left out of it and why, and what the content of each row is called.

    imputed: the fields that leave with an imputed value for somebody.
    """

    batch: Batch
    refused: tuple[tuple[str, str], ...]
    payload_hashes: Mapping[str, str]
    imputed: frozenset[str] = frozenset()


class Gate:
    """The policy, the ledger and the keys, as of one instant.

    as_of: the job's clock for grants, the real time when absent. known_at: what was recorded later is not looked at;
    only for looking back, a run never sets it.
    """

    def __init__(
        self,
        policy: Policy,
        ledger: Ledger,
        keyring: Keyring,
        *,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> None:
        for instant in (as_of, known_at):
            if instant is not None and instant.tzinfo is None:
                raise ValueError("An instant of the gate has a time zone.")
        self.policy = policy
        self.ledger = ledger
        self._keyring = keyring
        self._as_of = as_of
        self._known_at = known_at
        self._seal_key = os.urandom(32)

    def admit(self, target: Target) -> None:
        """Raise ConfigError with every way in which a target asks for what the policy does not grant it."""
        faults = [f"{self.policy.path}: {fault}" for fault in refusals(self.policy, target)]
        if faults:
            raise ConfigError(*faults)

    def withholds(self, target: Target, *, size: int, moving: int) -> str | None:
        """Return why an audience is not brought in step at all, or None when it may be.

        size: people it would have. moving: those who would join or leave. `suppressed_small`: so few that being in
        it says something of each; `small_change`: so few that comparing two days would name them. An audience that
        ends is not held back, nor ever what a withdrawal asks for.
        """
        destination = self.policy.destinations[target.destination]
        if 0 < size < destination.min_segment:
            return "suppressed_small"
        return "small_change" if 0 < moving < destination.min_change else None

    def subjects(self, warehouse: Warehouse) -> int:
        """Write ops.subject: each person's identifiers as HMACs; return the number of people with one.

        And ops.person_fact: the regime where each lives, and whether they are a child, as far as the policy asks.
        """
        write_facts(warehouse, self.policy.file, as_of=self._now())
        return write_subjects(warehouse, self._keyring)

    def decide(self, warehouse: Warehouse, targets: Sequence[Target]) -> dict[str, Decided]:
        """Decide for all people and targets; write ops.decision(person_id, target, allow, reason, identifiers)."""
        for target in targets:
            self.admit(target)
        told = [rule for target in targets for rule in self._signals(target).values()]
        decided = self._decide(warehouse, [*[self._rule(target) for target in targets], *told])
        return {target.name: decided[target.name] for target in targets}

    def decide_profile(self, warehouse: Warehouse) -> tuple[Decided, dict[str, Decided]]:
        """Decide who may be profiled: the target `profile` of ops.decision. Without a purpose for it, nobody.

        And, by purpose, whose profile may hold what is of a special category: the targets `profile/PURPOSE`.
        """
        special = self._special_rules()
        decided = self._decide(warehouse, [self._profile_rule(), *special.values()])
        return decided[PROFILE], {purpose: decided[rule.name] for purpose, rule in special.items()}

    def payload_hashes(self, warehouse: Warehouse, target: Target, query: str) -> Iterator[pa.RecordBatch]:
        """Name the content that each row of a query would have at the target: batches (person_id, payload_hash).

        query: yields rows like identity.golden's, with person_id, and perhaps imputed values beside them; decide
        first. A person the target refuses is hashed as if no identifier could leave.
        """
        payloads = self._payloads(target)
        told = (
            " LEFT JOIN (SELECT person_id, string_agg(split_part(target, '/', 2), ',') AS granted"
            f" FROM {DECISIONS} WHERE allow AND starts_with(target, $consentry_target || '/') GROUP BY person_id) s"
            " ON s.person_id = q.person_id"
        )
        # Reading everybody's signals takes longer than hashing the few rows of an ordinary run.
        signals = bool(self.policy.destinations[target.destination].signals)
        joined = (
            f"SELECT q.*, coalesce(d.identifiers, '') AS {LEAVING}{f', s.granted AS {GRANTED}' if signals else ''}"
            f" FROM ({query}) q"
            f" LEFT JOIN {DECISIONS} d ON d.person_id = q.person_id AND d.target = $consentry_target"
            f"{told if signals else ''}"
        )
        for batch in warehouse.stream(joined, consentry_target=target.name):
            yield payloads.hashed(batch)

    def register(self, warehouse: Warehouse, people: Sequence[str]) -> Register:
        """Read what `seal` needs to know of some people from the warehouse, once for many batches of them.

        Nothing that anybody says is in it, so that it does not age while people are being sent.
        """
        return registered(warehouse, people)

    def seal(
        self,
        warehouse: Warehouse,
        target: Target,
        operation: Operation,
        people: People,
        *,
        batch_id: str,
        known: Mapping[str, Mapping[str, str]] | None = None,
        register: Register | None = None,
    ) -> Sealed:
        """Make the batch of one operation for some people: golden rows with person_id and, where known, remote_id.

        For `add` and `change` everyone is decided again, now, from the ledger; whoever is refused is left out. A
        `remove` needs no consent and carries no field; it names people by what `known` has of them by person id,
        which is what the destination was sent, and the others by their golden rows. register: of these people and
        perhaps others; read when it is not given. Imputed values beside a row (`consent.payload.imputed`) leave where
        the observed one is missing, for those who may be profiled now.
        """
        self.admit(target)
        payloads = self._payloads(target)
        answers = {str(one["person_id"]): Answer("allow", frozenset(target.identifiers)) for one in people}
        granted: dict[str, list[str]] = {}
        guessed: dict[str, frozenset[str]] = {}
        if operation != "remove":
            register = register or self.register(warehouse, _ids(people))
            answers = self._decide_now(register, self._rule(target), people)
            granted = self._granted(register, target, people)
            people, guessed = self._profiled(register, payloads, people)
        rows, refused = [], []
        for one in people:
            person, answer = str(one["person_id"]), answers[str(one["person_id"])]
            if operation == "remove" and (sent := (known or {}).get(person)):
                rows.append(Row(person, sent, {}, remote_id=payloads.remote_id(one)))
                continue
            row = payloads.row(one, answer.kinds, operation, granted.get(person, ())) if answer.allow else None
            if row is None:
                refused.append((person, answer.reason if not answer.allow else "no_identifier"))
            else:
                rows.append(row)
        hashes = {row.person_id: payloads.hash(row) for row in rows}
        batch = Batch(batch_id, target.destination, target.audience, target.purpose, operation, tuple(rows))
        imputed = frozenset(name for row in rows for name in guessed.get(row.person_id, ()))
        sealed = replace(batch, seal=batch.digest(self._seal_key))
        return Sealed(sealed, tuple(refused), MappingProxyType(hashes), imputed)

    def answers(self, register: Register, target: Target, people: People) -> dict[str, Answer]:
        """Decide for some people at this moment, from the ledger itself, without making a batch; by person id.

        register: of these people and perhaps others.
        """
        self.admit(target)
        return self._decide_now(register, self._rule(target), people)

    def verify(self, batch: Batch) -> None:
        """Raise Blocked unless this gate made the batch, and made it just as it is."""
        if not hmac.compare_digest(batch.seal, batch.digest(self._seal_key)):
            message = (
                f"A batch for {batch.destination!r} did not come from the consent gate, or was changed after it. "
                "Nothing of it is sent."
            )
            raise Blocked(message, code="unsealed_batch")

    def _decide(self, warehouse: Warehouse, rules: Sequence[TargetRule]) -> dict[str, Decided]:
        mirror(self.ledger.store, warehouse)
        sources = {name: source.trust for name, source in self.policy.file.sources.items()}
        decide_all(warehouse, rules, known_us=micros(self._known()), sources=sources)
        counted = warehouse.sql(
            f"SELECT target, allow, reason, count(*) AS n FROM {DECISIONS} GROUP BY ALL ORDER BY target, n DESC, reason"
        ).to_pylist()
        return {rule.name: _decided(counted, rule.name) for rule in rules}

    def _special_rules(self) -> dict[str, TargetRule]:
        profiling = self.policy.file.profiling
        admitting = {profiling.admits(special) for special in profiling.named().values()} if profiling else set[str]()
        return {purpose: self._special_rule(purpose) for purpose in sorted(admitting)}

    def _special_rule(self, purpose: str) -> TargetRule:
        assert self.policy.file.profiling is not None
        purposes = dict.fromkeys((self.policy.file.profiling.purpose, purpose))
        return self._rule_for(special_target(purpose), list(purposes), frozenset())

    def _granted(self, register: Register, target: Target, people: People) -> dict[str, list[str]]:
        """Return the consent signals that the ledger grants now, by person."""
        found: dict[str, list[str]] = {}
        for signal, rule in self._signals(target).items():
            for person, answer in self._decide_now(register, rule, people).items():
                if answer.allow:
                    found.setdefault(person, []).append(signal)
        return found

    def _profiled(
        self, register: Register, payloads: Payloads, people: People
    ) -> tuple[People, dict[str, frozenset[str]]]:
        """Take the imputed values of everybody who may not be profiled now: a guess about somebody is profiling.

        Returns the people, and the fields that are imputed, by person id, of those who have any.
        """
        guessed = {str(one["person_id"]): fields for one in people if (fields := payloads.imputed(one))}
        if not guessed:
            return people, {}
        concerned = [one for one in people if str(one["person_id"]) in guessed]
        answers = self._decide_now(register, self._profile_rule(), concerned)
        allowed = {person: fields for person, fields in guessed.items() if answers[person].allow}
        refused = guessed.keys() - allowed.keys()
        return [without_imputed(one) if str(one["person_id"]) in refused else one for one in people], allowed

    def _signals(self, target: Target) -> dict[str, TargetRule]:
        """Return the rule of each consent signal: an effective grant for every purpose, whatever its basis."""
        rule = self._rule(target)
        told = self.policy.destinations[target.destination].signals
        return {
            signal: replace(
                rule,
                name=f"{target.name}/{signal}",
                purposes=tuple(self._consenting(purpose) for purpose in purposes),
            )
            for signal, purposes in told.items()
        }

    def _consenting(self, purpose: str) -> PurposeRule:
        rule = purpose_rule(self.policy, purpose, self._now())
        return replace(rule, basis=dict.fromkeys(rule.basis, "consent"))

    def _decide_now(self, register: Register, rule: TargetRule, people: People) -> dict[str, Answer]:
        return decide_now(
            register,
            self.ledger.store,
            Keyed(self._keyring),
            people,
            rule=rule,
            known_at=self._known(),
        )

    def _known(self) -> datetime:
        return self._known_at or datetime.now(UTC)

    def _now(self) -> datetime:
        return self._as_of or datetime.now(UTC)

    def _payloads(self, target: Target) -> Payloads:
        return Payloads(target, self.policy.destinations[target.destination], self._keyring)

    def _rule(self, target: Target) -> TargetRule:
        destination = self.policy.destinations[target.destination]
        rule = self._rule_for(target.name, destination.purposes_all_of, frozenset(target.identifiers))
        return replace(rule, child_directed=destination.child_directed)

    def _profile_rule(self) -> TargetRule:
        profiling = self.policy.file.profiling
        return self._rule_for(PROFILE, [profiling.purpose] if profiling else [], frozenset())

    def _rule_for(self, name: str, purposes: Sequence[str], kinds: frozenset[str]) -> TargetRule:
        return target_rule(self.policy, name, purposes, kinds, as_of=self._now())


def special_target(purpose: str) -> str:
    """Name the decision on whose profile may hold what only this purpose admits."""
    return f"{PROFILE}/{purpose}"


def _ids(people: People) -> list[str]:
    return [str(one["person_id"]) for one in people]


def refusals(policy: Policy, target: Target) -> Iterator[str]:
    """Yield every way in which a target asks for what the policy does not grant it, one sentence each."""
    known = policy.destinations
    destination = known.get(target.destination)
    place = f"sync {target.name!r}"
    if destination is None:
        hint = did_you_mean(target.destination, known) or "."
        yield f"{place}: the policy has no destination {target.destination!r}{hint} Nothing may go there."
        return
    if target.purpose not in policy.purposes:
        hint = did_you_mean(target.purpose, policy.purposes) or "."
        yield f"{place}: the policy has no purpose {target.purpose!r}{hint}"
    elif target.purpose not in destination.purposes_all_of:
        yield (
            f"{place}: the destination {target.destination!r} is not for purpose {target.purpose!r}. "
            "Add it to its 'purposes_all_of', or use another destination."
        )
    if not target.identifiers:
        known_here = ", ".join(destination.identifiers)
        yield f"{place}: no identifier is sent. Name those of the destination: {known_here}."
    yield from _unnamed(place, target, destination)


def _unnamed(place: str, target: Target, destination: Destination) -> Iterator[str]:
    where = f"under 'destinations.{target.destination}"
    for kind in target.identifiers:
        if kind not in destination.identifiers:
            hint = did_you_mean(kind, destination.identifiers) or "."
            yield f"{place}: the policy names no identifier {kind!r} {where}.identifiers'{hint} It may not leave."
    for remote, column in target.fields.items():
        if remote in SIGNALS:
            yield f"{place}: {remote!r} is a consent signal. Name its purposes {where}.signals'; no column states it."
        elif column not in destination.fields:
            hint = did_you_mean(column, destination.fields) or "."
            what = f"{column!r} (for {remote!r})"
            yield f"{place}: the policy names no field {what} {where}.fields'{hint} It may not leave."


# Rows as the warehouse returns them: target, allow, reason, n.
def _decided(counted: Sequence[Mapping[str, Any]], name: str) -> Decided:
    own = [row for row in counted if row["target"] == name]
    return Decided(
        sum(int(row["n"]) for row in own if row["allow"]),
        {str(row["reason"]): int(row["n"]) for row in own if not row["allow"]},
    )
