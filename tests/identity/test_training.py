"""Our scores are Splink's, and what Splink trains here can be used again."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pytest

from consentry.errors import ConfigError, StopRun
from consentry.identity.candidates import FEATURES, stage_features
from consentry.identity.model import load, people, save
from consentry.identity.roles import ROLES
from consentry.identity.score import score
from consentry.identity.similar import match
from consentry.identity.similar_config import SimilarRules
from consentry.identity.strangers import fit_strangers
from consentry.identity.training import splink_linker, train
from consentry.testing.hard_customers import hard_customers
from consentry.warehouse import DuckDBWarehouse

COLUMNS = {name: name for name in ROLES if name not in ("national_id", "birth_place", "occupation")}
QUERY = "SELECT * FROM clean.records"


def filled(records: int) -> DuckDBWarehouse:
    warehouse = DuckDBWarehouse(threads=2)
    table = hard_customers(records, seed=3)
    table = table.append_column("r", pa.array(range(table.num_rows), pa.int64()))
    warehouse.write("clean.records", table.to_batches(), schema=table.schema)
    return warehouse


def test_our_score_of_every_pair_is_splinks() -> None:
    warehouse = filled(120)
    roles = stage_features(warehouse, COLUMNS, QUERY)
    model = fit_strangers(warehouse, people(roles))
    warehouse.sql(
        f"CREATE TABLE clean.pairs AS SELECT l.r AS a, r.r AS b FROM {FEATURES} l JOIN {FEATURES} r ON l.r < r.r"
    )
    ours = score(warehouse, model, least=-1_000, pairs="clean.pairs")
    linker = splink_linker(warehouse.sql(f"SELECT * EXCLUDE (source) FROM {FEATURES}"), model, pairs=["1 = 1"])
    rows = linker.inference.predict().as_record_list()
    prior = math.log2(0.0001 / 0.9999)
    theirs = {(min(row["r_l"], row["r_r"]), max(row["r_l"], row["r_r"])): row["match_weight"] - prior for row in rows}
    assert len(theirs) == len(ours.weight) > 5_000
    for a, b, weight in zip(ours.left.tolist(), ours.right.tolist(), ours.weight.tolist(), strict=True):
        assert weight == pytest.approx(theirs[a, b], abs=1e-6)


@pytest.mark.slow
def test_training_is_the_same_for_the_same_seed_and_its_model_can_be_used(tmp_path: Path) -> None:
    warehouse = filled(1_500)
    one, other = (train(warehouse, SimilarRules(), COLUMNS, QUERY, seed=7) for _ in range(2))
    assert one.model == other.model
    assert "given_name family_name" in one.passes
    save(one.model, tmp_path / "model.json")
    assert load(tmp_path / "model.json") == one.model
    labels = match(warehouse.sql(QUERY), rules=SimilarRules(model=tmp_path / "model.json"))
    assert 500 < len(set(labels.tolist())) < 1_300
    with pytest.raises(ConfigError, match=r"compares .*phone"):
        match(pa.table({"given_name": ["a", "b"]}), rules=SimilarRules(model=tmp_path / "model.json"))


def test_too_few_records_train_nothing() -> None:
    with pytest.raises(StopRun, match="training takes 1,000 at least"):
        train(filled(40), SimilarRules(), COLUMNS, QUERY)
