"""Score a few new records against all that are known, without a batch: the same weights, the same score.

An index of blocking keys, sorted, is made once with the model and the frequencies as they are then; a new record
reads the few blocks it falls into. Splink takes about a second for any call, whatever its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from consentry.identity.candidates import FEATURES, blocking_keys, cleaned_sql, stage_features
from consentry.identity.codes import Ints
from consentry.identity.linkage import Pairs
from consentry.identity.model import Model
from consentry.identity.roles import ROLES
from consentry.identity.score import probability, weights_sql
from consentry.identity.similar_config import SimilarRules
from consentry.model.names import quoted
from consentry.warehouse import DuckDBWarehouse

_KNOWN = "identity.similar_feature"
_RAW = "similar_new"
_NEW = "similar_new_feature"
_PAIRS = "similar_new_pair"
_BOTH = "similar_met"


@dataclass(frozen=True, slots=True)
class Index:
    """Records that are known, ready to be met by new ones; made by `build_index`.

    keys, holders: every blocking key, sorted, and the record that has it; some 12 bytes for each of about 20 keys a
    record. connection: one of its own, where the statements of `meet` lie prepared: planning them anew for each record
    would take longer than running them.
    """

    keys: npt.NDArray[np.uint64]
    holders: npt.NDArray[np.int32]
    largest_block: int
    connection: duckdb.DuckDBPyConnection
    model: Model
    columns: dict[str, str]
    roles: tuple[str, ...]
    records: int


def build_index(
    warehouse: DuckDBWarehouse, model: Model, rules: SimilarRules, columns: Mapping[str, str], query: str
) -> Index:
    """Keep the features and blocking keys of the records of a query (r, source and the columns).

    model: fitted, with its prior. The index holds until the next is built or the warehouse is closed.
    """
    roles = stage_features(warehouse, columns, query)
    warehouse.sql(f"CREATE OR REPLACE TABLE {_KNOWN} AS SELECT * EXCLUDE (source) FROM {FEATURES} ORDER BY r")
    warehouse.drop(FEATURES)
    found = warehouse.sql(f"SELECT k, r::INTEGER AS r FROM ({_keys(roles, _KNOWN)}) ORDER BY k")
    connection = warehouse.connection.cursor()
    raw = ", ".join(f"{quoted(name)} TEXT" for name in dict.fromkeys(columns.values()))
    # Temporary tables: what comes and goes with each record is not worth a journal.
    for table in (
        f"{_RAW} (r BIGINT, {raw})",
        f"{_NEW} AS SELECT r, {', '.join(map(quoted, roles))} FROM {_KNOWN} LIMIT 0",
        f"{_BOTH} AS SELECT * FROM {_KNOWN} LIMIT 0",
        f"{_PAIRS} (a BIGINT, b BIGINT)",
    ):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {table}")
    _, cleaning = cleaned_sql(columns, f"SELECT *, NULL::TEXT AS source FROM {_RAW}")
    known = set(warehouse.columns(_KNOWN))
    for name, statement in {
        "clean": f"INSERT INTO {_NEW} SELECT * EXCLUDE (source) FROM ({cleaning})",
        "keys": _keys(roles, _NEW),
        "meet": f"INSERT INTO {_BOTH} {_meeting(roles, warehouse.count(_KNOWN))}",
        "score": f"SELECT a, b, weight, household FROM ({weights_sql(model, known, _PAIRS, _BOTH)}) ORDER BY a, b",
    }.items():
        connection.execute(f"PREPARE similar_{name} AS {statement}")
    keys, holders = found["k"].to_numpy(), found["r"].to_numpy()
    return Index(keys, holders, rules.largest_block, connection, model, dict(columns), roles, warehouse.count(_KNOWN))


def meet(index: Index, table: pa.Table) -> Pairs:
    """Score new records, with the columns that the index was built of, against the known ones and each other.

    Codes from `index.records` up are the new records, in the order of the table; the codes below are those of the
    index. A value that none of the records met has counts as rare as can be.
    """
    names = list(dict.fromkeys(index.columns.values()))
    texts: list[list[object]] = [table[name].cast(pa.string()).to_pylist() for name in names]
    values = [[index.records + n for n in range(table.num_rows)], *texts]
    run = index.connection.execute
    run("BEGIN")
    for name in (_RAW, _NEW, _BOTH, _PAIRS):
        run(f"DELETE FROM {name}")
    listed = ", ".join(["unnest(?::BIGINT[])", *("unnest(?::TEXT[])" for _ in names)])
    run(f"INSERT INTO {_RAW} SELECT {listed}", values)
    run("EXECUTE similar_clean")
    run(
        f"INSERT INTO {_PAIRS} SELECT unnest(?::BIGINT[]), unnest(?::BIGINT[])",
        _pairs(index, run("EXECUTE similar_keys")),
    )
    run("EXECUTE similar_meet")
    rows = np.array(run("EXECUTE similar_score").fetchall(), dtype=np.float64).reshape(-1, 4)
    run("COMMIT")
    left, right = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    chance = probability(rows[:, 2], index.model.prior or 1 / index.records)
    return Pairs(left, right, np.where(rows[:, 3] > 0, 0.0, chance))


def _pairs(index: Index, found: duckdb.DuckDBPyConnection) -> list[list[int]]:
    """Pair each new record with those that share one of its keys, known or new, each pair once."""
    rows = sorted(found.fetchall())
    key = np.array([k for k, _ in rows], dtype=np.uint64)
    new = np.array([r for _, r in rows], dtype=np.int64)
    pairs = [
        _shared(key, new, index.keys, index.holders, index.largest_block),
        _shared(key, new, key, new, index.largest_block),
    ]
    both = np.unique(np.concatenate(pairs), axis=0)
    return [column.tolist() for column in both[both[:, 0] < both[:, 1]].T]


def _shared(
    key: npt.NDArray[np.uint64], new: Ints, keys: npt.NDArray[np.uint64], holders: npt.NDArray[np.integer], most: int
) -> Ints:
    """Return a line for each new record and each holder of one of its keys, blocks of more than `most` left out."""
    start, end = np.searchsorted(keys, key, "left"), np.searchsorted(keys, key, "right")
    size = np.where(end - start <= most, end - start, 0)
    place = np.arange(size.sum()) + np.repeat(start - np.cumsum(size) + size, size)
    return np.stack([holders[place].astype(np.int64), np.repeat(new, size)], axis=1)


def _meeting(roles: tuple[str, ...], records: int) -> str:
    """Write the query of the features of all pairs; a new record's value is as frequent as it is among the known."""
    rare = [name for name in roles if ROLES[name].rare]
    shares = ", ".join(
        f"CASE WHEN n.{quoted(name)} IS NOT NULL THEN coalesce((SELECT max(tf_{name}) FROM met"
        f" WHERE met.{quoted(name)} = n.{quoted(name)}), {1 / max(records, 1)!r}) END AS tf_{name}"
        for name in rare
    )
    return (
        f"BY NAME WITH met AS MATERIALIZED (SELECT * FROM {_KNOWN} WHERE r IN (SELECT a FROM {_PAIRS}))"
        f" SELECT * FROM met UNION ALL BY NAME SELECT n.*{', ' if shares else ''}{shares} FROM {_NEW} n"
    )


def _keys(roles: tuple[str, ...], features: str) -> str:
    """Write the query of every blocking key of every record as a hash."""
    keys = ", ".join(
        f"CASE WHEN {key} IS NOT NULL THEN hash({n}, {key}) END" for n, (_, key) in enumerate(blocking_keys(roles))
    )
    return f"SELECT k, r FROM (SELECT unnest([{keys}]) AS k, r FROM {features}) WHERE k IS NOT NULL"
