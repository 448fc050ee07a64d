"""Score a few new records against all that are known, without a batch: the same weights, the same score.

An index of blocking keys, sorted, is made once with the model and the frequencies as they are then; a new record
reads the few blocks it falls into. Splink takes about a second for any call, whatever its size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from consentry.identity.blocks import Hashes, hashed_sql, read_hashes, rule_key
from consentry.identity.candidates import FEATURES, PARTS, blocking_rules, cleaned_sql, stage_features
from consentry.identity.codes import Ints
from consentry.identity.linkage import Pairs
from consentry.identity.model import Model
from consentry.identity.score import probability, weights_sql
from consentry.identity.similar_config import SimilarRules
from consentry.model.names import quoted
from consentry.warehouse import DuckDBWarehouse

_RAW = "similar_new"
_PAIRS = "similar_new_pair"
_BOTH = "similar_met"


@dataclass(frozen=True, slots=True)
class Index:
    """Records that are known, ready to be met by new ones; made by `build_index`.

    keys, holders: every blocking key, sorted, and the record that has it; some 12 bytes for each of about 20 keys a
    record. features: what the records say, cleaned, with how frequent it is. connection: one of its own, where the
    statements of `meet` lie prepared: planning them anew for each record would take longer than running them.
    """

    keys: Hashes
    holders: npt.NDArray[np.int32]
    largest_block: int
    features: pa.Table
    connection: duckdb.DuckDBPyConnection
    model: Model
    columns: dict[str, str]
    roles: tuple[str, ...]
    records: int


def build_index(
    warehouse: DuckDBWarehouse, model: Model, rules: SimilarRules, columns: Mapping[str, str], query: str
) -> Index:
    """Keep the features and blocking keys of the records of a query (r, from 0 without gaps, source and the columns).

    model: fitted, with its prior. The index holds until the warehouse is closed; of its tables it needs none.
    """
    roles = stage_features(warehouse, columns, query)
    hashes = read_hashes(warehouse, _parts(roles))
    keys, holders = _keys(roles, hashes)
    order = np.argsort(keys)
    features = warehouse.sql(f"SELECT * EXCLUDE (source) FROM {FEATURES} ORDER BY r").combine_chunks()
    index = Index(
        keys=keys[order],
        holders=holders[order],
        largest_block=rules.largest_block,
        features=features,
        connection=_prepared(warehouse, model, columns, roles),
        model=model,
        columns=dict(columns),
        roles=roles,
        records=features.num_rows,
    )
    warehouse.drop(FEATURES)
    return index


def meet(index: Index, table: pa.Table) -> Pairs:
    """Score new records, with the columns that the index was built of, against the known ones and each other.

    Codes from `index.records` up are the new records, in the order of the table; the codes below are those of the
    index. A value that none of the records met has counts as rare as can be.
    """
    names = list(dict.fromkeys(index.columns.values()))
    texts: list[list[object]] = [table[name].cast(pa.string()).to_pylist() for name in names]
    run = index.connection.execute
    for name in (_RAW, _BOTH, _PAIRS):
        run(f"DELETE FROM {name}")
    _insert(index, _RAW, ["BIGINT", *("TEXT" for _ in names)], [list(range(table.num_rows)), *texts])
    clean = run("EXECUTE similar_clean").fetchall()
    said = {name: [row[place] for row in clean] for place, name in enumerate(index.roles)}
    parts = enumerate(_parts(index.roles), len(index.roles))
    hashes = {part: np.array([row[place] for row in clean], dtype=np.uint64) for place, part in parts}
    pairs = _pairs(index, *_keys(index.roles, hashes))
    _insert(index, _PAIRS, ["BIGINT", "BIGINT"], pairs.T.tolist())
    _insert_features(index, said, pairs)
    rows = np.array(run("EXECUTE similar_score").fetchall(), dtype=np.float64).reshape(-1, 4)
    left, right = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    chance = probability(rows[:, 2], index.model.prior or 1 / index.records)
    return Pairs(left, right, np.where(rows[:, 3] > 0, 0.0, chance))


def _prepared(
    warehouse: DuckDBWarehouse, model: Model, columns: Mapping[str, str], roles: tuple[str, ...]
) -> duckdb.DuckDBPyConnection:
    """Open a connection with the tables and statements of `meet`.

    The tables are temporary: what comes and goes with each record is not worth a journal. Without the optimizer the
    engine keeps a statement's plan, instead of planning for 10 ms whenever it runs; there is nothing to optimize.
    """
    connection = warehouse.connection.cursor()
    raw = ", ".join(f"{quoted(name)} TEXT" for name in dict.fromkeys(columns.values()))
    for table in (
        f"{_RAW} (r BIGINT, {raw})",
        f"{_BOTH} AS SELECT * EXCLUDE (source) FROM {FEATURES} LIMIT 0",
        f"{_PAIRS} (a BIGINT, b BIGINT)",
    ):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {table}")
    _, cleaning = cleaned_sql(columns, f"SELECT *, NULL::TEXT AS source FROM {_RAW}")
    hashes = ", ".join(map(hashed_sql, _parts(roles).values()))
    known = set(warehouse.columns(FEATURES)) - {"source"}
    connection.execute("PRAGMA disable_optimizer")
    for name, statement in {
        "clean": f"SELECT {', '.join(map(quoted, roles))}, {hashes} FROM ({cleaning}) ORDER BY r",
        "score": f"SELECT a, b, weight, household FROM ({weights_sql(model, known, _PAIRS, _BOTH)}) ORDER BY a, b",
    }.items():
        connection.execute(f"PREPARE similar_{name} AS {statement}")
    return connection


def _parts(roles: Sequence[str]) -> dict[str, str]:
    """Return the parts of all blocking rules and their SQL."""
    return {part: PARTS[part][1] for _, parts in blocking_rules(roles) for part in parts}


def _keys(roles: Sequence[str], hashes: Mapping[str, Hashes]) -> tuple[Hashes, npt.NDArray[np.int32]]:
    """Return every blocking key, no two rules having one in common, and the record that has it."""
    keys, holders = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int32)]
    for number, (_, parts) in enumerate(blocking_rules(roles)):
        key = rule_key([hashes[part] for part in parts])
        held = np.flatnonzero(key)
        keys.append(key[held] ^ np.uint64(number << 56))
        holders.append(held.astype(np.int32))
    return np.concatenate(keys), np.concatenate(holders)


def _insert(index: Index, table: str, kinds: Sequence[str], columns: Sequence[Sequence[object]]) -> None:
    listed = ", ".join(f"unnest(?::{kind}[])" for kind in kinds)
    index.connection.execute(f"INSERT INTO {table} SELECT {listed}", columns)


def _insert_features(index: Index, said: Mapping[str, Sequence[object]], pairs: Ints) -> None:
    """Insert what the records of all pairs say; a new record's value is as frequent as it is among those it meets."""
    known = index.features.take(np.unique(pairs[pairs < index.records]))
    new = len(said[index.roles[0]])
    columns: list[list[object]] = []
    for name in known.column_names:
        values = known[name].to_pylist()
        if name == "r":
            columns.append([*values, *range(index.records, index.records + new)])
        elif name in said:
            columns.append([*values, *said[name]])
        else:
            role = name.removeprefix("tf_")
            share = dict(zip(known[role].to_pylist(), values, strict=True)) | {None: None}
            columns.append([*values, *(share.get(value, 1 / index.records) for value in said[role])])
    kinds = ("BIGINT" if name == "r" else "TEXT" if name in said else "DOUBLE" for name in known.column_names)
    _insert(index, _BOTH, list(kinds), columns)


def _pairs(index: Index, keys: Hashes, holders: npt.NDArray[np.int32]) -> Ints:
    """Pair each new record with those that share one of its keys, known or new, each pair once."""
    order = np.argsort(keys)
    key, new = keys[order], holders[order].astype(np.int64) + index.records
    pairs = [
        _shared(key, new, index.keys, index.holders, index.largest_block),
        _shared(key, new, key, new, index.largest_block),
    ]
    both = np.unique(np.concatenate(pairs), axis=0)
    return both[both[:, 0] < both[:, 1]]


def _shared(
    key: npt.NDArray[np.uint64], new: Ints, keys: npt.NDArray[np.uint64], holders: npt.NDArray[np.integer], most: int
) -> Ints:
    """Return a line for each new record and each holder of one of its keys, blocks of more than `most` left out."""
    start, end = np.searchsorted(keys, key, "left"), np.searchsorted(keys, key, "right")
    size = np.where(end - start <= most, end - start, 0)
    place = np.arange(size.sum()) + np.repeat(start - np.cumsum(size) + size, size)
    return np.stack([holders[place].astype(np.int64), np.repeat(new, size)], axis=1)
