"""What an evaluation says, with labels and without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from consentry.errors import ConfigError
from consentry.identity.config import IdentityConfig
from consentry.identity.estimate import pair_estimates, ratio_estimate, sample_precision
from consentry.identity.evaluate import against_labels, clerical_sample, likeness_of, without_labels
from consentry.identity.labels import read_labels
from consentry.identity.metrics import pairwise
from consentry.identity.model import Comparison, Level, Model, save
from consentry.identity.report_html import identity_report
from consentry.testing.identity_records import Record, run
from consentry.warehouse import DuckDBWarehouse

EMPTY = IdentityConfig()


def mail(record_id: str, box: str) -> Record:
    return Record(record_id, {"email": f"{box}@example.com"})


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_resolve_duplicates_precision_and_recall_against_labels(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "a"), mail("crm:3", "b"), mail("crm:4", "c")])
    rows = [("crm:1", "x"), ("crm:2", "x"), ("crm:3", "x"), ("crm:9", "y")]
    labels = write(tmp_path / "l.jsonl", *(json.dumps({"record_id": r, "person": p}) for r, p in rows))
    found = against_labels(warehouse, read_labels(labels))
    assert (found["records"], found["unknown"], found["unlabelled"]) == (3, 1, 1)
    assert found["pairwise"] == {"precision": 1.0, "recall": pytest.approx(1 / 3), "f1": pytest.approx(0.5)}
    assert (found["mixed_people"], found["scattered_people"]) == (0, 1)


@pytest.mark.parametrize(
    ("name", "lines", "sentence"),
    [
        ("l.csv", ["record,person", "crm:1,x"], r"l\.csv:1: There is no column record_id or person"),
        ("l.csv", ["record_id,person", "crm:1,"], r"l\.csv:2: A record or its person is missing"),
        ("l.jsonl", ['{"record_id": "crm:1", "person": "x"}', "not json"], r"l\.jsonl:2: This line is no JSON object"),
        ("l.jsonl", ["[1]"], r"l\.jsonl:1: This line is no JSON object"),
        ("l.csv", ["record_id,person", "crm:1,x", "crm:1,y"], r"l\.csv:3: The record has two persons"),
        ("l.csv", ["record_id,person"], r"l\.csv: The file holds no label"),
        ("none.csv", None, r"none\.csv: The file cannot be read"),
    ],
)
def test_a_bad_file_of_labels_is_a_sentence_with_its_line(
    name: str, lines: list[str] | None, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if lines is not None:
        write(path, *lines)
    with pytest.raises(ConfigError, match=sentence):
        read_labels(path)


def test_labels_of_other_records_are_refused(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    run(warehouse, [mail("crm:1", "a")])
    with pytest.raises(ConfigError, match="None of the labelled records is known"):
        against_labels(warehouse, read_labels(write(tmp_path / "l.csv", "record_id,person", "17,x")))


def test_without_labels_sizes_conflicts_churn_and_order_are_told(warehouse: DuckDBWarehouse) -> None:
    two = Record("crm:x", {"customer_number": ["1", "2"]})
    first = [mail("crm:1", "a"), mail("crm:2", "a"), mail("crm:3", "b"), two]
    run(warehouse, first)
    run(warehouse, [*first[:2], Record("crm:3", {"email": ["b@example.com", "a@example.com"]}), two], run_id="run-2")
    found = without_labels(warehouse, EMPTY)
    assert (found["records"], found["people"], found["sizes"]) == (4, 2, {"1": 1, "3-5": 1})
    assert found["conflicts"] == {"people": 1, "conflicting": 1, "rate": 1.0}
    assert found["churn"] == [{"run_id": "run-1", "known": 0, "changed": 0, "rate": 0.0},
                              {"run_id": "run-2", "known": 4, "changed": 1, "rate": 0.25}]  # fmt: skip
    assert found["order"] == {"checked": True, "records": 4, "differ": 0}
    assert found["evidence"] == [{"type": "email", "linking": 1, "demoted": 0}]
    assert found["largest"][0]["customers"] == 3


def test_the_page_is_whole_and_names_nobody(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [mail("crm:1", "secret"), mail("crm:2", "secret")])
    page = identity_report(without_labels(warehouse, EMPTY), job="<b>shop</b>", made_at="2026-01-01")
    assert "&lt;b&gt;shop" in page and "secret" not in page and "<script" not in page
    assert "prefers-color-scheme" in page or "color-scheme: light dark" in page


def test_a_sample_draws_people_by_size_and_comes_back_as_an_estimate(
    warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    run(warehouse, [mail(f"crm:{n}", f"p{n // 4}") for n in range(40)])
    rows = clerical_sample(warehouse, size=30)
    assert rows == clerical_sample(warehouse, size=30)
    assert len({row["draw"] for row in rows}) == 30 and len(rows) == 120
    # The clerk finds that one of the four is somebody else, every time.
    lines = [
        f"{row['draw']},{row['record_id']},{'no' if row['record_id'] in ODD else row['person_id']}" for row in rows
    ]
    found = against_labels(warehouse, read_labels(write(tmp_path / "l.csv", "draw,record_id,person", *lines)))
    assert found["draws"] == 30
    assert found["intervals"]["b_cubed_precision"]["value"] == pytest.approx((9 + 1) / 16)
    assert found["intervals"]["pairwise_precision"]["value"] == pytest.approx(3 / 6)


ODD = {f"crm:{n}" for n in range(0, 40, 4)}


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for trial in range(60):
        wrong = rng.random(150) < 0.2
        found = ratio_estimate((~wrong).astype(np.float64), np.ones(150), seed=trial)
        held += found.low <= 0.8 <= found.high
    assert held >= 52


def test_pair_estimates_are_the_pairwise_scores_with_an_interval() -> None:
    rng = np.random.default_rng(2)
    labels, truth = rng.integers(40, size=200), rng.integers(50, size=200)
    precision, recall = pair_estimates(labels, truth)
    score = pairwise(labels, truth)
    assert (precision.value, recall.value) == (pytest.approx(score.precision), pytest.approx(score.recall))
    assert precision.low <= precision.value <= precision.high


def test_a_draw_of_one_record_is_pure() -> None:
    cubed, pairs = sample_precision([["a"], ["b"]])
    assert (cubed.value, pairs.value) == (1.0, 1.0)


def test_the_page_shows_what_a_model_oflikeness_of_weighs(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    levels = (Level("equal", "x_l = x_r", m=0.9, u=0.01), Level("else", "ELSE", m=0.1, u=0.99))
    save(Model((Comparison("given_name", levels),), prior=0.001), tmp_path / "model.json")
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "b")])
    warehouse.sql("CREATE OR REPLACE TABLE identity.similar_pair (record_id TEXT, other_id TEXT, probability DOUBLE)")
    warehouse.sql("INSERT INTO identity.similar_pair VALUES ('crm:1', 'crm:2', 0.45)")
    config = IdentityConfig.model_validate({"similar": {"model": str(tmp_path / "model.json")}})
    found = likeness_of(warehouse, config)
    assert found is not None
    assert found["pairs"] == {"0.4-0.5": 1}
    assert [level["bits"] > 0 for level in found["weights"]] == [True, False]
    page = identity_report(without_labels(warehouse, EMPTY) | {"likeness": found}, job="shop", made_at="2026-01-01")
    assert "given_name: equal" in page and "+6.5" in page
