"""Stage what a run reads: identifiers in canonical form, records, decisions; and which of it is to be looked at."""

from __future__ import annotations

import pyarrow as pa

from consentry.identity.config import SIMILAR, IdentityConfig, Rule
from consentry.identity.decisions import Decisions, stage_nothing
from consentry.identity.graph import Graph, read_graph
from consentry.identity.likeness import stage_similar
from consentry.identity.normalise import normalise
from consentry.identity.scope import TOUCHED, is_comparable, stage_touched
from consentry.model.names import quoted
from consentry.warehouse import Warehouse


def stage(
    warehouse: Warehouse, config: IdentityConfig, decisions: Decisions | None = None, *, refused: str | None = None
) -> Graph:
    """Write the identifiers of this run beside the published ones; return those to be looked at as a graph.

    refused: a table of record ids that may be linked to nothing.
    """
    comparable = is_comparable(warehouse, config)
    normalise(warehouse, config, into="identity.staged_canonical", known="identity.canonical" if comparable else None)
    types = _stage_types(warehouse, config)
    _stage_identifiers(warehouse, types, refused)
    _stage_subjects(warehouse, config)
    if decisions:
        decisions.stage(warehouse, "identity.staged_subject")
    else:
        stage_nothing(warehouse)
    stage_similar(warehouse, config, refused=refused)
    stage_touched(warehouse, comparable=comparable)
    _number(warehouse)
    return read_graph(warehouse, types, config)


def _number(warehouse: Warehouse) -> None:
    """Number the records to be looked at, and their values, in an order that no arrival can change."""
    warehouse.sql(
        "CREATE TABLE identity.staged_record AS SELECT record_id, source, customer,"
        " row_number() OVER (ORDER BY record_id) - 1 AS r, CASE WHEN agreement IS NULL THEN -1"
        " ELSE dense_rank() OVER (ORDER BY agreement) END AS signature FROM identity.staged_subject"
        f" WHERE record_id IN (SELECT record_id FROM {TOUCHED})"
    )
    warehouse.sql(
        "CREATE TABLE identity.staged_value AS SELECT type, value, t,"
        " row_number() OVER (ORDER BY t, value) - 1 AS v FROM (SELECT DISTINCT type, value"
        " FROM identity.staged_identifier JOIN identity.staged_record USING (record_id) WHERE status = 'ok')"
        " JOIN identity.staged_type USING (type)"
    )


def _stage_identifiers(warehouse: Warehouse, types: tuple[Rule, ...], refused: str | None) -> None:
    """Write each identifier of each record: `unlinked` says why one that is good links nobody all the same."""
    windowed = [rule.type for rule in types if rule.window_days is not None]
    seen = "epoch(max(l.seen_at))::BIGINT // 86400" if windowed else "NULL::BIGINT"
    unlinked, params = _distrust(types)
    if refused:
        held = f"l.record_id IN (SELECT record_id FROM {refused})"
        unlinked = f"CASE WHEN {held} THEN 'linking_refused' ELSE {unlinked} END"
    warehouse.sql(
        "CREATE TABLE identity.staged_identifier AS"
        " SELECT l.record_id, l.source, l.type, c.canonical AS value, c.status, c.reason,"
        f" max({unlinked}) AS unlinked, CASE WHEN l.type IN (SELECT unnest($windowed)) THEN {seen} END AS seen_day"
        " FROM clean.link l JOIN identity.staged_canonical c"
        " ON c.type = l.type AND c.value = l.value AND c.region = coalesce(l.region, '')"
        " GROUP BY l.record_id, l.source, l.type, c.canonical, c.status, c.reason",
        windowed=windowed or [""],
        **params,
    )


def _distrust(types: tuple[Rule, ...]) -> tuple[str, dict[str, object]]:
    """Write the SQL of why a source does not link by a type, null when it does, with its parameters."""
    params: dict[str, object] = {}
    cases = ""
    for t, rule in enumerate(types):
        if not rule.min_trust:
            continue
        params |= {f"type_{t}": rule.type, f"least_{t}": rule.min_trust}
        own = ""
        for n, (source, trust) in enumerate(sorted(rule.trust.items())):
            params |= {f"source_{t}_{n}": source, f"trust_{t}_{n}": trust}
            own += f" WHEN l.source = $source_{t}_{n} THEN $trust_{t}_{n}"
        trusted = f"CASE{own} ELSE l.trust END" if own else "l.trust"
        cases += f" WHEN l.type = $type_{t} AND {trusted} < $least_{t} THEN 'untrusted_source'"
    return (f"CASE{cases} END" if cases else "NULL::TEXT"), params


def _stage_types(warehouse: Warehouse, config: IdentityConfig) -> tuple[Rule, ...]:
    names = warehouse.sql("SELECT DISTINCT type FROM identity.staged_canonical")["type"].to_pylist()
    names += [SIMILAR] if config.similar else []
    rules = sorted((config.rule(name) for name in names), key=lambda rule: (rule.priority, rule.type))
    schema = pa.schema([("type", pa.string()), ("t", pa.int64())])
    rows = pa.RecordBatch.from_pylist([{"type": rule.type, "t": t} for t, rule in enumerate(rules)], schema)
    warehouse.write("identity.staged_type", [rows], schema=schema)
    return tuple(rules)


def _stage_subjects(warehouse: Warehouse, config: IdentityConfig) -> None:
    """Write the records: all of clean.link, and the customers who have no identifier at all, with what they say."""
    customer = (
        "SELECT NULL::TEXT AS record_id, NULL::TEXT AS source, NULL::TEXT AS agreement, NULL::TEXT AS said WHERE false"
    )
    columns = warehouse.columns("clean.customer")
    if columns:
        agreement, said = _signature(config, columns), _said(config, columns)
        customer = f"SELECT record_id, source, {agreement} AS agreement, {said} AS said FROM clean.customer"
    warehouse.sql(
        f"CREATE TABLE identity.staged_subject AS WITH customer AS ({customer}),"
        " whole AS (SELECT record_id, source, true AS customer, agreement, said FROM customer UNION ALL"
        " SELECT DISTINCT record_id, source, false, NULL, NULL FROM clean.link)"
        " SELECT record_id, min(source) AS source, bool_or(customer) AS customer, min(agreement) AS agreement,"
        " min(said) AS said FROM whole GROUP BY record_id"
    )


def _signature(config: IdentityConfig, columns: dict[str, str]) -> str:
    """Write the SQL of what the agreement columns say, null unless each of them says something."""
    if not config.agreement or any(name not in columns for name in config.agreement):
        return "NULL::TEXT"
    parts = [f"nullif(lower(trim({quoted(name)}::TEXT)), '')" for name in config.agreement]
    return " || chr(31) || ".join(parts)


def _said(config: IdentityConfig, columns: dict[str, str]) -> str:
    """Write the SQL of what can contradict another record, as a hash."""
    names = [name for name in (config.contradiction, "family_name") if name and name in columns]
    parts = [f"coalesce({quoted(name)}::TEXT, '')" for name in names]
    return f"md5({' || chr(31) || '.join(parts)})" if parts else "NULL::TEXT"
