"""Delete records from where they landed and from where they were checked, with every version of them."""

from __future__ import annotations

from collections.abc import Mapping

from consentry.model.names import quoted_table
from consentry.pipeline.canonical import key_sql, record_sql, stream_table, streams_of
from consentry.pipeline.context import Context
from consentry.pipeline.job import StreamBlock

_TOUCHED = "identity.erasing_row"


def delete_records(context: Context, gone: str) -> int:
    """Delete the rows behind the records of a table (record_id); return how many landed rows that were."""
    return sum(
        delete_rows(context, source, name, f"{record_sql(source, stream)} IN (SELECT record_id FROM {gone})", {})
        for (source, name), stream in streams_of(context.loaded.job, "customer", "event", "link").items()
    )


def delete_rows(context: Context, source: str, name: str, where: str, params: Mapping[str, object]) -> int:
    """Delete rows of one stream: the clean ones, and every version of them that was landed."""
    warehouse, stream = context.warehouse, context.loaded.job.sources[source].streams[name]
    clean, raw = (quoted_table(stream_table(zone, source, name)) for zone in ("clean", "raw"))
    if not warehouse.has(stream_table("clean", source, name)):
        return 0
    warehouse.sql(
        f"CREATE OR REPLACE TABLE {_TOUCHED} AS SELECT _rid, {key_sql(stream)} AS key FROM {clean} AS rows"
        f" WHERE {where}",
        **params,
    )
    rows = 0
    with warehouse.transaction():
        warehouse.sql(f"DELETE FROM {clean} WHERE _rid IN (SELECT _rid FROM {_TOUCHED})")
        if warehouse.has(stream_table("raw", source, name)):
            rows = _delete_landed(context, raw, stream)
    warehouse.drop(_TOUCHED)
    return rows


def _delete_landed(context: Context, raw: str, stream: StreamBlock) -> int:
    key = key_sql(stream)
    same = (
        f"_rid IN (SELECT _rid FROM {_TOUCHED}) OR {key} IN (SELECT key FROM {_TOUCHED}) OR {key} IN"
        f" (SELECT {key} FROM {raw} WHERE _rid IN (SELECT _rid FROM {_TOUCHED}))"
    )
    found = context.warehouse.sql(f"SELECT count(*) AS n FROM {raw} WHERE {same}")
    context.warehouse.sql(f"DELETE FROM {raw} WHERE {same}")
    return int(found["n"][0].as_py())
