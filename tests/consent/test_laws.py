"""Laws of the decision, on random ledgers: SQL = Python, refusals only take away, order and merging cannot widen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.consent.codes import EVENTS, STAGED, code_events, code_subjects
from consentry.consent.instants import micros
from consentry.consent.rules import (
    ALLOW,
    ANY,
    CHILD,
    NOTHING_KNOWN,
    Answer,
    Event,
    Facts,
    PurposeRule,
    Subject,
    TargetRule,
    decide,
)
from consentry.consent.rules_sql import decide_all
from consentry.warehouse import DuckDBWarehouse

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SKEW = timedelta(minutes=5)
TRUST = {"crm": 1, "web": 3, "centre": 4}
STATES = ("granted", "granted", "granted", "denied", "withdrawn", "objected", "expired")
MAIL = PurposeRule(
    "mail",
    {"gdpr": "consent", "us": "opt_out", ANY: "consent"},
    {"gdpr": frozenset({"gdpr"}), "us": frozenset({"us"}), ANY: frozenset({"gdpr"})},
    NOW - timedelta(days=30),
    2,
)
ADS = PurposeRule(
    "ads", {"gdpr": "consent", ANY: "consent"}, {"gdpr": frozenset({"gdpr"}), ANY: frozenset({"gdpr"})},
    NOW - timedelta(days=20), 1,
)  # fmt: skip
SERVICE = PurposeRule(
    "service", {"gdpr": "legitimate_interests", ANY: "legitimate_interests"},
    {"gdpr": frozenset({"gdpr"}), ANY: frozenset({"gdpr"})}, NOW - timedelta(days=30), 1
)  # fmt: skip
BILLING = PurposeRule("billing", {"gdpr": "contract", ANY: "contract"}, {ANY: frozenset({"gdpr"})}, NOW, 1)


def target(name: str, purposes: tuple[PurposeRule, ...], kinds: set[str], *, strict: bool = True) -> TargetRule:
    """Return a rule over the tests' clock."""
    return TargetRule(name, purposes, frozenset(kinds), strict, 2, SKEW, NOW, lambda source: TRUST.get(source, 0))


TARGETS = (
    target("strict", (MAIL,), {"email"}),
    target("loose", (MAIL,), {"email", "phone"}, strict=False),
    target("both", (MAIL, ADS), {"email", "phone"}),
    target("both_loose", (MAIL, ADS), {"email", "phone"}, strict=False),
    target("profile", (ADS,), set()),
    target("service", (SERVICE,), {"email"}),
    target("billing", (BILLING,), {"phone"}),
    replace(target("children", (MAIL, SERVICE), {"email", "phone"}, strict=False), child_directed=True),
    target("unfounded", (), {"email"}),
)


@dataclass(frozen=True, slots=True)
class Person:
    """Someone with identifiers, what was said of them, and what they are suppressed for."""

    subjects: tuple[Subject, ...]
    events: tuple[Event, ...]
    suppressed: frozenset[str]
    facts: Facts = NOTHING_KNOWN

    def answer(self, rule: TargetRule) -> Answer:
        """Decide in Python."""
        return decide(self.subjects, self.events, self.suppressed, rule, self.facts)


minutes = st.one_of(st.integers(-12, 2), st.sampled_from([-60 * 24 * 20, -60 * 24 * 30, -60 * 24 * 25]))
instants = minutes.map(lambda n: NOW + timedelta(minutes=n))


def events(identifiers: Sequence[str]) -> st.SearchStrategy[Event]:
    """Draw one event; most are such that a grant can hold."""
    good = st.builds(
        Event,
        identifier=st.sampled_from(identifiers),
        purpose=st.sampled_from(("mail", "ads")),
        state=st.just("granted"),
        source=st.sampled_from(("centre", "web")),
        effective_at=st.integers(-8, 0).map(lambda n: NOW + timedelta(minutes=n)),
        regime=st.sampled_from((None, "gdpr")),
        notice_version=st.just(2),
    )
    return st.one_of(good, good, _anything(identifiers))


def _anything(identifiers: Sequence[str]) -> st.SearchStrategy[Event]:
    return st.builds(
        Event,
        identifier=st.sampled_from(identifiers),
        purpose=st.sampled_from(("mail", "mail", "ads", "ads", "service", "billing", "unmapped", CHILD, ANY)),
        state=st.sampled_from(STATES),
        source=st.sampled_from((*TRUST, "stranger", "web")),
        effective_at=instants,
        regime=st.sampled_from((None, "gdpr", "gdpr", "gdpr", "us")),
        method=st.sampled_from(("explicit", "explicit", "explicit", "guardian", "implied", "import")),
        proven=st.sampled_from((True, True, True, False)),
        notice_version=st.sampled_from((1, 2, 3)),
        expires_at=st.one_of(st.none(), st.none(), instants),
    ).filter(lambda event: not (event.purpose in (ANY, CHILD) and event.grants))


