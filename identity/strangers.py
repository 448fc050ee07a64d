"""How often two strangers agree: the u of a model, read off random pairs of the data itself."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from consentry.identity.candidates import FEATURES
from consentry.identity.codes import Ints, ints
from consentry.identity.model import Comparison, Model
from consentry.identity.score import Floats, levels_sql
from consentry.model.names import quoted
from consentry.warehouse import Warehouse

SAMPLE = "identity.staged_sample"
PAIRS = 1_000_000
_SEED = 1


def fit_strangers(warehouse: Warehouse, model: Model, *, pairs: int = PAIRS) -> Model:
    """Return the model with u from random pairs of FEATURES, the same ones for the same records.

    A random pair may be one person after all, often so in small data: each pattern of agreement counts only as far
    as the model takes it for strangers.
    """
    codes = ints(warehouse.sql(f"SELECT r FROM {FEATURES} ORDER BY r")["r"])
    if len(codes) < 2:
        return model.with_u({c.name: _even(c) for c in model.comparisons})
    _write_sample(warehouse, codes, pairs)
    columns = set(warehouse.columns(FEATURES))
    levels = [quoted(f"gamma_{c.name}") for c in model.comparisons]
    patterns = warehouse.sql(
        f"SELECT {', '.join(levels)}, count(*) AS n FROM ({levels_sql(model, columns, SAMPLE, FEATURES)})"
        f" GROUP BY ALL ORDER BY ALL"
    )
    warehouse.drop(SAMPLE)
    seen = [ints(patterns[f"gamma_{c.name}"]) for c in model.comparisons]
    return _fit(model, seen, ints(patterns["n"]).astype(np.float64), 1 / len(codes))


def _fit(model: Model, seen: list[Ints], counts: Floats, prior: float) -> Model:
    strangers = counts
    for _ in range(6):
        shares = {c.name: _shares(c, levels, strangers) for c, levels in zip(model.comparisons, seen, strict=True)}
        model = model.with_u(shares)
        odds = np.full(len(counts), math.log2(prior / (1 - prior)))
        for comparison, levels in zip(model.comparisons, seen, strict=True):
            bits = np.array([level.weight for level in reversed(comparison.told)])
            odds += np.where(levels >= 0, bits[levels], 0.0)
        one_person = 1 / (1 + np.exp2(-np.clip(odds, -60, 60)))
        strangers = counts * (1 - one_person)
        prior = min(max(float((counts * one_person).sum() / counts.sum()), 1e-9), 0.1)
    return model


def _shares(comparison: Comparison, levels: Ints, counts: Floats) -> list[float]:
    """Return the share of each level, from equal to different, with half a pair added to each."""
    size = len(comparison.told)
    told = levels >= 0
    found = np.bincount(levels[told], weights=counts[told], minlength=size)[::-1] + 0.5
    return [float(share) for share in found / found.sum()]


def _even(comparison: Comparison) -> list[float]:
    return [1 / len(comparison.told)] * len(comparison.told)


def _write_sample(warehouse: Warehouse, codes: Ints, pairs: int) -> None:
    size = len(codes)
    if size * (size - 1) // 2 <= pairs:
        one, other = np.triu_indices(size, 1)
    else:
        rng = np.random.default_rng(_SEED)
        one, other = rng.integers(0, size, pairs), rng.integers(0, size, pairs)
        one, other = one[one != other], other[one != other]
    table = pa.table({"a": codes[np.minimum(one, other)], "b": codes[np.maximum(one, other)]})
    warehouse.write(SAMPLE, table.to_batches(), schema=table.schema)
