"""When does each person's answer next change by time alone? One timer a person, so that nobody has to be polled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from consentry.model.names import quoted
from consentry.segments.atoms import open_population
from consentry.segments.catalog import Catalog
from consentry.segments.clock import MICROS, Clock
from consentry.segments.edges import Edge, edges
from consentry.segments.evaluate import nodes_of
from consentry.segments.features import Query
from consentry.segments.people import ORDINALS
from consentry.segments.refresh import with_scores
from consentry.segments.segment import Segment
from consentry.warehouse import Warehouse

TIMER = "segment.timer"


def write_timers(warehouse: Warehouse, segments: Sequence[Segment], catalog: Catalog, *, now: datetime) -> int:
    """Write segment.timer(person_id, due_at): the earliest instant after `now` at which a person's answers may change.

    People for whom time alone changes nothing have no timer. A refresh at that instant is all that "abandoned cart
    after 10 minutes" needs. Returns the number of timers.
    """
    clock = Clock(now if now.tzinfo else now.replace(tzinfo=UTC), catalog.zone())
    population = open_population(warehouse, catalog, clock, nodes_of(segments))
    query = Query(catalog, clock, population.layout)
    parts = ["SELECT 0 AS ordinal, CAST(NULL AS BIGINT) AS due WHERE false"]
    for event, own in edges(with_scores(nodes_of(segments), catalog), catalog).sources():
        source = population.layout.persons() if event is None else population.layout.events(event)
        parts.append(f"SELECT ordinal, min(least({', '.join(_due(query, own))})) AS at FROM {source} GROUP BY ordinal")
    warehouse.sql(
        f"CREATE OR REPLACE TABLE {TIMER} AS SELECT o.person_id, make_timestamptz(min(t.due)) AS due_at"
        f" FROM ({' UNION ALL '.join(parts)}) AS t JOIN {ORDINALS} AS o USING (ordinal)"
        " WHERE t.due IS NOT NULL GROUP BY o.person_id",
        **query.params,
    )
    return warehouse.count(TIMER)


def _due(query: Query, own: Sequence[Edge]) -> Iterator[str]:
    now = query.bind(query.clock.now_us)
    yield "NULL"
    for edge in own:
        time = f"epoch_us({'occurred_at' if edge.column is None else quoted(edge.column)})"
        if edge.days:
            begin = edge.crossed(query.clock, query.clock)[0]
            midnight = edge.due(query.clock.now_us, query.clock)
            yield f"CASE WHEN {time} >= {query.bind(begin)} THEN {query.bind(midnight)} END"
            continue
        at = f"{time} + {query.bind(edge.seconds * MICROS)}"
        on_edge = f" WHEN {at} = {now} THEN {now} + 1" if edge.seconds else ""
        yield f"CASE WHEN {at} > {now} THEN {at}{on_edge} END"
