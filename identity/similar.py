"""Find records that are one person although they share no identifier: who is alike enough, and who must not be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from consentry.errors import ConfigError
from consentry.identity.blocks import LeftOut
from consentry.identity.candidates import FEATURES, stage_features
from consentry.identity.codes import Ints
from consentry.identity.compare import compare
from consentry.identity.linkage import Guards, Pairs, cluster
from consentry.identity.model import Model, load, people
from consentry.identity.roles import COLUMNS
from consentry.identity.score import fit_prior, probability
from consentry.identity.similar_config import SimilarRules
from consentry.identity.strangers import fit_strangers
from consentry.model.names import did_you_mean, quoted
from consentry.warehouse import DuckDBWarehouse, Warehouse


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the look at all records found.

    pairs: those that are at all alike. household: pairs of two people whom only a household has in common.
    model: the weights, fitted. left_out: blocks that were too large to compare. compared: how many pairs were.
    """

    pairs: Pairs
    household: Ints
    model: Model
    left_out: tuple[LeftOut, ...]
    compared: int


def evidence(warehouse: Warehouse, rules: SimilarRules, columns: Mapping[str, str], query: str) -> Evidence:
    """Compare the records of a query (r, from 0 without gaps, source, and the columns) and score the pairs.

    columns: for each meaning (roles.COLUMNS) the column that has it. The features stay in the warehouse, as
    identity.staged_feature, for whoever explains a pair.
    Raises ConfigError when the model compares what no column says.
    """
    roles = stage_features(warehouse, columns, query)
    model = _model(rules, roles)
    if not model.is_fitted:
        model = fit_strangers(warehouse, model)
    compared = compare(warehouse, model, rules)
    scored = compared.scored
    prior = model.prior if rules.model and model.prior else fit_prior(scored.weight, warehouse.count(FEATURES))
    chance = np.where(scored.household > 0, 0.0, probability(scored.weight, prior))
    two = scored.household == 2
    return Evidence(
        pairs=Pairs(scored.left, scored.right, chance),
        household=np.stack([scored.left[two], scored.right[two]], axis=1),
        model=_with_prior(model, prior),
        left_out=compared.left_out,
        compared=compared.pairs,
    )


def match(
    table: pa.Table,
    columns: Mapping[str, str] | None = None,
    *,
    source: str | None = None,
    rules: SimilarRules | None = None,
) -> Ints:
    """Tell which rows of a table are one person: equal numbers for rows of one person.

    columns: for each meaning (roles.COLUMNS) the column that has it; None: the columns are called like the meanings.
    source: the column that names each row's source, for `duplicate_free` in the rules.
    """
    rules = rules or SimilarRules()
    columns = columns if columns is not None else {name: name for name in COLUMNS if name in table.column_names}
    warehouse = DuckDBWarehouse()
    try:
        found = look(warehouse, table, columns, source=source, rules=rules)
    finally:
        warehouse.close()
    guards = Guards(apart=found.household, exclusive=_alone(table, source, rules.duplicate_free))
    return cluster(found.pairs, table.num_rows, cut=rules.cut, pair=rules.pair, guards=guards)


def look(
    warehouse: Warehouse,
    table: pa.Table,
    columns: Mapping[str, str],
    *,
    source: str | None = None,
    rules: SimilarRules | None = None,
) -> Evidence:
    """Compare the rows of a table in a warehouse of its own; the numbers of the rows are the codes of the pairs."""
    rows = table.append_column("consentry_row", pa.array(np.arange(table.num_rows), pa.int64()))
    warehouse.write("clean.similar", rows.to_batches(), schema=rows.schema)
    from_ = quoted(source) if source else "NULL"
    query = f"SELECT *, consentry_row AS r, {from_}::TEXT AS source FROM clean.similar"
    return evidence(warehouse, rules or SimilarRules(), columns, query)


def columns_of(rules: SimilarRules, there: Sequence[str]) -> dict[str, str]:
    """Return for each meaning the column of the customer records that has it.

    Raises ConfigError when the rules name a column that is not there.
    """
    faults = [
        f"identity.similar.columns.{name}: no customer record has the column {column!r}"
        f"{did_you_mean(column, there) or '.'}"
        for name, column in rules.columns.items()
        if column not in there
    ]
    if faults:
        raise ConfigError(*faults, code="similar_column")
    named: dict[str, str] = {str(name): column for name, column in rules.columns.items()}
    taken = set(named.values())
    return {name: name for name in COLUMNS if name in there and name not in taken} | named


def _model(rules: SimilarRules, roles: tuple[str, ...]) -> Model:
    if rules.model is None:
        return people(roles)
    model = load(rules.model)
    missing = sorted({comparison.name for comparison in model.comparisons} - set(roles))
    if missing:
        raise ConfigError(
            f"The model {rules.model} compares {', '.join(missing)}, and no column says that. "
            "Name the column under 'identity.similar.columns', or train the model again."
        )
    return model


def _with_prior(model: Model, prior: float) -> Model:
    return Model(model.comparisons, prior, model.version)


def _alone(table: pa.Table, source: str | None, sources: Sequence[str]) -> list[Ints]:
    """Give each row of a duplicate-free source a label of its own."""
    if source is None:
        return []
    names = np.array(table[source].to_pylist(), dtype=object)
    rows = np.arange(table.num_rows, dtype=np.int64)
    return [np.where(names == name, rows, -1).astype(np.int64) for name in sources]
