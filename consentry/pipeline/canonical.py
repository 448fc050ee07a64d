"""Bring the clean streams of all sources into the canonical tables: customer, event, consent, link.

Columns are renamed here, and numbers converted where the job wants a name in another unit. Types and zones were settled
by each stream's contract, so that nothing can fail in this step and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from consentry.model.names import quoted
from consentry.pipeline.job import Job, StreamBlock
from consentry.pipeline.standing import Standing, standing
from consentry.validation.units import Conversion
from consentry.warehouse import Warehouse

CONSENT_TEXTS = (
    "source_system", "source_event_id", "identifier_type", "identifier_value", "region", "purpose", "state",
    "method", "mechanism", "notice_id", "regime", "jurisdiction",
)  # fmt: skip
CONSENT_TYPES = dict.fromkeys(CONSENT_TEXTS, "TEXT") | {
    "notice_version": "INTEGER",
    "effective_at": "TIMESTAMPTZ",
    "expires_at": "TIMESTAMPTZ",
}
# How the types of the catalogue are spelled in SQL.
SQL_TYPES = {
    "number": "DOUBLE",
    "integer": "BIGINT",
    "text": "TEXT",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMPTZ",
}


def streams_of(job: Job, *entities: str) -> dict[tuple[str, str], StreamBlock]:
    """Return the streams of these entities, by source and stream name."""
    return {
        (source, name): stream
        for source, block in job.sources.items()
        for name, stream in block.streams.items()
        if stream.entity in entities
    }


def stream_table(zone: str, source: str, stream: str) -> str:
    """Name the table of a stream in a zone."""
    return f"{zone}.{source}__{stream}"


def standing_of(warehouse: Warehouse, source: str, name: str, stream: StreamBlock) -> Standing:
    """Return what counts of a clean stream: records that are gone at the source do not."""
    return standing(warehouse, f"{source}__{name}", key=stream.primary_key, deleted=stream.deleted)


# By `source__stream` and name: how its values come into the unit of the name.
Conversions = Mapping[str, Mapping[str, Conversion]]


def write_canonical(warehouse: Warehouse, job: Job, conversions: Conversions) -> None:
    """Write clean.customer, clean.link and one clean.event__NAME for each event of the catalogue."""
    types = _customer_types(warehouse, job, conversions)
    _write(warehouse, "clean.customer", _customers(warehouse, job, types, conversions), types)
    _write(warehouse, "clean.link", _links(warehouse, job), _LINK_TYPES)
    for event, properties in job.events.items():
        types = {"event_id": "TEXT", "record_id": "TEXT", "occurred_at": "TIMESTAMPTZ"}
        types |= {name: SQL_TYPES[kind] for name, kind in properties.items()}
        _write(warehouse, f"clean.event__{event}", _events(warehouse, job, event, conversions), types)


def consent_query(stream: StreamBlock, *, source: str, table: str) -> str:
    """Return the query that reads a consent feed's new rows (above $rid) as canonical consent rows."""
    columns = dict(stream.map)
    selected = [
        f"CAST({quoted(columns[name]) if name in columns else 'NULL'} AS {kind}) AS {name}"
        for name, kind in CONSENT_TYPES.items()
        if name != "source_system"
    ]
    system = quoted(columns["source_system"]) if "source_system" in columns else "NULL"
    selected.append(f"coalesce(CAST({system} AS TEXT), '{source}') AS source_system")
    return f"SELECT {', '.join(selected)} FROM {table} WHERE _rid > $rid"


_LINK_TYPES = {
    "record_id": "TEXT",
    "source": "TEXT",
    "trust": "INTEGER",
    "type": "TEXT",
    "value": "TEXT",
    "region": "TEXT",
    "seen_at": "TIMESTAMPTZ",
}


def _write(warehouse: Warehouse, table: str, queries: Iterable[str], types: Mapping[str, str]) -> None:
    empty = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in types.items())
    parts = [f"SELECT {empty} WHERE false", *queries]
    warehouse.sql(f"CREATE OR REPLACE TABLE {table} AS {' UNION ALL '.join(parts)}")


def _customer_types(warehouse: Warehouse, job: Job, conversions: Conversions) -> dict[str, str]:
    """Return the columns of clean.customer; a column's type is that of the first source that has it.

    One that is converted for any source has digits after the point.
    """
    converted = {name for of_stream in conversions.values() for name in of_stream}
    types = {"record_id": "TEXT", "source": "TEXT", "trust": "INTEGER", "updated_at": "TIMESTAMPTZ"}
    for (source, name), stream in streams_of(job, "customer").items():
        found = warehouse.columns(stream_table("clean", source, name))
        for canonical, column in _customer_columns(stream).items():
            if column in found:
                types.setdefault(canonical, "DOUBLE" if canonical in converted else found[column])
    return types


def _customer_columns(stream: StreamBlock) -> dict[str, str]:
    return {kind: identifier.column for kind, identifier in stream.identifiers.items()} | stream.map