@st.composite
def people(draw: st.DrawFn, prefix: str = "a") -> Person:
    """Draw someone with up to three identifiers and eight events."""
    kinds = draw(st.lists(st.sampled_from(("email", "email", "phone", "cookie")), min_size=0, max_size=3))
    subjects = _once(
        Subject(
            f"{prefix}{n}", kind, draw(st.sampled_from((True, True, False))), draw(st.sampled_from((1, 1, 1, 1, 2)))
        )
        for n, kind in enumerate(kinds)
    )
    names = [one.identifier for one in subjects]
    told = draw(st.lists(events(names), max_size=8)) if names else []
    suppressed = frozenset(draw(st.sampled_from(((), (), (), (), (), ("mail",), (ANY,)))))
    facts = Facts(
        draw(st.sampled_from((None, None, None, "gdpr", "us", ANY))), draw(st.sampled_from((None, None, False, True)))
    )
    return Person(subjects, tuple(told), suppressed if subjects else frozenset(), facts)


def _once(subjects: Iterable[Subject]) -> tuple[Subject, ...]:
    """Let the first identifier of a kind be the one that leaves: a golden record holds one of each."""
    seen: set[str] = set()
    found: list[Subject] = []
    for one in subjects:
        found.append(replace(one, served=one.served and one.kind not in seen))
        seen |= {one.kind} if one.served else set()
    return tuple(found)


@pytest.fixture(scope="module")
def warehouse() -> Iterator[DuckDBWarehouse]:
    """One warehouse for all examples."""
    house = DuckDBWarehouse(threads=2)
    yield house
    house.close()


def _table(warehouse: DuckDBWarehouse, name: str, rows: list[dict[str, object]], **types: pa.DataType) -> None:
    schema = pa.schema(list(types.items()))
    warehouse.write(name, [pa.RecordBatch.from_pylist(rows, schema=schema)], schema=schema)


def load(warehouse: DuckDBWarehouse, crowd: Sequence[Person]) -> None:
    """Put people into the tables that the SQL reads; identifiers are told apart by the person's number."""
    text, number, flag = pa.string(), pa.int64(), pa.bool_()
    subjects: list[dict[str, object]] = []
    told: list[dict[str, object]] = []
    listed: list[dict[str, object]] = []
    facts: list[dict[str, object]] = []
    for n, person in enumerate(crowd):
        for one in person.subjects:
            name = f"{n}:{one.identifier}"
            row: dict[str, object] = {
                "person_id": f"p{n}",
                "identifier_type": one.kind,
                "identifier": name,
                "served": one.served,
            }
            row["shared_by"] = one.shared_by
            subjects.append({**row, "identifier_hmac": name, "list": "ledger"})
            subjects.append({**row, "identifier_hmac": f"s{name}", "list": "suppression"})
            for scope in person.suppressed:
                listed.append({"identifier_hmac": f"s{name}", "scope_purpose": scope})
        facts.append({"person": n, "person_id": f"p{n}", "regime": person.facts.regime, "minor": person.facts.minor})
        told += [_told(n, event) for event in person.events]
    _table(warehouse, "ops.subject", subjects, person_id=text, identifier_type=text, identifier=text,
           identifier_hmac=text, served=flag, list=text, shared_by=number)  # fmt: skip
    _table(warehouse, "ops.person_fact", facts, person=pa.int32(), person_id=text, regime=text, minor=flag)
    _table(warehouse, "ops.suppression", listed, identifier_hmac=text, scope_purpose=text)
    _table(warehouse, STAGED, told, identifier_hmac=text, purpose=text, state=text,
           source_system=text, regime=text, method=text, proven=flag, notice_version=number, effective_us=number,
           expires_us=number, recorded_us=number)  # fmt: skip
    warehouse.drop(EVENTS)
    code_events(warehouse)
    code_subjects(warehouse)


