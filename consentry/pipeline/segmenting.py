"""Look at a job's segments: what they would hold, whom they share, how they moved, and why a person is in one.

All of it reads what the last run left in the warehouse; only `refresh_segments` writes. Results are plain JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from consentry.errors import ConfigError
from consentry.model.ids import new_run_id
from consentry.model.names import did_you_mean, quoted
from consentry.pipeline.context import opened
from consentry.pipeline.freshness import stale_inputs
from consentry.pipeline.left import left_warehouse
from consentry.pipeline.load import Loaded
from consentry.pipeline.progress import Silent
from consentry.segments import ast
from consentry.segments.clock import Clock
from consentry.segments.describe import describe, explain
from consentry.segments.evaluate import preview
from consentry.segments.examples import run_tests
from consentry.segments.holdout import is_held_out
from consentry.segments.limits import crowded
from consentry.segments.lint import Remark, lint, weighed
from consentry.segments.membership import rosters
from consentry.segments.overlap import alike, pairs
from consentry.segments.people import ordinals_named
from consentry.segments.person import Event, Person, Scores
from consentry.segments.refresh import refresh
from consentry.segments.report import Move, Page, Size
from consentry.segments.segment import Segment
from consentry.segments.served import served_to
from consentry.segments.spell import spell, spell_value
from consentry.segments.state import State, read_state
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON

Told = dict[str, Any]


def lint_segments(loaded: Loaded) -> list[Told]:
    """Return what is probably not meant in the rules, what comes to nothing, and what is too much for a destination."""
    used = {sync.segment for sync in loaded.job.syncs.values()}
    sentence = "No sync uses the segment, so that nothing comes of it."
    unused = [Remark(s.name, "unused", "info", sentence) for s in loaded.segments if s.name not in used]
    remarks = [*lint(loaded.segments, loaded.catalog), *weighed(unused, loaded.segments)]
    found: list[Told] = [asdict(remark) for remark in remarks]
    counts = Counter(sync.destination for sync in loaded.job.syncs.values())
    for _, sentence in crowded(counts, loaded.job.segment_limits).values():
        found.append({"segment": "", "code": "crowded", "severity": "warning", "sentence": sentence})
    if not loaded.kpis:
        sentence = "No figure stands under 'kpis:' of a segment file, so that nobody sees what the segments are worth."
        found.append({"segment": "", "code": "unmeasured", "severity": "info", "sentence": sentence})
    return found


def try_examples(loaded: Loaded, now: datetime) -> list[Told]:
    """Decide the examples of every segment."""
    found = run_tests(loaded.segments, now, time_zone=loaded.catalog.time_zone)
    return [
        {"segment": item.segment, "number": item.number, "passed": item.passed, "sentence": item.sentence}
        for item in found
    ]


def preview_segments(loaded: Loaded, only: str | None = None) -> list[Told]:
    """Count a segment's people before and after each gate: rule, group, consent, suppression, holdout.

    The rules are evaluated anew over the profiles of the last run, and nothing is published; consent is what was
    decided last. Counts below the limit `shown_from` are given as text, `<10`.
    """
    with left_warehouse(loaded, "there is nothing to look at") as warehouse:
        state = _state(loaded, warehouse)
        _named(loaded, only)
        counted = preview(warehouse, loaded.segments, loaded.catalog, now=state.at)
        rows: list[Told] = []
        for segment in loaded.segments:
            if only in (None, segment.name):
                people = ordinals_named(warehouse, counted[segment.name].members)
                counts = {"rule": counted[segment.name].rule, "members": len(people)}
                rows += list(_gates(loaded, warehouse, segment, people, counts))
        return rows


def _gates(
    loaded: Loaded, warehouse: Warehouse, segment: Segment, people: frozenset[str], counts: Mapping[str, int]
) -> Iterator[Told]:
    k = loaded.job.segment_limits.shown_from
    row: Told = {"segment": segment.name, "sync": None, **{name: _hidden(n, k) for name, n in counts.items()}}
    syncs = [name for name, sync in loaded.job.syncs.items() if sync.segment == segment.name]
    if not syncs:
        yield row
    for name in syncs:
        query = "SELECT person_id, allow, reason FROM ops.decision WHERE target = $target"
        decided = warehouse.sql(query, target=name).to_pylist() if warehouse.has("ops.decision") else []
        verdicts = {str(item["person_id"]): item for item in decided}
        suppressed = {person for person, item in verdicts.items() if item["reason"] == "suppressed"}
        allowed = {person for person in people if person in verdicts and verdicts[person]["allow"]}
        # Suppression is decided with consent and counts as a gate of its own here: it comes after what was allowed.
        consented = allowed | (people & suppressed)
        kept = {p for p in allowed if segment.holdout is None or not is_held_out(p, segment.holdout)}
        gates = {"consent": consented, "suppression": allowed, "holdout": kept}
        yield {**row, "sync": name, **{gate: _hidden(len(found), k) for gate, found in gates.items()}}


def _hidden(count: int, k: int) -> int | str:
    return f"<{k}" if 0 < count < k else count


def explain_member(loaded: Loaded, person: str) -> list[Told]:
    """Say for every segment whether the rule holds for a person and why; the values shown are personal."""
    with left_warehouse(loaded, "there is nothing to look at") as warehouse:
        state = _state(loaded, warehouse)
        found = _person(loaded, warehouse, person)
        query = "SELECT segment, entered_at FROM segment.membership WHERE person_id = $person"
        inside = {row["segment"]: row["entered_at"] for row in warehouse.sql(query, person=person).to_pylist()}
        served = served_to(warehouse, loaded.catalog.served, person)
    known = Person(found.attributes, found.events, frozenset(inside), served)
    clock, scores = Clock(state.at, loaded.catalog.zone()), Scores(loaded.catalog, state.figures)
    rows: list[Told] = []
    for segment in loaded.segments:
        row: Told = {"segment": segment.name, "member": segment.name in inside, "holds": None, "reasons": []}
        if segment.name in inside:
            row["since"] = inside[segment.name].isoformat()
        if segment.rule is not None:
            why = explain(segment.rule, known, clock, _thresholds(segment.rule, state), scores)
            row |= {"rule": spell(segment.rule), "means": describe(segment.rule), "holds": why.holds}
            row["reasons"] = [
                {"condition": r.atom, "holds": r.holds, "values": {name: _shown(v) for name, v in r.values.items()}}
                for r in why.reasons
            ]
        rows.append(row)
    return rows


def _shown(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _thresholds(rule: ast.Rule, state: State) -> dict[ast.Percentile, float | None]:
    found = (node for node, _ in ast.walk(rule) if isinstance(node, ast.Percentile))
    return {node: state.thresholds.get(spell_value(node)) for node in found}


def _person(loaded: Loaded, warehouse: Warehouse, person: str) -> Person:
    query = f"SELECT * FROM profile.person WHERE person_id = TRY_CAST($person AS {PERSON})"
    rows = warehouse.sql(query, person=person).to_pylist()
    if not rows:
        raise ConfigError(
            "There is no profile of this person. `consentry explain JOB --by TYPE --value VALUE` finds a person id."
        )
    attributes = {name: rows[0].get(name) for name in loaded.catalog.attributes}
    events = [
        Event(event, row["occurred_at"], {name: row[name] for name in properties})
        for event, properties in loaded.catalog.events.items()
        for row in _events(warehouse, event, list(properties), person)
    ]
    return Person(attributes, events)


def _events(warehouse: Warehouse, event: str, properties: list[str], person: str) -> list[Told]:
    columns = ", ".join(["occurred_at", *map(quoted, properties)])
    query = f"SELECT {columns} FROM profile.event__{event} WHERE person_id = $person"
    return list(warehouse.sql(query, person=person).to_pylist())


def overlap_of(loaded: Loaded, threshold: float | None = None) -> list[Told]:
    """Return the pairs of segments that are alike, the most alike first, with what to do about them."""
    limits = loaded.job.segment_limits
    with left_warehouse(loaded, "there is nothing to look at") as warehouse:
        _state(loaded, warehouse)
        found = alike(rosters(warehouse), limits.overlap if threshold is None else threshold)
    return [
        {
            "left": pair.left,
            "right": pair.right,
            "left_members": _hidden(pair.left_size, limits.shown_from),
            "right_members": _hidden(pair.right_size, limits.shown_from),
            "both": _hidden(pair.both, limits.shown_from),
            "jaccard": round(pair.jaccard, 4),
            "advice": pair.advice,
        }
        for pair in found
    ]


def history_of(loaded: Loaded, only: str | None = None) -> list[Told]:
    """Return the sizes of segments, run by run, newest first."""
    with left_warehouse(loaded, "there is nothing to look at") as warehouse:
        _state(loaded, warehouse)
        _named(loaded, only)
        query = 'SELECT run_id, "at", segment, members, population, stale FROM segment.history'
        rows = warehouse.sql(f'{query} ORDER BY "at" DESC, run_id DESC, segment').to_pylist()
    return [{**row, "at": row["at"].isoformat()} for row in rows if only in (None, row["segment"])]


def diff_of(loaded: Loaded, run_id: str | None = None) -> list[Told]:
    """Return who came and left in a run, counted by segment; in the last evaluation when no run is named."""
    with left_warehouse(loaded, "there is nothing to look at") as warehouse:
        _state(loaded, warehouse)
        run = run_id or str(warehouse.sql("SELECT run_id FROM segment.evaluated")["run_id"][0].as_py())
        query = (
            "SELECT segment, count(*) FILTER (WHERE change = 'enter') AS entered,"
            " count(*) FILTER (WHERE change = 'exit') AS left_it FROM segment.change WHERE run_id = $run"
            " GROUP BY segment ORDER BY segment"
        )
        rows = warehouse.sql(query, run=run).to_pylist()
    k = loaded.job.segment_limits.shown_from
    return [
        {"run_id": run, "segment": r["segment"], "entered": _hidden(r["entered"], k), "left": _hidden(r["left_it"], k)}
        for r in rows
    ]


def refresh_segments(loaded: Loaded) -> Told:
    """Bring memberships up to now for people whose answers changed by time alone; nothing is pulled or sent."""
    with opened(loaded, Silent()) as context:
        _state(loaded, context.warehouse)
        run_id = new_run_id()
        found = refresh(
            context.warehouse,
            loaded.segments,
            loaded.catalog,
            now=context.as_of,
            run_id=run_id,
            limits=loaded.job.segment_limits,
            stale=stale_inputs(context.warehouse, loaded.job, now=context.as_of),
        )
        members, entered, left = dict(found.members), dict(found.entered), dict(found.left)
        context.audit.append("segment.refreshed", run=run_id, members=members, entered=entered, left=left)
        return {"run_id": run_id, "members": members, "entered": entered, "left": left, "notes": list(found.notes)}


def report_of(loaded: Loaded) -> Page:
    """Return what the HTML report shows of a job's segments."""
    with left_warehouse(loaded, "there is nothing to look at") as warehouse:
        state = _state(loaded, warehouse)
        history = warehouse.sql('SELECT segment, "at", members FROM segment.history').to_pylist()
        query = "SELECT group_name, from_segment, to_segment, count(*) AS n FROM segment.transition GROUP BY ALL"
        moved = warehouse.sql(query).to_pylist()
        found = {(pair.left, pair.right): pair.jaccard for pair in pairs(rosters(warehouse))}
        holds = warehouse.sql("SELECT sentence FROM segment.hold")["sentence"].to_pylist()
    return Page(
        title=f"Segments of {loaded.job.job}",
        made_at=state.at,
        sizes=[Size(row["segment"], row["at"], row["members"]) for row in history],
        jaccard=found,
        moves=[Move(row["group_name"], row["from_segment"], row["to_segment"], row["n"]) for row in moved],
        notes=holds,
        shown_from=loaded.job.segment_limits.shown_from,
    )


def _named(loaded: Loaded, only: str | None) -> None:
    names = [segment.name for segment in loaded.segments]
    if only is not None and only not in names:
        raise ConfigError(f"There is no segment {only!r} in {loaded.job.segments}{did_you_mean(only, names) or '.'}")


def _state(loaded: Loaded, warehouse: Warehouse) -> State:
    state = read_state(warehouse)
    if state is None:
        raise ConfigError(f"The job {loaded.job.job} has not evaluated its segments yet. Run it, or plan it.")
    return state
