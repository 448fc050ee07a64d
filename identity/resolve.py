"""Find out which records are the same person, and give each person an id that stays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from consentry.errors import StopRun
from consentry.identity.codes import Ints, ints
from consentry.identity.config import IdentityConfig
from consentry.identity.conflicts import Partition, partition
from consentry.identity.decisions import Decisions
from consentry.identity.graph import Graph, stage
from consentry.identity.protect import Shared, links, shared_values
from consentry.identity.publish import publish, stage_people
from consentry.identity.succession import Succession, former_people, linking_values, succeed
from consentry.identity.tables import prepare
from consentry.model.ids import uuid7s
from consentry.warehouse import Warehouse

MAX_ALARMS = 100


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a person should look at: a value that too many people share, or a person of very many records."""

    code: str
    sentence: str
    type: str | None = None
    person_id: str | None = None
    records: int = 0
    persons: int = 0


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a run of `resolve` found.

    records: all that were looked at. merged_records: customer records that share their person with another
    customer record (events do not count). blocked, invalid: identifiers of records that were not used.
    events: how many were written, by kind. alarms: the gravest 100.
    """

    persons: int
    records: int
    merged_records: int
    blocked: int
    invalid: int
    events: dict[str, int]
    alarms: tuple[Alarm, ...] = ()


def resolve(
    warehouse: Warehouse, config: IdentityConfig, *, run_id: str, decisions: Decisions | None = None
) -> Resolution:
    """Group the records of clean.link and clean.customer into people and publish them in the identity zone.

    The grouping depends on the records alone, not on their order nor on former runs; former runs decide only
    which id each person keeps. Running again on the same records changes nothing and writes no event.
    Raises StopRun when there is no clean.link.
    """
    if not warehouse.has("clean.link"):
        raise StopRun("There are no identifiers to resolve: the table clean.link is missing. Run the stages before.")
    prepare(warehouse)
    graph = stage(warehouse, config, decisions)
    shared = shared_values(graph, large=config.large_person)
    live = links(graph, shared.values)
    parts = partition(graph, live)
    found = succeed(parts.labels, former_people(warehouse))
    stage_people(warehouse, found, linking_values(graph, live, found.cluster))
    _stage_demoted(warehouse, graph, shared, parts, found)
    used = _counts(warehouse)
    alarms = _alarms(graph, shared, found, config)
    publish(warehouse, run_id=run_id)
    return Resolution(
        persons=len(found.ids),
        records=graph.records,
        merged_records=_merged(graph, found),
        blocked=used["blocked"],
        invalid=used["invalid"],
        events=_events(warehouse, run_id),
        alarms=alarms,
    )


def _stage_demoted(warehouse: Warehouse, graph: Graph, shared: Shared, parts: Partition, found: Succession) -> None:
    """Stage the values that do not link, each with what an event would say of it."""
    records = np.bincount(graph.v, minlength=graph.values)
    conflicts = parts.ambiguous[~np.isin(parts.ambiguous, shared.values)]
    persons = parts.persons[~np.isin(parts.ambiguous, shared.values)]
    first, second = _two_people(graph, conflicts, found)
    codes = np.concatenate([shared.values, conflicts])
    none: list[str | None] = [None] * len(shared.values)
    rows = pa.table(
        {
            "event_id": pa.array(uuid7s(len(codes)), pa.string()),
            "v": pa.array(codes, pa.int64()),
            "reason": pa.array(["shared"] * len(shared.values) + ["conflict"] * len(conflicts), pa.string()),
            "records": pa.array(np.concatenate([shared.records, records[conflicts]]), pa.int64()),
            "persons": pa.array(np.concatenate([shared.persons, persons]), pa.int64()),
            "person_id": pa.array(none + first, pa.string()),
            "other_person_id": pa.array(none + second, pa.string()),
        }
    )
    warehouse.write("identity.staged_reason", rows.to_batches(), schema=rows.schema)
    warehouse.sql(
        "CREATE TABLE identity.staged_demoted AS SELECT v.type, v.value, s.reason, s.records, s.persons, s.event_id,"
        ' s.person_id, s.other_person_id, \'{"type":\' || to_json(v.type)::TEXT || \',"reason":"\' || s.reason ||'
        " '\",\"records\":' || s.records || ',\"persons\":' || s.persons || '}' AS evidence"
        " FROM identity.staged_reason s JOIN identity.staged_value v USING (v)"
    )
    warehouse.drop("identity.staged_reason")


def _two_people(graph: Graph, values: Ints, found: Succession) -> tuple[list[str | None], list[str | None]]:
    """Return two of the people between whom each value stands."""
    edges = np.isin(graph.v, values)
    pairs = np.unique(np.stack([graph.v[edges], found.cluster[graph.r[edges]]], axis=1), axis=0)
    start = np.searchsorted(pairs[:, 0], values)
    ids = found.ids
    return [ids[c] for c in pairs[start, 1].tolist()], [ids[c] for c in pairs[start + 1, 1].tolist()]


def _merged(graph: Graph, found: Succession) -> int:
    customers = np.bincount(found.cluster[graph.customer], minlength=len(found.ids))
    return int(customers[customers > 1].sum())


def _counts(warehouse: Warehouse) -> Counter[str]:
    rows = warehouse.sql("SELECT status, count(*) AS n FROM identity.staged_identifier GROUP BY status")
    return Counter(dict(zip(rows["status"].to_pylist(), rows["n"].to_pylist(), strict=True)))


def _events(warehouse: Warehouse, run_id: str) -> dict[str, int]:
    rows = warehouse.sql(
        "SELECT kind, count(*) AS n FROM identity.identity_event WHERE run_id = $run GROUP BY kind ORDER BY kind",
        run=run_id,
    )
    return dict(zip(rows["kind"].to_pylist(), ints(rows["n"]).tolist(), strict=True))


def _alarms(graph: Graph, shared: Shared, found: Succession, config: IdentityConfig) -> tuple[Alarm, ...]:
    worst = np.argsort(-shared.persons, kind="stable")[:MAX_ALARMS]
    crowds = [
        _crowd(graph.types[int(graph.type_of[shared.values[n]])].type, int(shared.records[n]), int(shared.persons[n]))
        for n in worst
    ]
    customers = np.bincount(found.cluster[graph.customer], minlength=len(found.ids))
    large = np.flatnonzero(customers > config.large_person)
    large = large[np.argsort(-customers[large], kind="stable")][:MAX_ALARMS]
    return (*crowds, *(_large(found.ids[c], int(customers[c])) for c in large.tolist()))[:MAX_ALARMS]


def _crowd(type_: str, records: int, persons: int) -> Alarm:
    sentence = (
        f"One {type_} stands on {records:,} records of about {persons:,} people; it links nobody."
        f" Add it to identity.identifiers.{type_}.blocked, or raise max_persons_per_value if it does name one person."
    )
    return Alarm("shared_value", sentence, type=type_, records=records, persons=persons)


def _large(person_id: str, records: int) -> Alarm:
    sentence = f"Person {person_id} has {records:,} customer records. Look at what links them."
    return Alarm("large_person", sentence, person_id=person_id, records=records, persons=1)
