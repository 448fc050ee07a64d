"""Whether anything changed on which likeness depends: if not, the groups of the last run stand."""

from __future__ import annotations

import hashlib
import json

from consentry.identity.config import IdentityConfig
from consentry.identity.decisions import BOUND
from consentry.identity.scope import basis
from consentry.warehouse import Warehouse

TABLE = "identity.similar_seal"


def seal(warehouse: Warehouse, config: IdentityConfig, *, records: str, query: str) -> str:
    """Name all that decides who is alike: what the records say, their unique identifiers, decisions and settings.

    records: the table that numbers the records. query: what they say. The name is a digest; it holds no value.
    """
    types = warehouse.sql("SELECT type FROM identity.staged_type ORDER BY t")["type"].to_pylist()
    unique = [type_ for type_ in types if config.rule(type_).unique]
    identifiers = (
        "SELECT record_id, type, value FROM identity.staged_identifier"
        " WHERE type IN (SELECT unnest($types)) AND status = 'ok' AND unlinked IS NULL"
    )
    known = [
        basis(config),
        _model(config),
        _sum(warehouse, f"SELECT * FROM {records}"),
        _sum(warehouse, query),
        _sum(warehouse, identifiers, types=unique or [""]),
        _sum(warehouse, f"SELECT * FROM {BOUND}"),
    ]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def is_sealed(warehouse: Warehouse, name: str) -> bool:
    """Tell whether the groups of the last comparison were made of what has this name."""
    return warehouse.has(TABLE) and warehouse.sql(f"SELECT name FROM {TABLE}")["name"].to_pylist() == [name]


def keep_seal(warehouse: Warehouse, name: str) -> None:
    """Note of what the groups were made; in one step with the groups."""
    warehouse.sql(f"CREATE OR REPLACE TABLE {TABLE} AS SELECT $name AS name", name=name)


def _model(config: IdentityConfig) -> str:
    path = config.similar.model if config.similar else None
    return hashlib.sha256(path.read_bytes()).hexdigest() if path and path.is_file() else ""


def _sum(warehouse: Warehouse, query: str, **params: list[str]) -> list[str]:
    """Add up the hashes of all rows, in any order."""
    rows = warehouse.sql(
        "SELECT count(*)::TEXT AS n, coalesce(bit_xor(hash(x)), 0)::TEXT AS one, coalesce(sum(hash(x)), 0)::TEXT AS two"
        f" FROM ({query}) x",
        **params,
    ).to_pylist()
    return list(rows[0].values())