def _told(n: int, event: Event) -> dict[str, object]:
    return {
        "identifier_hmac": f"{n}:{event.identifier}",
        "purpose": event.purpose,
        "state": event.state,
        "source_system": event.source,
        "regime": event.regime,
        "method": event.method,
        "proven": event.proven,
        "notice_version": event.notice_version,
        "effective_us": micros(event.effective_at),
        "expires_us": micros(event.expires_at) if event.expires_at else None,
        "recorded_us": 0,
    }


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(crowd=st.lists(people(), min_size=25, max_size=40))
def test_everybody_at_once_and_one_by_one_get_the_same_answers(warehouse: DuckDBWarehouse, crowd: list[Person]) -> None:
    crowd = [*crowd, *crowd[:10]]  # people who are alike are decided once
    load(warehouse, crowd)
    decide_all(warehouse, TARGETS, known_us=1, sources=TRUST)
    rows = warehouse.sql("SELECT person_id, target, allow, reason, identifiers FROM ops.decision").to_pylist()
    found = {(row["person_id"], row["target"]): (row["allow"], row["reason"], row["identifiers"]) for row in rows}
    assert len(rows) == len(crowd) * len(TARGETS)
    for n, person in enumerate(crowd):
        for rule in TARGETS:
            answer = person.answer(rule)
            expected = (answer.allow, answer.reason, ",".join(sorted(answer.kinds)))
            assert found[f"p{n}", rule.name] == expected, person


def leaves(answer: Answer) -> set[str]:
    """Return what an answer lets out."""
    return {ALLOW, *answer.kinds} if answer.allow else set()


@settings(max_examples=150, deadline=None)
@given(person=people(), data=st.data())
def test_a_further_refusal_never_lets_more_through(person: Person, data: st.DataObject) -> None:
    names = [one.identifier for one in person.subjects] or ["nobody"]
    refusal = data.draw(events(names).filter(lambda event: not event.grants))
    after = replace(person, events=(*person.events, refusal))
    for rule in TARGETS:
        assert leaves(after.answer(rule)) <= leaves(person.answer(rule))


@settings(max_examples=80, deadline=None)
@given(person=people(), scope=st.sampled_from(("mail", "ads", "service", "billing", ANY)))
def test_a_suppression_never_lets_more_through(person: Person, scope: str) -> None:
    after = replace(person, suppressed=person.suppressed | {scope})
    for rule in TARGETS:
        assert leaves(after.answer(rule)) <= leaves(person.answer(rule))


@settings(max_examples=80, deadline=None)
@given(person=people(), data=st.data())
def test_t22_the_order_of_arrival_changes_nothing(person: Person, data: st.DataObject) -> None:
    shuffled = replace(
        person,
        events=tuple(data.draw(st.permutations(person.events))),
        subjects=tuple(data.draw(st.permutations(person.subjects))),
    )
    for rule in TARGETS:
        assert shuffled.answer(rule) == person.answer(rule)


def _merged(one: Facts, other: Facts) -> Facts:
    """Return what is known of two people who turn out to be one, as far as both records say it."""
    minor = True if one.minor or other.minor else False if (one.minor, other.minor) == (False, False) else None
    regimes = {one.regime, other.regime} - {None}
    return Facts(regimes.pop() if len(regimes) == 1 else ANY if regimes else None, minor)


@settings(max_examples=150, deadline=None)
@given(one=people("a"), other=people("b"))
def test_merging_people_never_widens(one: Person, other: Person) -> None:
    # Where somebody lives, and how old they are, is known of each once it is known of both.
    facts = _merged(one.facts, other.facts)
    merged = Person(
        _once(one.subjects + other.subjects), one.events + other.events, one.suppressed | other.suppressed, facts
    )
    for rule in TARGETS:
        apart = [replace(person, facts=facts).answer(rule) for person in (one, other)]
        assert leaves(merged.answer(rule)) <= leaves(apart[0]) | leaves(apart[1])


def _answers(warehouse: DuckDBWarehouse, crowd: Sequence[Person]) -> list[tuple[object, ...]]:
    load(warehouse, crowd)
    decide_all(warehouse, TARGETS, known_us=1, sources=TRUST)
    rows = warehouse.sql("SELECT person_id, target, reason, identifiers FROM ops.decision").to_pylist()
    return sorted(tuple(row.values()) for row in rows)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(one=people("a"), other=people("b"))
def test_t12_after_an_unmerge_the_answers_are_those_of_people_who_never_were_merged(
    warehouse: DuckDBWarehouse, one: Person, other: Person
) -> None:
    before = _answers(warehouse, [one, other])
    facts = _merged(one.facts, other.facts)
    subjects = _once(one.subjects + other.subjects)
    merged = Person(subjects, one.events + other.events, one.suppressed | other.suppressed, facts)
    _answers(warehouse, [merged])
    assert _answers(warehouse, [one, other]) == before
