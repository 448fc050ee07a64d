"""Give records that are alike a common identifier of the type `similar`, which links like any other, but last.

It is judged as all identifiers are: it never joins two people whose unique identifiers differ, it is explained and
demoted like them. Its value names nobody: a hash of the first record of the group.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from consentry.identity.candidates import STAGED
from consentry.identity.codes import Ints, ints
from consentry.identity.components import linked_parts
from consentry.identity.config import SIMILAR, IdentityConfig
from consentry.identity.constraints import constraints
from consentry.identity.fitted import keep_fitted
from consentry.identity.linkage import Guards, Pairs, cluster
from consentry.identity.seal import is_sealed, keep_seal, seal
from consentry.identity.similar import Evidence, columns_of, evidence
from consentry.identity.similar_config import SimilarRules
from consentry.model.names import quoted
from consentry.warehouse import Warehouse

RECORDS = "identity.staged_alike"
GROUPS = "identity.similar_group"
_STAGED_GROUPS, _STAGED_PAIRS, _STAGED_BLOCKS = (f"identity.staged_alike_{name}" for name in ("group", "pair", "block"))
# Pairs from here on are kept for those who explain or review.
_TELLING = 0.05
_BLOCK = pa.schema([("rule", pa.string()), ("keys", pa.int64()), ("records", pa.int64())])


def stage_similar(warehouse: Warehouse, config: IdentityConfig, *, refused: str | None = None) -> None:
    """Add to identity.staged_identifier the type `similar`, for records that only their likeness links.

    All customer records are looked at, so that the groups depend on the records alone; when nothing changed that could
    change the groups, those of the last run are taken. Beside it the tables identity.similar_pair (record_id, other_id,
    probability) and identity.similar_block (rule, keys, records): the pairs that are at all alike, and blocks that were
    too large to compare.
    """
    rules = config.similar
    if rules is None or not warehouse.has("clean.customer"):
        return
    columns, query = stage_customers(warehouse, rules, refused=refused)
    if columns and warehouse.count(RECORDS) > 1:
        name = seal(warehouse, config, records=RECORDS, query=query)
        if not is_sealed(warehouse, name):
            found = evidence(warehouse, rules, columns, query)
            guards = _guards(warehouse, config, rules, found)
            labels = cluster(found.pairs, warehouse.count(RECORDS), cut=rules.cut, pair=rules.pair, guards=guards)
            _keep(warehouse, name, found, labels)
        warehouse.sql(
            "INSERT INTO identity.staged_identifier BY NAME"
            f" SELECT record_id, source, $type AS type, value, 'ok' AS status FROM {GROUPS}",
            type=SIMILAR,
        )
    for table in (*STAGED, RECORDS, _STAGED_GROUPS, _STAGED_PAIRS, _STAGED_BLOCKS):
        warehouse.drop(table)


def stage_customers(
    warehouse: Warehouse, rules: SimilarRules, *, refused: str | None = None
) -> tuple[dict[str, str], str]:
    """Number the customer records; return the column of each meaning, and the query that reads them."""
    held = f" WHERE record_id NOT IN (SELECT record_id FROM {refused})" if refused else ""
    warehouse.sql(
        f"CREATE OR REPLACE TABLE {RECORDS} AS SELECT record_id, min(source) AS source,"
        f" row_number() OVER (ORDER BY record_id) - 1 AS r FROM clean.customer{held} GROUP BY record_id"
    )
    columns = columns_of(rules, list(warehouse.columns("clean.customer")))
    return columns, _query(columns)


def _query(columns: dict[str, str]) -> str:
    names = ", ".join(f"min(c.{quoted(column)}) AS {quoted(column)}" for column in sorted(set(columns.values())))
    return (
        f"SELECT a.r, a.source, {names} FROM {RECORDS} a JOIN clean.customer c USING (record_id) GROUP BY a.r, a.source"
    )


def _guards(warehouse: Warehouse, config: IdentityConfig, rules: SimilarRules, found: Evidence) -> Guards:
    sources = warehouse.sql(f"SELECT source FROM {RECORDS} ORDER BY r")["source"].to_pylist()
    said = constraints(warehouse, RECORDS)
    unique = list(_unique_values(warehouse, config, len(sources)))
    same = [np.stack([labels, rows], axis=1) for labels, rows in (_ties(values) for values in unique)]
    ties = np.concatenate([said.together, *same])
    names = np.array(sources, dtype=object)
    rows = np.arange(len(sources), dtype=np.int64)
    alone = [np.where(names == name, rows, -1).astype(np.int64) for name in rules.duplicate_free]
    return Guards(
        together=linked_parts(len(sources), ties[:, 0], ties[:, 1]) if len(ties) else None,
        apart=np.concatenate([found.household, said.apart]),
        exclusive=(*unique, *alone),
        purposes=np.array([config.linking.bits(source) for source in sources], dtype=np.int64),
    )


def _unique_values(warehouse: Warehouse, config: IdentityConfig, size: int) -> Iterator[Ints]:
    """Yield for each unique type the value of each record as a code, -1 for none; two values are a code of its own."""
    types = warehouse.sql("SELECT type FROM identity.staged_type ORDER BY t")["type"].to_pylist()
    for type_ in types:
        if not config.rule(type_).unique:
            continue
        rows = warehouse.sql(
            "SELECT a.r, min(dense) AS code, count(DISTINCT dense) AS n FROM (SELECT record_id,"
            " dense_rank() OVER (ORDER BY value) AS dense FROM identity.staged_identifier"
            f" WHERE type = $type AND status = 'ok' AND unlinked IS NULL) JOIN {RECORDS} a USING (record_id)"
            " GROUP BY a.r",
            type=type_,
        )
        codes = np.full(size, -1, dtype=np.int64)
        at, code, several = ints(rows["r"]), ints(rows["code"]), ints(rows["n"]) > 1
        codes[at] = np.where(several, code.max(initial=0) + 1 + at, code)
        yield codes


def _ties(values: Ints) -> tuple[Ints, Ints]:
    """Return for each record that has a value the first record that has it, and the record itself."""
    rows = np.flatnonzero(values >= 0)
    _, first, inverse = np.unique(values[rows], return_index=True, return_inverse=True)
    return rows[first[inverse]].astype(np.int64), rows.astype(np.int64)


def _keep(warehouse: Warehouse, name: str, found: Evidence, labels: Ints) -> None:
    """Write the groups, and what tells of them, in place of those before."""
    _write(warehouse, _STAGED_GROUPS, _shared(labels))
    _write(warehouse, _STAGED_PAIRS, _telling(found.pairs))
    blocks = [{"rule": block.rule, "keys": block.keys, "records": block.records} for block in found.left_out]
    _write(warehouse, _STAGED_BLOCKS, pa.Table.from_pylist(blocks, _BLOCK))
    with warehouse.transaction():
        warehouse.sql(
            f"CREATE OR REPLACE TABLE {GROUPS} AS SELECT a.record_id, a.source, md5(b.record_id) AS value"
            f" FROM {_STAGED_GROUPS} g JOIN {RECORDS} a ON a.r = g.r JOIN {RECORDS} b ON b.r = g.first"
        )
        warehouse.sql(
            "CREATE OR REPLACE TABLE identity.similar_pair AS SELECT a.record_id, b.record_id AS other_id,"
            f" p.probability FROM {_STAGED_PAIRS} p JOIN {RECORDS} a ON a.r = p.a JOIN {RECORDS} b ON b.r = p.b"
        )
        warehouse.sql(f"CREATE OR REPLACE TABLE identity.similar_block AS SELECT * FROM {_STAGED_BLOCKS}")
        keep_fitted(warehouse, found.model)
        keep_seal(warehouse, name)


def _write(warehouse: Warehouse, name: str, table: pa.Table) -> None:
    warehouse.write(name, table.to_batches(), schema=table.schema)


def _shared(labels: Ints) -> pa.Table:
    """Return the first record of the group of each record that is not alone."""
    rows = np.flatnonzero(np.bincount(labels, minlength=len(labels))[labels] > 1)
    return pa.table({"r": pa.array(rows, pa.int64()), "first": pa.array(labels[rows], pa.int64())})


def _telling(pairs: Pairs) -> pa.Table:
    kept = pairs.probability >= _TELLING
    return pa.table({"a": pairs.left[kept], "b": pairs.right[kept], "probability": pairs.probability[kept]})
