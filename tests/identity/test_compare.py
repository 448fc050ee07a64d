"""Who is compared, and that leaving out most pairs before they are scored leaves out nobody who counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.identity.blocks import Blocks, read_blocks, windows
from consentry.identity.candidates import FEATURES, blocking_keys, stage_features
from consentry.identity.compare import compare
from consentry.identity.model import Model, people
from consentry.identity.roles import ROLES
from consentry.identity.score import least_bits, score
from consentry.identity.similar_config import SimilarRules
from consentry.identity.sketch import Sketches
from consentry.identity.strangers import fit_strangers
from consentry.testing.hard_customers import hard_customers
from consentry.warehouse import DuckDBWarehouse

COLUMNS = {name: name for name in ROLES if name not in ("national_id", "birth_place", "occupation")}
RECORDS = 400


@pytest.fixture(scope="module")
def warehouse() -> Iterator[DuckDBWarehouse]:
    warehouse = DuckDBWarehouse(threads=2)
    table = hard_customers(RECORDS, seed=11)
    table = table.append_column("r", pa.array(range(table.num_rows), pa.int64()))
    warehouse.write("clean.records", table.to_batches(), schema=table.schema)
    stage_features(warehouse, COLUMNS, "SELECT * FROM clean.records")
    yield warehouse
    warehouse.close()


@pytest.fixture(scope="module")
def model(warehouse: DuckDBWarehouse) -> Model:
    return fit_strangers(warehouse, people(COLUMNS))


def shared_by_sql(warehouse: DuckDBWarehouse, largest: int) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for _, key in blocking_keys(COLUMNS):
        keyed = f"SELECT r, {key} AS k, count(*) OVER (PARTITION BY {key}) AS n FROM {FEATURES}"
        rows = warehouse.sql(
            f"SELECT a.r AS a, b.r AS b FROM ({keyed}) a JOIN ({keyed}) b ON a.k = b.k AND a.r < b.r"
            " WHERE a.n <= $largest",
            largest=largest,
        )
        found.update(zip(rows["a"].to_pylist(), rows["b"].to_pylist(), strict=True))
    return found


@pytest.mark.parametrize("largest", [3, 200])
def test_pairs_are_those_that_share_a_key_each_once_and_in_order(warehouse: DuckDBWarehouse, largest: int) -> None:
    blocks, _ = read_blocks(warehouse, SimilarRules(largest_block=largest, pairs_per_record=1_000))
    pairs = np.concatenate(list(windows(blocks, warehouse.count(FEATURES))))
    assert (np.diff(pairs) > 0).all()
    assert {(pair >> 32, pair & 0xFFFFFFFF) for pair in pairs.tolist()} == shared_by_sql(warehouse, largest)


def test_windows_hold_what_one_window_would(warehouse: DuckDBWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, _ = read_blocks(warehouse, SimilarRules())
    records = warehouse.count(FEATURES)
    whole = np.concatenate(list(windows(blocks, records)))
    monkeypatch.setattr("consentry.identity.blocks._WINDOW", 50)
    narrow = list(windows(blocks, records))
    assert len(narrow) > 20
    assert np.concatenate(narrow).tolist() == whole.tolist()


def test_a_rule_with_too_many_pairs_gives_its_smallest_blocks_and_says_so(warehouse: DuckDBWarehouse) -> None:
    rules = SimilarRules(pairs_per_record=1)
    blocks, left_out = read_blocks(warehouse, rules)
    records = warehouse.count(FEATURES)
    assert left_out
    assert all(block.count.sum() <= records for block in blocks)
    assert max(map(largest, blocks)) < 100


def largest(block: Blocks) -> int:
    return int(block.count.max(initial=0)) + 1


def test_no_blocks_no_pairs() -> None:
    assert list(windows([], 10)) == []


def same_as_scoring_all(warehouse: DuckDBWarehouse, model: Model, least: float) -> None:
    found = compare(warehouse, model, SimilarRules())
    blocks, _ = read_blocks(warehouse, SimilarRules())
    pairs = np.concatenate(list(windows(blocks, warehouse.count(FEATURES))))
    table = pa.table({"a": pairs >> 32, "b": pairs & 0xFFFFFFFF})
    warehouse.write("clean.pairs", table.to_batches(), schema=table.schema)
    whole = score(warehouse, model, least=least, pairs="clean.pairs")
    assert found.pairs == len(pairs)
    assert 0 < len(whole.left) < len(pairs)
    assert found.scored.left.tolist() == whole.left.tolist()
    assert found.scored.right.tolist() == whole.right.tolist()
    assert found.scored.weight.tolist() == pytest.approx(whole.weight.tolist())
    assert found.scored.household.tolist() == whole.household.tolist()


@pytest.mark.parametrize("least", [None, 0.0, 12.0])
def test_leaving_out_before_scoring_leaves_out_nobody_whom_the_score_would_keep(
    warehouse: DuckDBWarehouse, model: Model, least: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = least_bits(warehouse.count(FEATURES)) if least is None else least
    monkeypatch.setattr("consentry.identity.compare.least_bits", lambda _: least)
    same_as_scoring_all(warehouse, model, least)


@pytest.mark.parametrize(
    "condition",
    [
        'levenshtein("family_name_l", "family_name_r") <= 1',
        'left("given_name_l", 2) = left("given_name_r", 2) AND "city_l" = "city_r"',
        '(length("given_name_l") = length("given_name_r") OR "city_l" = "city_r") AND "gender_l" = "gender_r"',
        'upper("given_name_l") = upper("given_name_r") OR left("city_l", 2) = left("city_r", 2)',
    ],
)
def test_levels_of_another_shape_leave_nobody_out(warehouse: DuckDBWarehouse, model: Model, condition: str) -> None:
    given = model.comparisons[0]
    for place in (1, 3):
        levels = list(given.levels)
        levels[place] = replace(levels[place], condition=condition, m=0.4, u=1e-5)
        odd = Model((replace(given, levels=tuple(levels)), *model.comparisons[1:]))
        same_as_scoring_all(warehouse, odd, least_bits(warehouse.count(FEATURES)))


TEXTS = st.text(st.sampled_from("aabcde 019é\u0436@."), max_size=12)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=40))
def test_a_sketch_never_rules_out_what_the_measure_finds(
    warehouse: DuckDBWarehouse, pairs: list[tuple[str, str]]
) -> None:
    table = pa.table({"l": [one for one, _ in pairs], "r": [other for _, other in pairs]})
    warehouse.write("clean.texts", table.to_batches(), schema=table.schema)
    truth = warehouse.sql(
        "SELECT l, r, levenshtein(l, r) AS strokes, jaro_winkler_similarity(l, r) AS alike,"
        " starts_with(l, r) OR starts_with(r, l) AS begins FROM clean.texts"
    )
    size = truth.num_rows
    sketches = Sketches.empty(2 * size)
    sketches.put(np.arange(size), truth["l"].combine_chunks())
    sketches.put(np.arange(size, 2 * size), truth["r"].combine_chunks())
    likeness = sketches.likeness(np.arange(size), np.arange(size, 2 * size))
    for strokes in (0, 1, 2):
        assert likeness.within(strokes)[truth["strokes"].to_numpy() <= strokes].all()
    for least in (0.7, 0.8, 0.92):
        assert likeness.reaches(least)[truth["alike"].to_numpy() >= least].all()
    assert likeness.begins()[truth["begins"].to_numpy()].all()
