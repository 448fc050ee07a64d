"""The graph of a run: records and identifiers as codes, in numpy, in an order that no arrival can change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from consentry.identity.codes import Flags, Ints, ints
from consentry.identity.config import IdentityConfig, Rule
from consentry.identity.constraints import Constraints, constraints
from consentry.identity.contradiction import foes
from consentry.identity.decisions import Decisions, stage_nothing
from consentry.identity.normalise import normalise
from consentry.model.names import quoted
from consentry.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Graph:
    """Edges between records and values.

    r, v: the edges, as codes; records are numbered by record id, values by priority of their type, type, value.
    types: the rules; type_of: for each value the position of its rule. customer: which records are customer
    records (the others are events). signature: for each record what its agreement columns say, -1 for nothing.
    foes: pairs of records that share a weak value and contradict each other, one pair a line.
    purposes: for each record the bits of what it may be linked for. said: what stewards decided.
    seen: for values of a type with a window the day they were last seen, counted from 1970.
    """

    records: int
    types: tuple[Rule, ...]
    type_of: Ints
    r: Ints
    v: Ints
    customer: Flags
    signature: Ints
    foes: Ints
    purposes: Ints
    said: Constraints
    seen: Mapping[int, int]

    @property
    def values(self) -> int:
        """Return how many values there are."""
        return len(self.type_of)

    def limit(self, limits: dict[str, int | None]) -> npt.NDArray[np.float64]:
        """Spread a limit per type over the values, infinite where there is none."""
        by_type = [limits[rule.type] for rule in self.types]
        return np.array([np.inf if limit is None else limit for limit in by_type], dtype=np.float64)[self.type_of]


def stage(warehouse: Warehouse, config: IdentityConfig, decisions: Decisions | None = None) -> Graph:
    """Write the identifiers of this run beside the published ones, and return them as a graph."""
    normalise(warehouse, config, into="identity.staged_canonical")
    types = _stage_types(warehouse, config)
    _stage_identifiers(warehouse, types)
    _stage_records(warehouse, config)
    if decisions:
        decisions.stage(warehouse, "identity.staged_record")
    else:
        stage_nothing(warehouse)
    warehouse.sql(
        "CREATE TABLE identity.staged_value AS SELECT type, value, t,"
        " row_number() OVER (ORDER BY t, value) - 1 AS v"
        " FROM (SELECT DISTINCT type, value FROM identity.staged_identifier WHERE status = 'ok')"
        " JOIN identity.staged_type USING (type)"
    )
    return _read(warehouse, types, config)


def _stage_identifiers(warehouse: Warehouse, types: tuple[Rule, ...]) -> None:
    """Write each identifier of each record: `unlinked` says why one that is good links nobody all the same."""
    windowed = [rule.type for rule in types if rule.window_days is not None]
    seen = "epoch(max(l.seen_at))::BIGINT // 86400" if windowed else "NULL::BIGINT"
    trust, params = _distrust(types)
    warehouse.sql(
        "CREATE TABLE identity.staged_identifier AS"
        " SELECT l.record_id, l.source, l.type, c.canonical AS value, c.status, c.reason,"
        f" max({trust}) AS unlinked, CASE WHEN l.type IN (SELECT unnest($windowed)) THEN {seen} END AS seen_day"
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
    rules = sorted((config.rule(name) for name in names), key=lambda rule: (rule.priority, rule.type))
    schema = pa.schema([("type", pa.string()), ("t", pa.int64())])
    rows = pa.RecordBatch.from_pylist([{"type": rule.type, "t": t} for t, rule in enumerate(rules)], schema)
    warehouse.write("identity.staged_type", [rows], schema=schema)
    return tuple(rules)


def _stage_records(warehouse: Warehouse, config: IdentityConfig) -> None:
    """Number the records: all of clean.link, and the customers who have no identifier at all."""
    customer = "SELECT NULL::TEXT AS record_id, NULL::TEXT AS source, NULL::TEXT AS signature WHERE false"
    columns = warehouse.columns("clean.customer")
    if columns:
        customer = f"SELECT record_id, source, {_signature(config, columns)} AS signature FROM clean.customer"
    warehouse.sql(
        f"CREATE TABLE identity.staged_record AS WITH customer AS ({customer}),"
        " whole AS (SELECT record_id, source, true AS customer, signature FROM customer UNION ALL"
        " SELECT record_id, source, false, NULL FROM clean.link),"
        " once AS (SELECT record_id, min(source) AS source, bool_or(customer) AS customer, min(signature) AS signature"
        " FROM whole GROUP BY record_id)"
        " SELECT record_id, source, customer, row_number() OVER (ORDER BY record_id) - 1 AS r,"
        " CASE WHEN signature IS NULL THEN -1 ELSE dense_rank() OVER (ORDER BY signature) END AS signature FROM once"
    )


def _signature(config: IdentityConfig, columns: dict[str, str]) -> str:
    """Write the SQL of what the agreement columns say, null unless each of them says something."""
    if not config.agreement or any(name not in columns for name in config.agreement):
        return "NULL::TEXT"
    parts = [f"nullif(lower(trim({quoted(name)}::TEXT)), '')" for name in config.agreement]
    return " || chr(31) || ".join(parts)


def _read(warehouse: Warehouse, types: tuple[Rule, ...], config: IdentityConfig) -> Graph:
    records = warehouse.sql("SELECT customer, signature, source FROM identity.staged_record ORDER BY r")
    values = warehouse.sql("SELECT t FROM identity.staged_value ORDER BY v")
    linked = (
        "FROM identity.staged_identifier i JOIN identity.staged_record r USING (record_id)"
        " JOIN identity.staged_value v ON v.type = i.type AND v.value = i.value"
        " WHERE i.status = 'ok' AND i.unlinked IS NULL"
    )
    edges = warehouse.sql(f"SELECT r.r, v.v {linked}")
    seen = warehouse.sql(f"SELECT v.v, max(i.seen_day) AS day {linked} AND i.seen_day IS NOT NULL GROUP BY v.v")
    return Graph(
        records=records.num_rows,
        types=types,
        type_of=ints(values["t"]),
        r=ints(edges["r"]),
        v=ints(edges["v"]),
        customer=records["customer"].to_numpy().astype(np.bool_),
        signature=ints(records["signature"]),
        foes=foes(warehouse, config, types),
        purposes=_purposes(records["source"], config),
        said=constraints(warehouse),
        seen=dict(zip(seen["v"].to_pylist(), seen["day"].to_pylist(), strict=True)),
    )


def _purposes(sources: pa.ChunkedArray, config: IdentityConfig) -> Ints:
    """Return for each record the bits of the purposes for which it may be linked."""
    coded = sources.combine_chunks().dictionary_encode()
    bits = np.array([config.linking.bits(source) for source in coded.dictionary.to_pylist()] or [-1], dtype=np.int64)
    found: Ints = bits[coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)]
    return found
