"""Say why a person is in a segment or not: as of the last evaluation, or of the one in force at an earlier instant.

Who was in what is kept, and so is by what a run evaluated; the values of attributes are not. What is told of an earlier
instant says which is which. Results are plain JSON, and hold personal values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from consentry.consent.instants import read_instant
from consentry.errors import ConfigError
from consentry.identity.aliases import resolve_alias
from consentry.model.names import quoted
from consentry.pipeline.left import left_warehouse
from consentry.pipeline.load import Loaded
from consentry.pipeline.segmenting import Told, last_state
from consentry.pipeline.terms import Terms, terms_of
from consentry.segments import ast
from consentry.segments.clock import Clock
from consentry.segments.describe import describe, explain
from consentry.segments.past import Evaluation, Standing, evaluation_at, is_numbered, standings
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


@dataclass(frozen=True, slots=True)
class _Then:
    """The evaluation that was in force, and how the person stood to the segments, as they are defined now.

    same_rules: None when the log does not tell.
    """

    evaluation: Evaluation
    segments: Sequence[Segment]
    stood: Mapping[str, Standing]
    terms: Terms
    same_rules: bool | None

    @property
    def inside(self) -> set[str]:
        return {name for name, standing in self.stood.items() if standing.member}

    @property
    def run(self) -> str:
        plan = f" (plan {self.terms.plan[:16]})" if self.terms.plan else ""
        return f"run {self.evaluation.run_id}{plan}"


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
        if remark := _came_first(segment, loaded.segments, inside, row):
            row["remark"] = remark
        rows.append(row)
    return rows


def explain_past(loaded: Loaded, person: str, at: datetime) -> Told:
    """Say for every segment of then and now whether a person was in it at an instant, since when, and why.

    Who was in what is what was published; conditions are those of the rules of now, with the clock and the events of
    then and the attributes of now. Raises ConfigError for nobody, and for an instant before the first evaluation.
    """
    with left_warehouse(loaded, "there is nothing to look at") as warehouse:
        state = last_state(loaded, warehouse)
        today = resolve_alias(warehouse, person)
        if today is None or not is_numbered(warehouse, person):
            raise ConfigError(_NOBODY)
        evaluation = evaluation_at(warehouse, at)
        if evaluation is None:
            raise ConfigError(f"The job {loaded.job.job} had not evaluated its segments yet at {_shown(at)}.")
        found = _person(loaded, warehouse, person)
        others = list(_others(warehouse, person, today))
        stood = standings(warehouse, person, evaluation)
        definition = fingerprint(loaded.segments, loaded.catalog, versions(warehouse))
    terms = terms_of(loaded.state / "audit", evaluation.run_id)
    then = _Then(evaluation, loaded.segments, stood, terms, _same_rules(loaded, terms, definition))
    earlier = replace(
        state,
        at=evaluation.at,
        thresholds={**state.thresholds, **(terms.thresholds or {})},
        figures={**state.figures, **(terms.figures or {})},
    )
    bench = None if found is None else _bench(loaded, found, earlier, then.inside)
    known = {segment.name: segment for segment in loaded.segments}
    return {
        "person_id": person,
        "at": _shown(at),
        "evaluation": {
            "run_id": evaluation.run_id,
            "at": _shown(evaluation.at),
            "plan_sha256": terms.plan,
            "rules": {True: "same", False: "changed", None: "unknown"}[then.same_rules],
        },
        "notes": [*others, *_notes(loaded, then, has_profile=bench is not None)],
        "segments": [
            _told(name, known.get(name), then, bench) for name in sorted({*known, *stood, *evaluation.segments})
        ],
    }


def instant_asked(text: str, zone: ZoneInfo) -> datetime | None:
    """Read an instant with its zone, or a day, which stands for its end where days begin in `zone`; None otherwise."""
    try:
        return read_instant(datetime.combine(date.fromisoformat(text.strip()), time.max, zone))
    except ValueError:
        return read_instant(text)


def _told(name: str, segment: Segment | None, then: _Then, bench: _Bench | None) -> Told:
    standing = then.stood.get(name)
    row: Told = {"segment": name, "member": standing is not None and standing.member, "holds": None, "reasons": []}
    if standing is not None:
        row |= {"since" if standing.member else "left": _shown(standing.since), "run_id": standing.run_id}
    if segment is not None and segment.rule is not None and bench is not None:
        row |= bench.judge(segment.rule)
    remark = _remark(name, segment, then, row)
    return row | ({"remark": remark} if remark else {})


def _remark(name: str, segment: Segment | None, then: _Then, row: Told) -> str | None:
    if name not in then.evaluation.segments:
        return f"The segment was not defined in {then.run}."
    if segment is None:
        return "The segment is no longer defined, so that its conditions cannot be judged."
    if row["holds"] in (None, row["member"]):
        return None
    if first := _came_first(segment, then.segments, then.inside, row):
        return first
    changed = "an attribute" if then.same_rules else f"the rule, since {then.run}, or an attribute"
    causes = [f"{changed}, what a model says, or what is known of events of then has changed"]
    if segment.static:
        causes.append("the segment is static, so that its members were decided once and for all")
    was = "They were in it, and the rule does not hold" if row["member"] else "They were not in it, and the rule holds"
    return f"{was} by what is known now: {', or '.join(causes)}."


def _came_first(segment: Segment, segments: Sequence[Segment], inside: Collection[str], row: Told) -> str | None:
    """Say which segment of the same group somebody is in instead, where the rule alone would have them in this one."""
    if segment.group is None or row["member"] or not row["holds"]:
        return None
    group = segment.group.group
    first = next((s.name for s in segments if s.group and s.group.group == group and s.name in inside), None)
    return None if first is None else f"The rule holds, and {first} comes first in the group {group}."


def _notes(loaded: Loaded, then: _Then, *, has_profile: bool) -> Iterator[str]:
    if not has_profile:
        yield "There is no profile of this person now, so that no condition can be judged."
        return
    yield (
        "Attributes, and what models and experiments say, are those of now: earlier values are not kept."
        " Events count up to then, whenever they came in."
    )
    match then.same_rules:
        case True:
            yield f"The rules are those of {then.run}."
        case False:
            yield f"The rules are those of now: segments, or what rules may name, have changed since {then.run}."
        case None:
            yield f"The rules are those of now: the audit log does not tell by which {then.run} went."
    compared = set(_compared(loaded))
    if compared:
        logged = {*(then.terms.thresholds or ()), *(then.terms.figures or ())}
        whose = "of that run" if compared <= logged else "of the last evaluation where the log has none of that run"
        yield f"Percentiles and the figures of scores are those {whose}."


def _compared(loaded: Loaded) -> Iterator[str]:
    """Yield what rules need to know of everybody, as the log names it."""
    for segment in loaded.segments:
        for node, _ in ast.walk(segment.rule) if segment.rule is not None else ():
            if isinstance(node, ast.Percentile):
                yield spell_value(node)
            elif isinstance(node, ast.Score) and loaded.catalog.scored(node):
                yield "rfm" if node.family == "rfm" else node.name


def _others(warehouse: Warehouse, person: str, today: str) -> Iterator[str]:
    """Name the other ids of a person, which have memberships of their own."""
    if today != person:
        yield f"The person is kept as {today} today: what came after is told of that id."
    query = f"SELECT person_id FROM identity.person WHERE merged_into = TRY_CAST($person AS {PERSON}) ORDER BY 1"
    merged = warehouse.sql(query, person=person)["person_id"].to_pylist()
    if merged:
        yield f"Ids that went into this one have memberships of their own until then: {', '.join(map(str, merged))}."


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


def _person(loaded: Loaded, warehouse: Warehouse, person: str) -> Person | None:
    query = f"SELECT * FROM profile.person WHERE person_id = TRY_CAST($person AS {PERSON})"
    rows = warehouse.sql(query, person=person).to_pylist()
    if not rows:
        return None
    attributes = {name: rows[0].get(name) for name in loaded.catalog.attributes}
    events = [
        Event(event, row["occurred_at"], {name: row[name] for name in properties})
        for event, properties in loaded.catalog.events.items()
        for row in _events(warehouse, event, list(properties), person)
    ]
    return Person(attributes, events, served=served_to(warehouse, loaded.catalog.served, person))


def _events(warehouse: Warehouse, event: str, properties: list[str], person: str) -> list[Told]:
    columns = ", ".join(["occurred_at", *map(quoted, properties)])
    query = f"SELECT {columns} FROM profile.event__{event} WHERE person_id = $person"
    return list(warehouse.sql(query, person=person).to_pylist())


# Whatever a condition looks at.
def _shown(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
