"""What two records say of each other, property by property, with every value masked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from consentry.identity.candidates import cleaned_sql
from consentry.identity.config import SIMILAR, IdentityConfig
from consentry.identity.explain import masked
from consentry.identity.fitted import fitted
from consentry.identity.model import Comparison, Model, people
from consentry.identity.score import levels_sql
from consentry.identity.similar import columns_of
from consentry.identity.similar_config import SimilarRules
from consentry.model.names import quoted
from consentry.warehouse import Warehouse

_RECORDS = "identity.compared_record"
_PAIRS = "identity.compared_pair"
_FEATURES = "identity.compared_feature"
STAGED = (_RECORDS, _PAIRS, _FEATURES)
_IDENTIFIERS = (
    f"SELECT i.record_id, i.type, list(DISTINCT i.value ORDER BY i.value) AS held FROM identity.identifier i"
    f" JOIN {_RECORDS} USING (record_id) WHERE i.status = 'ok' AND i.type <> $similar GROUP BY ALL ORDER BY i.type"
)
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Compared:
    """How two records compare in one property.

    level: in words, from `equal` to `different`, or `missing`. bits: what that weighs in the model that the last run
    used, for values of ordinary frequency; None where it knows no such property. one, other: what they say, masked.
    """

    name: str
    level: str
    bits: float | None
    one: str | None
    other: str | None


def compared(warehouse: Warehouse, config: IdentityConfig, pairs: Iterable[Pair]) -> dict[Pair, tuple[Compared, ...]]:
    """Compare pairs of records: by what customer records say of people, then by their other identifiers."""
    wanted = list(dict.fromkeys(pairs))
    numbers = {record: n for n, record in enumerate(sorted({record for pair in wanted for record in pair}))}
    if not numbers:
        return {}
    try:
        _stage(warehouse, wanted, numbers)
        told = _told(warehouse, config)
        held = _held(warehouse)
    finally:
        for table in STAGED:
            warehouse.drop(table)
    found = {}
    for one, other in wanted:
        said = told.get((numbers[one], numbers[other]), ())
        known = {each.name for each in said}
        rest = _identifiers(held.get(one, {}), held.get(other, {}))
        found[one, other] = (*said, *(each for each in rest if each.name not in known))
    return found


def _stage(warehouse: Warehouse, pairs: Sequence[Pair], numbers: Mapping[str, int]) -> None:
    records = pa.table({"record_id": list(numbers), "r": pa.array(numbers.values(), pa.int64())})
    codes = [pa.array([numbers[pair[side]] for pair in pairs], pa.int64()) for side in (0, 1)]
    both = pa.table({"a": codes[0], "b": codes[1]})
    for name, table in ((_RECORDS, records), (_PAIRS, both)):
        warehouse.write(name, table.to_batches(), schema=table.schema)


def _told(warehouse: Warehouse, config: IdentityConfig) -> dict[tuple[int, int], tuple[Compared, ...]]:
    there = list(warehouse.columns("clean.customer"))
    columns = columns_of(config.similar or SimilarRules(), there) if there else {}
    if not columns:
        return {}
    names = ", ".join(f"min(c.{quoted(column)}) AS {quoted(column)}" for column in sorted(set(columns.values())))
    query = f"SELECT v.r, min(c.source) AS source, {names} FROM {_RECORDS} v JOIN clean.customer c USING (record_id)"
    roles, cleaning = cleaned_sql(columns, f"{query} GROUP BY v.r")
    warehouse.sql(f"CREATE OR REPLACE TABLE {_FEATURES} AS {cleaning}")
    weights = fitted(warehouse)
    model = _covering(weights, roles)
    rows = warehouse.sql(levels_sql(model, set(warehouse.columns(_FEATURES)), _PAIRS, _FEATURES)).to_pylist()
    told = (
        ((row["a"], row["b"]), (_compared(c, row, weighs=model is weights) for c in model.comparisons)) for row in rows
    )
    # What neither says is no evidence.
    return {pair: tuple(each for each in said if each.one or each.other) for pair, said in told}


def _covering(model: Model | None, roles: Sequence[str]) -> Model:
    """Return the model of the last run where the columns still have what it compares, else one without weights."""
    return model if model and {c.name for c in model.comparisons} <= set(roles) else people(roles)


# A row of the warehouse: a, b, the levels, and both values of each property.
def _compared(comparison: Comparison, row: Mapping[str, Any], *, weighs: bool) -> Compared:
    level = comparison.level(row[f"gamma_{comparison.name}"])
    one, other = (row[f"{comparison.name}_{side}"] for side in "lr")
    return Compared(
        comparison.name,
        level.label if level else "missing",
        (level.weight if level else 0.0) if weighs else None,
        masked(comparison.name, one) if one else None,
        masked(comparison.name, other) if other else None,
    )


def _held(warehouse: Warehouse) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    for row in warehouse.sql(_IDENTIFIERS, similar=SIMILAR).to_pylist():
        found.setdefault(row["record_id"], {})[row["type"]] = row["held"]
    return found


def _identifiers(one: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> Iterator[Compared]:
    for name in sorted(one.keys() | other.keys()):
        mine, theirs = one.get(name, []), other.get(name, [])
        same = sorted(set(mine) & set(theirs))
        level = "equal" if same else "different" if mine and theirs else "missing"
        shown = [masked(name, (same or held)[0]) if held else None for held in (mine, theirs)]
        yield Compared(name, level, None, *shown)
