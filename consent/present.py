"""Decide for a few people at this moment, from the store itself and not from the warehouse's copy of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consentry.consent.codes import FACTS, SUBJECTS
from consentry.consent.instants import written
from consentry.consent.mirror import events_of, suppressions_of
from consentry.consent.normal import normal
from consentry.consent.rules import NOTHING_KNOWN, Answer, Event, Facts, Subject, TargetRule, decide
from consentry.consent.subjects import Keyed
from consentry.consent.tokens import LEDGER, SUPPRESSION
from consentry.model.batch import Value
from consentry.store import Store
from consentry.warehouse import Warehouse

_ASKED = "SEMI JOIN (SELECT unnest($people) AS person_id) USING (person_id)"
# Both with their person_id; what is asked about some people only is joined to them.
SUBJECT_ROWS = (
    f"SELECT person_id, identifier_type, identifier, identifier_hmac, served, shared_by, list FROM {SUBJECTS}"
)
FACT_ROWS = f"SELECT person_id, regime, minor FROM {FACTS}"


@dataclass(frozen=True, slots=True)
class Register:
    """What the warehouse knows of some people, by person id: their identifiers by HMAC, and where they live."""

    subjects: Mapping[str, Sequence[dict[str, Any]]]
    facts: Mapping[str, Facts]


def registered(warehouse: Warehouse, people: Sequence[str]) -> Register:
    """Read about some people what no word of theirs changes; it may be used until identities are resolved again."""
    rows = warehouse.sql(f"{SUBJECT_ROWS} {_ASKED}", people=list(people)).to_pylist()
    found = warehouse.sql(f"{FACT_ROWS} {_ASKED}", people=list(people)).to_pylist()
    facts = {row["person_id"]: Facts(row["regime"], row["minor"]) for row in found}
    return Register(_grouped(rows, "person_id"), facts)


def decide_now(
    register: Register,
    store: Store,
    keyed: Keyed,
    people: Sequence[Mapping[str, Value]],
    *,
    rule: TargetRule,
    known_at: datetime,
) -> dict[str, Answer]:
    """Answer for each person, by person id; what they said is read from the store now.

    people: golden rows with person_id; what they hold now, not what ops.subject says, is what would leave.
    """
    own = {str(one["person_id"]): register.subjects.get(str(one["person_id"]), ()) for one in people}
    rows = [row for subjects in own.values() for row in subjects]
    names = {row["identifier_hmac"]: row["identifier"] for row in rows if row["list"] == LEDGER}
    events: dict[str, list[Event]] = defaultdict(list)
    for event in events_of(store, names, known_at=written(known_at)):
        events[event.identifier].append(event)
    macs = [row["identifier_hmac"] for row in rows if row["list"] == SUPPRESSION]
    scopes: dict[str, set[str]] = defaultdict(set)
    for mac, scope in suppressions_of(store, macs):
        scopes[mac].add(scope)
    answers: dict[str, Answer] = {}
    for one in people:
        person = str(one["person_id"])
        subjects = _subjects(own[person], _served(one, rule, keyed))
        told = [event for subject in subjects for event in events.get(subject.identifier, ())]
        listed = (row["identifier_hmac"] for row in own[person] if row["list"] == SUPPRESSION)
        suppressed = {scope for mac in listed for scope in scopes.get(mac, ())}
        answers[person] = decide(subjects, told, suppressed, rule, register.facts.get(person, NOTHING_KNOWN))
    return answers


def _served(one: Mapping[str, Value], rule: TargetRule, keyed: Keyed) -> frozenset[str]:
    """Return the ledger's names of the identifiers that this golden row would send."""
    named: set[str] = set()
    for kind in rule.kinds:
        value = one.get(kind)
        form = normal(kind, str(value)) if value is not None else None
        if form is not None:
            named.add(keyed.ledger(kind, form)[0])
    return frozenset(named)


# Rows as the warehouse returns them.
def _grouped(rows: Sequence[dict[str, Any]], key: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row[key]].append(row)
    return found


def _subjects(rows: Sequence[dict[str, Any]], served: frozenset[str]) -> list[Subject]:
    found = {
        row["identifier"]: Subject(
            row["identifier"], row["identifier_type"], row["identifier"] in served, int(row["shared_by"])
        )
        for row in rows
        if row["list"] == LEDGER
    }
    return list(found.values())
