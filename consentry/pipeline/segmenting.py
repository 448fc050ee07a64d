"""Look at a job's segments: what they would hold, whom they share, and how they moved.

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
from consentry.model.names import did_you_mean
from consentry.pipeline.context import opened
from consentry.pipeline.freshness import stale_inputs
from consentry.pipeline.left import left_warehouse
from consentry.pipeline.load import Loaded
from consentry.pipeline.progress import Silent
from consentry.pipeline.special import unmarked
from consentry.pipeline.terms import terms
from consentry.segments.evaluate import preview
from consentry.segments.examples import run_tests
from consentry.segments.holdout import is_held_out
from consentry.segments.limits import crowded
from consentry.segments.lint import Remark, lint, weighed
from consentry.segments.membership import rosters
from consentry.segments.overlap import alike, pairs
from consentry.segments.people import ordinals_named
from consentry.segments.refresh import refresh
from consentry.segments.report import Move, Page, Size
from consentry.segments.segment import Segment
from consentry.segments.state import State, read_state
from consentry.warehouse import Warehouse

Told = dict[str, Any]


def lint_segments(loaded: Loaded) -> list[Told]:
    """Return what is probably not meant in the rules, what comes to nothing, and what is too much for a destination."""
    used = {sync.segment for sync in loaded.job.syncs.values()}
    sentence = "No sync uses the segment, so that nothing comes of it."
    unused = [Remark(s.name, "unused", "info", sentence) for s in loaded.segments if s.name not in used]
    telling = unmarked(loaded.policy, loaded.segments, loaded.catalog)
    remarks = [*lint(loaded.segments, loaded.catalog), *weighed([*telling, *unused], loaded.segments)]
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
        state = last_state(loaded, warehouse)
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


def overlap_of(loaded: Loaded, threshold: float | None = None) -> list[Told]:
    """Return the pairs of segments that are alike, the most alike first, with what to do about them."""
    limits = loaded.job.segment_limits
    with left_warehouse(loaded, "there is nothing to look at") as warehouse:
        last_state(loaded, warehouse)
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
        last_state(loaded, warehouse)
        _named(loaded, only)
        query = 'SELECT run_id, "at", segment, members, population, stale FROM segment.history'
        rows = warehouse.sql(f'{query} ORDER BY "at" DESC, run_id DESC, segment').to_pylist()
    return [{**row, "at": row["at"].isoformat()} for row in rows if only in (None, row["segment"])]


def diff_of(loaded: Loaded, run_id: str | None = None) -> list[Told]:
    """Return who came and left in a run, counted by segment; in the last evaluation when no run is named."""
    with left_warehouse(loaded, "there is nothing to look at") as warehouse:
        last_state(loaded, warehouse)
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
        last_state(loaded, context.warehouse)
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
        context.audit.append("segment.refreshed", terms(found), run=run_id, members=members, entered=entered, left=left)
        return {"run_id": run_id, "members": members, "entered": entered, "left": left, "notes": list(found.notes)}


def report_of(loaded: Loaded) -> Page:
    """Return what the HTML report shows of a job's segments."""
    with left_warehouse(loaded, "there is nothing to look at") as warehouse:
        state = last_state(loaded, warehouse)
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


def last_state(loaded: Loaded, warehouse: Warehouse) -> State:
    """Return what the last evaluation knew. Raises ConfigError when there was none."""
    state = read_state(warehouse)
    if state is None:
        raise ConfigError(f"The job {loaded.job.job} has not evaluated its segments yet. Run it, or plan it.")
    return state
