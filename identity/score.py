"""What each pair of records scores under a model: Fellegi-Sunter in one SQL statement, equal to Splink's score.

Splink takes about a second for any call, one pair included, and has no score for parts of the data; the sum itself
is small. A test holds the two against each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consentry.identity.candidates import FEATURES, PAIRS
from consentry.identity.codes import Ints, ints
from consentry.identity.household import household_sql
from consentry.identity.model import Comparison, Model
from consentry.model.names import quoted
from consentry.warehouse import Warehouse

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """Pairs with their weight in bits, the prior left out.

    household: 1 where a household explains the pair, 2 where the two were also born on different days; 0 elsewhere.
    """

    left: Ints
    right: Ints
    weight: Floats
    household: Ints


def score(warehouse: Warehouse, model: Model, *, least: float, pairs: str = PAIRS, features: str = FEATURES) -> Scored:
    """Score the pairs of a table (a, b) over the features; sorted by pair.

    least: pairs that weigh less are left out, unless a household explains them.
    """
    columns = set(warehouse.columns(features))
    rows = warehouse.sql(
        f"SELECT a, b, weight, household FROM ({weights_sql(model, columns, pairs, features)})"
        " WHERE weight >= $least OR household = 2 ORDER BY a, b",
        least=least,
    )
    weight = rows["weight"].to_numpy().astype(np.float64)
    return Scored(ints(rows["a"]), ints(rows["b"]), weight, ints(rows["household"]))


def weights_sql(model: Model, columns: set[str], pairs: str, features: str) -> str:
    """Write the query of a, b, each level (gamma_NAME), its weight (mw_NAME), the sum and the household flag."""
    mine = " + ".join(quoted(f"mw_{c.name}") for c in model.comparisons) or "0.0"
    parts = ", ".join(f"{_weight_sql(c)} AS {quoted(f'mw_{c.name}')}" for c in model.comparisons)
    return (
        f"SELECT *, {mine} AS weight FROM (SELECT *, {household_sql(columns)} AS household, {parts}"
        f" FROM ({levels_sql(model, columns, pairs, features)}))"
    )


def levels_sql(model: Model, columns: set[str], pairs: str, features: str) -> str:
    """Write the query of a, b, the level of each comparison (gamma_NAME), and what both records say."""
    used = sorted(name for name in columns if name not in ("r", "source"))
    both = ", ".join(
        f"l.{quoted(name)} AS {quoted(name + '_l')}, r.{quoted(name)} AS {quoted(name + '_r')}" for name in used
    )
    levels = ", ".join(f"{gamma_sql(c)} AS {quoted(f'gamma_{c.name}')}" for c in model.comparisons)
    return (
        f"SELECT *, {levels} FROM (SELECT p.a, p.b, {both} FROM {pairs} p JOIN {features} l ON l.r = p.a"
        f" JOIN {features} r ON r.r = p.b)"
    )


def gamma_sql(comparison: Comparison) -> str:
    """Write the level of a pair: -1 for missing, 0 for different, the highest number for equal."""
    number = len(comparison.told)
    cases = []
    for level in comparison.levels:
        number -= not level.missing
        shown = -1 if level.missing else number
        cases.append(f"ELSE {shown}" if level.condition == "ELSE" else f"WHEN {level.condition} THEN {shown}")
    return f"CASE {' '.join(cases)} END"


def least_bits(records: int) -> float:
    """Return the weight below which a pair is unlikely even if every record had eight duplicates."""
    return math.log2(max(records, 16) / 16) - 8


def fit_prior(weight: Floats, records: int) -> float:
    """Return the probability that two records at random are one person, such that the scores add up to it.

    Between a twentieth of a duplicate and 8 duplicates a record: beyond, sums of weights are no evidence.
    """
    pairs = max(records * (records - 1) / 2, 1.0)
    low, high = 0.1 / max(records, 10), min(16 / max(records, 1), 0.5)
    prior = min(1 / max(records, 2), high)
    for _ in range(30):
        found = min(max(float(probability(weight, prior).sum()) / pairs, low), high)
        if abs(found - prior) <= 1e-4 * prior:
            break
        prior = found
    return prior


def probability(weight: Floats, prior: float) -> Floats:
    """Turn weights into probabilities."""
    return 1 / (1 + np.exp2(-np.clip(weight + math.log2(prior / (1 - prior)), -60, 60)))


def _weight_sql(comparison: Comparison) -> str:
    return f"CASE {quoted(f'gamma_{comparison.name}')} {' '.join(_weight_cases(comparison))} ELSE 0.0::DOUBLE END"


def _weight_cases(comparison: Comparison) -> Iterator[str]:
    equal = comparison.told[0]
    for number, level in enumerate(reversed(comparison.told)):
        bits = f"{level.weight!r}::DOUBLE"
        if level.rare and equal.u:
            one, other = quoted(f"tf_{level.rare}_l"), quoted(f"tf_{level.rare}_r")
            share = f"greatest({one}, {other}, {level.rare_floor!r}::DOUBLE)"
            bits += f" + coalesce({level.rare_weight!r}::DOUBLE * ({math.log2(equal.u)!r}::DOUBLE - log2({share})), 0)"
        yield f"WHEN {number} THEN {bits}"
