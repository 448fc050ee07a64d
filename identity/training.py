"""Train a model on the records themselves, without labels: Splink's expectation maximisation, seeded.

u comes from random pairs. m comes from several passes, each over the pairs that agree in one property and never about
that property: over all candidates at once the maximisation runs astray (F1 of 0.47 to 0.62 on historical 50k).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pyarrow as pa
from splink import Linker, block_on
from splink.backends.duckdb import DuckDBAPI
from splink.internals.exceptions import EMTrainingException

from consentry.errors import StopRun
from consentry.identity.candidates import FEATURES, stage_features
from consentry.identity.compare import compare
from consentry.identity.model import Comparison, Level, Model, people, read_settings
from consentry.identity.score import fit_prior
from consentry.identity.similar_config import SimilarRules
from consentry.identity.strangers import fit_strangers
from consentry.model.names import quoted
from consentry.warehouse import Warehouse

MIN_RECORDS = 1_000
_PASSES = (
    ("email",), ("phone",), ("national_id",), ("given_name", "family_name"), ("date_of_birth",),
    ("family_name", "postcode"), ("family_name", "birth_place"), ("street_address",),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model, how many records it saw, and the passes that told something."""

    model: Model
    records: int
    passes: tuple[str, ...]


def train(
    warehouse: Warehouse, rules: SimilarRules, columns: Mapping[str, str], query: str, *, seed: int = 1
) -> Trained:
    """Train a model on the records of a query (r, source and the columns), the same one for the same seed.

    columns: for each meaning the column that has it. Levels of which no pass tells anything keep the m they ship with.
    Raises StopRun when there are too few records to tell anything.
    """
    roles = stage_features(warehouse, columns, query)
    records = warehouse.count(FEATURES)
    if records < MIN_RECORDS:
        raise StopRun(f"There are {records:,} records; training takes {MIN_RECORDS:,} at least. Use the default model.")
    default = fit_strangers(warehouse, people(roles))
    names = ", ".join(quoted(name) for name in roles)
    linker = splink_linker(warehouse.sql(f"SELECT r, {names} FROM {FEATURES} ORDER BY r"), default)
    passes = tuple(_maximise(linker, roles, seed))
    found = read_settings(linker.misc.save_model_to_json(), version=f"trained-{seed}")
    model = _completed(found, default)
    prior = fit_prior(compare(warehouse, model, rules).scored.weight, records)
    return Trained(replace(model, prior=prior), records, passes)


def splink_linker(records: pa.Table, model: Model, *, pairs: Sequence[str] = (), explains: bool = False) -> Linker:
    """Return Splink over cleaned records (r, a column for each meaning), in a database of its own, with this model.

    pairs: blocking rules of the pairs it is to predict. Columns tf_MEANING, where there, are taken as they are.
    explains: predictions carry all that a chart of how they come about takes.
    """
    logging.getLogger("splink").setLevel(logging.ERROR)
    settings: dict[str, Any] = model.settings()  # Splink's own shape
    settings["blocking_rules_to_generate_predictions"] = list(pairs)
    settings["retain_matching_columns"] = explains
    return Linker(DuckDBAPI(duckdb.connect()).register(records), settings, log_level=logging.ERROR)


def _maximise(linker: Linker, roles: tuple[str, ...], seed: int) -> Iterator[str]:
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=seed)
    for columns in _PASSES:
        if set(columns) <= set(roles) and len(roles) > len(columns):
            try:
                linker.training.estimate_parameters_using_expectation_maximisation(block_on(*columns))
            except EMTrainingException:
                continue  # No two records agree in this property.
            yield " ".join(columns)


def _completed(found: Model, default: Model) -> Model:
    pairs = zip(found.comparisons, default.comparisons, strict=True)
    return replace(found, comparisons=tuple(_filled(one, other) for one, other in pairs))


def _filled(found: Comparison, default: Comparison) -> Comparison:
    levels = tuple(_known(one, other) for one, other in zip(found.levels, default.levels, strict=True))
    return replace(found, levels=levels)


def _known(found: Level, default: Level) -> Level:
    return found if found.missing else replace(found, m=found.m or default.m, u=found.u or default.u)