def _customers(warehouse: Warehouse, job: Job, types: Mapping[str, str], conversions: Conversions) -> Iterable[str]:
    for (source, name), stream in streams_of(job, "customer").items():
        table = stream_table("clean", source, name)
        if not warehouse.has(table):
            continue
        columns = _customer_columns(stream)
        selected = [
            f"{record_sql(source, stream)} AS record_id",
            f"'{source}' AS source",
            f"{job.sources[source].trust} AS trust",
            f"{_instant(stream.updated_at)} AS updated_at",
        ]
        for canonical, kind in types.items():
            if canonical in ("record_id", "source", "trust", "updated_at"):
                continue
            value = quoted(columns[canonical]) if canonical in columns else "NULL"
            if conversion := conversions.get(f"{source}__{name}", {}).get(canonical):
                value = conversion.sql(value)
            selected.append(f"CAST({value} AS {kind}) AS {quoted(canonical)}")
        yield f"SELECT {', '.join(selected)} FROM {standing_of(warehouse, source, name, stream).living} AS rows"


def _links(warehouse: Warehouse, job: Job) -> Iterable[str]:
    for (source, name), stream in streams_of(job, "customer", "event", "link").items():
        if not warehouse.has(stream_table("clean", source, name)):
            continue
        found = standing_of(warehouse, source, name, stream)
        parts = {found.living: record_sql(source, stream)}
        if found.merged and stream.entity == "customer":
            # What identified a record that was merged away identifies the one that took its place.
            parts[found.merged] = f"'{source}:' || _stands_for_it"
        for rows, record in parts.items():
            yield from _identifiers(stream, rows, record, source=source, trust=job.sources[source].trust)


def _identifiers(stream: StreamBlock, rows: str, record: str, *, source: str, trust: int) -> Iterable[str]:
    seen = f"max({_instant(stream.updated_at or stream.occurred_at)})"
    for kind, identifier in stream.identifiers.items():
        region = quoted(identifier.region) if identifier.region else f"'{identifier.region_code or ''}'"
        value = f"CAST({quoted(identifier.column)} AS TEXT)"
        yield (
            f"SELECT {record} AS record_id, '{source}' AS source, {trust} AS trust, "
            f"'{kind}' AS type, {value} AS value, nullif(CAST({region} AS TEXT), '') AS region, {seen} AS seen_at "
            f"FROM {rows} AS rows WHERE {quoted(identifier.column)} IS NOT NULL GROUP BY 1, 5, 6"
        )


def _events(warehouse: Warehouse, job: Job, event: str, conversions: Conversions) -> Iterable[str]:
    for (source, name), stream in streams_of(job, "event").items():
        table = stream_table("clean", source, name)
        if not is_called(stream, event) or not warehouse.has(table):
            continue
        columns = warehouse.columns(table)
        properties = []
        for prop, kind in job.events[event].items():
            value = _property(stream, prop, columns)
            if conversion := conversions.get(f"{source}__{name}", {}).get(f"{event}.{prop}"):
                value = conversion.sql(value)
            typed = value if kind == "text" else f"TRY_CAST({value} AS {SQL_TYPES[kind]})"
            properties.append(f"{typed} AS {quoted(prop)}")
        selected = [
            f"{key_sql(stream)} AS event_id",
            f"{record_sql(source, stream)} AS record_id",
            f"{_instant(stream.occurred_at)} AS occurred_at",
            *properties,
        ]
        rows = standing_of(warehouse, source, name, stream).living
        yield f"SELECT {', '.join(selected)} FROM {rows} AS rows WHERE {_called(stream, event)}"


def is_called(stream: StreamBlock, event: str) -> bool:
    """Tell whether a stream can have events of this name."""
    naming = stream.event
    if naming is None or naming.column is None:
        return naming is not None and naming.name == event
    return not naming.names or event in naming.names.values()


def _called(stream: StreamBlock, event: str) -> str:
    naming = stream.event
    if naming is None or naming.column is None:
        return "true"
    words = [word for word, name in naming.names.items() if name == event] or [event]
    listed = ", ".join("'" + word.replace("'", "''") + "'" for word in words)
    return f"{quoted(naming.column)} IN ({listed})"


def event_column(stream: StreamBlock, name: str, columns: Container[str]) -> str | None:
    """Return the column that holds a property of a stream's events, None where none does."""
    if name in stream.properties or stream.properties_json:
        return stream.properties.get(name)
    return name if name in columns else None


def _property(stream: StreamBlock, name: str, columns: Mapping[str, str]) -> str:
    column = event_column(stream, name, columns)
    if column is None and stream.properties_json:
        return f"json_extract_string({quoted(stream.properties_json)}, '$.{name}')"
    return "NULL" if column is None else quoted(column)


def key_sql(stream: StreamBlock) -> str:
    """Write the SQL of a row's key, as text."""
    return " || '|' || ".join(f"CAST({quoted(column)} AS TEXT)" for column in stream.primary_key)


def record_sql(source: str, stream: StreamBlock) -> str:
    """Name the record whose identifiers these are: the customer's own key, or the subject of an event.

    An event's subject is the set of identifiers it came with, hashed so that a record id shows none of them.
    """
    if stream.entity == "customer":
        return f"'{source}:' || {key_sql(stream)}"
    named = ", ".join(
        f"'{kind}=' || CAST({quoted(identifier.column)} AS TEXT)"
        for kind, identifier in sorted(stream.identifiers.items())
    )
    return f"'{source}:' || substr(sha256(concat_ws('|', {named})), 1, 32)"


def _instant(column: str | None) -> str:
    return f"CAST({quoted(column)} AS TIMESTAMPTZ)" if column else "CAST(NULL AS TIMESTAMPTZ)"
