"""Which of the things that rules read are older than their source promised?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from consentry.model.names import quoted
from consentry.pipeline.canonical import stream_table, streams_of
from consentry.pipeline.job import Job, StreamBlock
from consentry.segments.reads import Input
from consentry.warehouse import Warehouse

HELD = "ops.held_stream"
# What is held of an attribute rather than of a stream, by what gave the alarm.
GOLDEN, SOURCES = "golden", "sources"


def stale_inputs(warehouse: Warehouse, job: Job, *, now: datetime) -> dict[Input, str]:
    """Return the events and attributes whose stream is older than its `freshness`, each with a sentence.

    A stream is as old as its newest record: by `occurred_at` or `updated_at`, and by when it was read where it has
    neither. A stream without any record is stale, and so is one whose last load gave an alarm and was not published,
    and an attribute about which merging gave one.
    """
    held = _held(warehouse)
    kinds = tuple(f"{kind}." for kind in (GOLDEN, SOURCES))
    found: dict[Input, str] = {
        ("attribute", name.partition(".")[2]): why for name, why in held.items() if name.startswith(kinds)
    }
    for (source, name), stream in streams_of(job, "customer", "event").items():
        if sentence := held.get(f"{source}__{name}"):
            found |= dict.fromkeys(inputs_from(job, stream), sentence)
        if stream.freshness is None:
            continue
        newest = _newest(warehouse, stream_table("clean", source, name), stream, now=now)
        if newest is None or newest < now - timedelta(seconds=stream.freshness):
            since = f"its newest record is of {newest:%Y-%m-%d %H:%M} UTC" if newest else "it has no record"
            sentence = f"{source}.{name} is older than its freshness allows ({since})."
            found |= dict.fromkeys(inputs_from(job, stream), sentence)
    return found


def hold(warehouse: Warehouse, stream: str, why: str) -> None:
    """Note that the last load of a stream was not published; what reads the stream is stale until one is."""
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {HELD} (stream TEXT, why TEXT)")
    warehouse.sql(f"DELETE FROM {HELD} WHERE stream = $stream", stream=stream)
    warehouse.sql(f"INSERT INTO {HELD} VALUES ($stream, $why)", stream=stream, why=why)


def hold_attributes(warehouse: Warehouse, kind: str, why: Mapping[str, str]) -> None:
    """Note the attributes that an alarm of a kind (GOLDEN, SOURCES) holds, in place of those it held before."""
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {HELD} (stream TEXT, why TEXT)")
    warehouse.sql(f"DELETE FROM {HELD} WHERE stream LIKE $kind", kind=f"{kind}.%")
    for name, sentence in why.items():
        hold(warehouse, f"{kind}.{name}", sentence)


def held_sentences(warehouse: Warehouse) -> list[str]:
    """Return why streams and attributes are held, each sentence once."""
    return list(dict.fromkeys(_held(warehouse).values()))


def release(warehouse: Warehouse, stream: str) -> None:
    """Note that a load of a stream was published again."""
    if warehouse.has(HELD):
        warehouse.sql(f"DELETE FROM {HELD} WHERE stream = $stream", stream=stream)


def _held(warehouse: Warehouse) -> dict[str, str]:
    if not warehouse.has(HELD):
        return {}
    return {row["stream"]: row["why"] for row in warehouse.sql(f"SELECT stream, why FROM {HELD}").to_pylist()}


def _newest(warehouse: Warehouse, table: str, stream: StreamBlock, *, now: datetime) -> datetime | None:
    columns = warehouse.columns(table)
    column = stream.occurred_at or stream.updated_at
    if column not in columns:
        column = "_extracted_at" if "_extracted_at" in columns else None
    if column is None:
        return None
    # What claims to come from the future says nothing about how fresh the rest is.
    query = f"SELECT max(CAST({quoted(column)} AS TIMESTAMPTZ)) AS at FROM {table} WHERE {quoted(column)} <= $now"
    at = warehouse.sql(query, now=now)["at"][0].as_py()
    return None if at is None else at.astimezone(UTC)


def inputs_from(job: Job, stream: StreamBlock) -> Iterator[Input]:
    """Yield the attributes and events that a stream brings."""
    if stream.entity == "customer":
        yield from (("attribute", name) for name in stream.map)
    elif stream.event is not None and stream.event.name:
        yield "event", stream.event.name
    else:
        names = stream.event.names.values() if stream.event else ()
        yield from (("event", name) for name in (names or job.events))
