"""Find out which records are the same person, and give each person an id that stays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from consentry.errors import StopRun
from consentry.identity.codes import Ints
from consentry.identity.config import IdentityConfig
from consentry.identity.conflicts import Partition, judged, partition
from consentry.identity.decisions import Decisions
from consentry.identity.departure import stage_departures, without_merges
from consentry.identity.graph import Graph
from consentry.identity.protect import Shared, links, shared_values
from consentry.identity.publish import publish, stage_people
from consentry.identity.purposes import parts_by_purpose, stage_parts
from consentry.identity.resolution import Resolution, report
from consentry.identity.scope import basis
from consentry.identity.staging import stage
from consentry.identity.succession import Succession, former_people, linking_values, succeed
from consentry.identity.tables import prepare
from consentry.model.ids import uuid7s
from consentry.warehouse import Warehouse


def resolve(
    warehouse: Warehouse,
    config: IdentityConfig,
    *,
    run_id: str,
    decisions: Decisions | None = None,
    erased: str | None = None,
    refused: str | None = None,
) -> Resolution:
    """Group the records of clean.link and clean.customer into people and publish them in the identity zone.

    The grouping depends on the records and decisions alone, not on their order nor on former runs; former runs
    decide only which id each person keeps. What did not change since the last run, and hangs together with nothing
    that did, is not looked at. Running again on the same records changes nothing and writes no event.
    erased: a table of record ids that are gone for good: what is known of them goes, and nobody merges because of it.
    refused: a table of record ids that may be linked to nothing; nobody else merges because of that either.
    Raises StopRun when there is no clean.link.
    """
    if not warehouse.has("clean.link"):
        raise StopRun("There are no identifiers to resolve: the table clean.link is missing. Run the stages before.")
    prepare(warehouse)
    graph = stage(warehouse, config, decisions, refused=refused)
    stage_departures(warehouse, erased, everybody=config.similar is not None)
    shared = shared_values(graph, large=config.large_person)
    live = links(graph, shared.values)
    parts, former = partition(graph, live), former_people(warehouse)
    labels = without_merges(warehouse, graph, parts.labels, former, decisions)
    if labels is not parts.labels:
        parts = judged(graph, labels, graph.r[live], graph.v[live])
    found = succeed(labels, former)
    stage_people(warehouse, found, linking_values(graph, live, found.cluster))
    _stage_demoted(warehouse, graph, shared, parts, found)
    stage_parts(warehouse, parts_by_purpose(graph, live, labels, config), labels)
    publish(warehouse, run_id=run_id, basis=basis(config))
    return report(warehouse, config, run_id=run_id, looked_at=graph.records)


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
