"""Score a few new records against all that are known, without a batch: the same weights, the same score.

An index of blocking keys, sorted, is made once with the model and the frequencies as they are then; a new record
reads the few blocks it falls into. Splink takes about a second for any call, whatever its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from consentry.identity.candidates import FEATURES, blocking_keys, cleaned_sql, stage_features
from consentry.identity.linkage import Pairs
from consentry.identity.model import Model
from consentry.identity.roles import ROLES
from consentry.identity.score import probability, score
from consentry.identity.similar_config import SimilarRules
from consentry.warehouse import Warehouse

_INDEX = "identity.similar_key"
_KNOWN = "identity.similar_feature"
_NEW = "identity.staged_new"
_NEW_PAIRS = "identity.staged_new_pair"
_BOTH = "identity.staged_new_feature"


@dataclass(frozen=True, slots=True)
class Index:
    """Records that are known, ready to be met by new ones; made by `build_index`."""

    warehouse: Warehouse
    model: Model
    roles: tuple[str, ...]
    records: int
    largest_block: int


def build_index(
    warehouse: Warehouse, model: Model, rules: SimilarRules, columns: Mapping[str, str], query: str
) -> Index:
    """Keep the features and blocking keys of the records of a query (r, source and the columns).

    model: fitted, with its prior. The index stays in the warehouse until the next is built.
    """
    roles = stage_features(warehouse, columns, query)
    warehouse.sql(f"CREATE OR REPLACE TABLE {_KNOWN} AS SELECT * FROM {FEATURES} ORDER BY r")
    warehouse.drop(FEATURES)
    warehouse.sql(f"CREATE OR REPLACE TABLE {_INDEX} AS SELECT k, r FROM ({_keys(roles, _KNOWN)}) ORDER BY k")
    return Index(warehouse, model, roles, warehouse.count(_KNOWN), rules.largest_block)


def meet(index: Index, table: pa.Table, columns: Mapping[str, str] | None = None) -> Pairs:
    """Score new records against the known ones and each other.

    columns: as for `match`. Codes from `index.records` up are the new records, in the order of the table; the codes
    below are those of the index. A value that none of the records met has counts as rare as can be.
    """
    warehouse, columns = index.warehouse, columns or {name: name for name in index.roles}
    rows = table.append_column("r", pa.array(np.arange(table.num_rows) + index.records, pa.int64()))
    warehouse.write(_NEW, rows.to_batches(), schema=rows.schema)
    _, cleaning = cleaned_sql(columns, f"SELECT *, NULL::TEXT AS source FROM {_NEW}")
    new = warehouse.sql(f"SELECT * EXCLUDE (source) FROM ({cleaning})")
    warehouse.write(_NEW, new.to_batches(), schema=new.schema)
    _write_pairs(index)
    _write_features(index, new)
    scored = score(warehouse, index.model, least=-100.0, pairs=_NEW_PAIRS, features=_BOTH)
    for name in (_NEW, _NEW_PAIRS, _BOTH):
        warehouse.drop(name)
    chance = np.where(scored.household > 0, 0.0, probability(scored.weight, index.model.prior or 1 / index.records))
    return Pairs(scored.left, scored.right, chance)


def _keys(roles: tuple[str, ...], features: str) -> str:
    """Write the query of every blocking key of every record as a hash."""
    keys = ", ".join(
        f"CASE WHEN {key} IS NOT NULL THEN hash({n}, {key}) END" for n, (_, key) in enumerate(blocking_keys(roles))
    )
    return f"SELECT k, r FROM (SELECT unnest([{keys}]) AS k, r FROM {features}) WHERE k IS NOT NULL"


def _write_pairs(index: Index) -> None:
    found = index.warehouse.sql(_keys(index.roles, _NEW))
    index.warehouse.sql(
        f"CREATE OR REPLACE TABLE {_NEW_PAIRS} AS WITH new AS (SELECT unnest($k::UBIGINT[]) AS k, unnest($r) AS r),"
        f" seat AS (SELECT k, r FROM {_INDEX} WHERE k IN (SELECT k FROM new)"
        " QUALIFY count(*) OVER (PARTITION BY k) <= $largest UNION ALL SELECT k, r FROM new)"
        " SELECT DISTINCT seat.r AS a, new.r AS b FROM new JOIN seat ON seat.k = new.k AND seat.r < new.r",
        k=found["k"].to_pylist(),
        r=found["r"].to_pylist(),
        largest=index.largest_block,
    )


def _write_features(index: Index, new: pa.Table) -> None:
    """Put the features of the pairs together; a new record's value is as frequent as it is among the known."""
    met = index.warehouse.sql(
        f"SELECT * EXCLUDE (source) FROM {_KNOWN} WHERE r IN (SELECT a FROM {_NEW_PAIRS}) ORDER BY r"
    )
    for name in [name for name in index.roles if ROLES[name].rare]:
        shares = dict(zip(met[name].to_pylist(), met[f"tf_{name}"].to_pylist(), strict=True))
        column = [None if value is None else shares.get(value, 1 / index.records) for value in new[name].to_pylist()]
        new = new.append_column(f"tf_{name}", pa.array(column, pa.float64()))
    both = pa.concat_tables([met, new.select(met.column_names)], promote_options="permissive")
    index.warehouse.write(_BOTH, both.to_batches(), schema=both.schema)
