"""Say why a person is in a segment or not: as of the last evaluation, or of the one in force at an earlier instant.

Who was in what is kept, and so is by what a run evaluated; the values of attributes are where the job says so. What is
told of an earlier instant says which is which. Results are plain JSON, and hold personal values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from consentry.consent.instants import read_instant
from consentry.errors import ConfigError
from consentry.identity.aliases import resolve_alias
from consentry.model.names import quoted
from consentry.pipeline.earlier import names_of
from consentry.pipeline.left import left_warehouse
from consentry.pipeline.load import Loaded
from consentry.pipeline.segmenting import Told, last_state
from consentry.pipeline.terms import Terms, terms_of
from consentry.pipeline.then import Then, came_first, notes, remark
from consentry.segments import ast
from consentry.segments.clock import Clock
from consentry.segments.describe import describe, explain
from consentry.segments.earlier import earlier
from consentry.segments.past import evaluation_at, is_numbered, standings
from consentry.segments.person import Event, Person, Scores
from consentry.segments.segment import Segment
from consentry.segments.served import served_to, versions
from consentry.segments.spell import spell, spell_value
from consentry.segments.state import State, fingerprint
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON

_NOBODY = "There is no profile of this person. `consentry explain JOB --by TYPE --value VALUE` finds a person id."


@dataclass(frozen=True, slots=True)
class _Bench:
    """What conditions are judged by. thresholds: percentiles as rules spell them."""

    person: Person
    clock: Clock
    thresholds: Mapping[str, float | None]
    scores: Scores

    def judge(self, rule: ast.Rule) -> Told:
        percentiles = (node for node, _ in ast.walk(rule) if isinstance(node, ast.Percentile))
        thresholds = {node: self.thresholds.get(spell_value(node)) for node in percentiles}
        why = explain(rule, self.person, self.clock, thresholds, self.scores)
        reasons = [
            {"condition": r.atom, "holds": r.holds, "values": {name: _shown(v) for name, v in r.values.items()}}
            for r in why.reasons
        ]
        return {"rule": spell(rule), "means": describe(rule), "holds": why.holds, "reasons": reasons}


def explain_member(loaded: Loaded, person: str) -> list[Told]:
    """Say for every segment whether the rule holds for a person and why, as of the last evaluation."""
    with left_warehouse(loaded, "there is nothing to look at") as warehouse:
        state = last_state(loaded, warehouse)
        found = _person(loaded, warehouse, person)
        if found is None:
            raise ConfigError(_NOBODY)
        query = "SELECT segment, entered_at FROM segment.membership WHERE person_id = $person"
        inside = {row["segment"]: row["entered_at"] for row in warehouse.sql(query, person=person).to_pylist()}
    bench = _bench(loaded, found, state, inside)
    rows: list[Told] = []
    for segment in loaded.segments:
        row: Told = {"segment": segment.name, "member": segment.name in inside, "holds": None, "reasons": []}
        if segment.name in inside:
            row["since"] = inside[segment.name].isoformat()
        if segment.rule is not None:
            row |= bench.judge(segment.rule)
        if first := came_first(segment, loaded.segments, inside, row):
            row["remark"] = first
        rows.append(row)
    return rows


def explain_past(loaded: Loaded, person: str, at: datetime) -> Told:
    """Say for every segment of then and now whether a person was in it at an instant, since when, and why.

    Who was in what is what was published; conditions are those of the rules of now, with the clock, the events and the
    attributes of then, or the attributes of now where those of then are not kept. Raises ConfigError for nobody, and
    for an instant before the first evaluation.
    """
    with left_warehouse(loaded, "there is nothing to look at") as warehouse:
        state = last_state(loaded, warehouse)
        today = resolve_alias(warehouse, person)
        if today is None or not is_numbered(warehouse, person):
            raise ConfigError(_NOBODY)
        evaluation = evaluation_at(warehouse, at)
        if evaluation is None:
            raise ConfigError(f"The job {loaded.job.job} had not evaluated its segments yet at {_shown(at)}.")
        terms = terms_of(loaded.state / "audit", evaluation.run_id)
        known = earlier(warehouse, person, names_of(loaded), terms.noted_at)
        found = _person(loaded, warehouse, person, known.values)
        others = list(_others(warehouse, person, today))
        stood = standings(warehouse, person, evaluation)
        definition = fingerprint(loaded.segments, loaded.catalog, versions(warehouse))
    then = Then(loaded, evaluation, stood, terms, known, _same_rules(loaded, terms, definition))
    state = replace(
        state,
        at=evaluation.at,
        thresholds={**state.thresholds, **(terms.thresholds or {})},
        figures={**state.figures, **(terms.figures or {})},
    )
    bench = None if found is None else _bench(loaded, found, state, then.inside)
    segments = {segment.name: segment for segment in loaded.segments}
    return {
        "person_id": person,
        "at": _shown(at),
        "evaluation": {
            "run_id": evaluation.run_id,
            "at": _shown(evaluation.at),
            "plan_sha256": terms.plan,
            "rules": {True: "same", False: "changed", None: "unknown"}[then.same_rules],
        },
        "of_now": sorted(known.of_now),
        "notes": [*others, *notes(then, has_profile=bench is not None)],
        "segments": [
            _told(name, segments.get(name), then, bench) for name in sorted({*segments, *stood, *evaluation.segments})
        ],
    }


def instant_asked(text: str, zone: ZoneInfo) -> datetime | None:
    """Read an instant with its zone, or a day, which stands for its end where days begin in `zone`; None otherwise."""
    try:
        return read_instant(datetime.combine(date.fromisoformat(text.strip()), time.max, zone))
    except ValueError:
        return read_instant(text)


def _told(name: str, segment: Segment | None, then: Then, bench: _Bench | None) -> Told:
    standing = then.stood.get(name)
    row: Told = {"segment": name, "member": standing is not None and standing.member, "holds": None, "reasons": []}
    if standing is not None:
        row |= {"since" if standing.member else "left": _shown(standing.since), "run_id": standing.run_id}
    if segment is not None and segment.rule is not None and bench is not None:
        row |= bench.judge(segment.rule)
    found = remark(name, segment, then, row)
    return row | ({"remark": found} if found else {})


def _others(warehouse: Warehouse, person: str, today: str) -> Iterator[str]:
    """Name the other ids of a person, which have memberships of their own."""
    if today != person:
        yield f"The person is kept as {today} today: what came after is told of that id."
    query = f"SELECT person_id FROM identity.person WHERE merged_into = TRY_CAST($person AS {PERSON}) ORDER BY 1"
    merged = warehouse.sql(query, person=person)["person_id"].to_pylist()
    if merged:
        listed = ", ".join(map(str, merged))
        until = "have memberships of their own until then, and their events count here"
        yield f"Ids that went into this one {until}: {listed}."


def _same_rules(loaded: Loaded, terms: Terms, definition: str) -> bool | None:
    # A model that was trained anew has another fingerprint; the rules are the same when all files of the job are.
    if terms.plan == loaded.sha256:
        return True
    return None if terms.definition is None else terms.definition == definition


def _bench(loaded: Loaded, person: Person, state: State, inside: Collection[str]) -> _Bench:
    return _Bench(
        person=replace(person, segments=frozenset(inside)),
        clock=Clock(state.at, loaded.catalog.zone()),
        thresholds=state.thresholds,
        scores=Scores(loaded.catalog, state.figures),
    )


def _person(
    loaded: Loaded, warehouse: Warehouse, person: str, replaced: Mapping[str, Any] = MappingProxyType({})
) -> Person | None:
    """Return what rules see of a person, None without a profile. replaced: values of then that are others now."""
    query = f"SELECT * FROM profile.person WHERE person_id = TRY_CAST($person AS {PERSON})"
    rows = warehouse.sql(query, person=person).to_pylist()
    if not rows:
        return None
    attributes = {name: replaced.get(name, rows[0].get(name)) for name in loaded.catalog.attributes}
    events = [
        Event(event, row["occurred_at"], {name: row[name] for name in properties})
        for event, properties in loaded.catalog.events.items()
        for row in _events(warehouse, event, list(properties), person)
    ]
    served = served_to(warehouse, loaded.catalog.served, person)
    return Person(attributes, events, served={name: replaced.get(name, value) for name, value in served.items()})


def _events(warehouse: Warehouse, event: str, properties: list[str], person: str) -> list[Told]:
    columns = ", ".join(["occurred_at", *map(quoted, properties)])
    query = f"SELECT {columns} FROM profile.event__{event} WHERE person_id = $person"
    return list(warehouse.sql(query, person=person).to_pylist())


# Whatever a condition looks at.
def _shown(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
