"""`consentry model ...` and `consentry score` on a small job, and the scores in a rule of its next run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consentry.warehouse import DuckDBWarehouse
from tests.cli.conftest import Cli, told
from tests.conftest import TinyJob

AGES = """\
models:
  - model: ages
    description: Groups of people by age
    purpose: profiling
    kind: cluster
    features: {age: age}
    cluster: {k: 2}
"""
FIRST = "segment: first_half\ndescription: test\npurpose: news\nrule: model.ages.label == 'c1'\n"


@contextmanager
def warehouse_of(job: TinyJob) -> Iterator[DuckDBWarehouse]:
    warehouse = DuckDBWarehouse(job.folder / "state" / "warehouse.duckdb")
    try:
        yield warehouse
    finally:
        warehouse.close()


def test_the_model_commands_tell_one_story(cli: Cli, tiny: TinyJob, tmp_path: Path) -> None:
    (tiny.folder / "segments" / "models.yaml").write_text(AGES)
    (tiny.folder / "segments" / "first.yaml").write_text(FIRST)
    code, _, err = cli("model", "train", tiny.path)
    assert code == 1 and "has not run yet" in err
    ran = told(cli("run", tiny.path, "-o", "json"))
    assert ran["segments"]["first_half"] == 0  # nobody was scored yet

    assert cli("score", tiny.path)[0] == 1
    (trained,) = told(cli("model", "train", tiny.path, "-o", "json"))["models"]
    assert (trained["version"], trained["promoted"], trained["clusters"]) == (1, True, 2)
    assert told(cli("model", "train", tiny.path, "--due", "-o", "json"))["models"] == []
    (scored,) = told(cli("score", tiny.path, "-o", "json"))["models"]
    assert (scored["version"], scored["people"]) == (1, 40)
    assert told(cli("score", tiny.path, "--due", "-o", "json"))["models"] == []
    again = told(cli("run", tiny.path, "-o", "json"))
    assert again["segments"]["first_half"] == 20

    (listed,) = told(cli("model", "list", tiny.path, "-o", "json"))["models"]
    assert (listed["versions"], listed["in_use"], listed["training_due"]) == (1, 1, None)
    assert "ages" in cli("model", "list", tiny.path)[1]
    code, _, err = cli("model", "promote", tiny.path, "ages", "9")
    assert code == 1 and "no version 9; there are: 1" in err
    assert told(cli("model", "promote", tiny.path, "ages", "1", "-o", "json")) == {"model": "ages", "in_use": 1}
    code, _, err = cli("model", "train", tiny.path, "--model", "agse")
    assert code == 1 and "did you mean 'ages'" in err

    page = tmp_path / "models.html"
    found = told(cli("model", "report", tiny.path, "--out", page, "-o", "json"))
    assert found["models"][0]["report"]["k"] == 2
    text = page.read_text()
    assert "Groups of people by age" in text and "<script" not in text
    audit = "".join(path.read_text() for path in (tiny.folder / "state" / "audit").glob("*.jsonl"))
    assert '"model.trained"' in audit and '"model.scored"' in audit and '"model.promoted"' in audit


def test_a_run_scores_by_itself_when_that_is_due_and_goes_on_when_it_cannot(cli: Cli, tiny: TinyJob) -> None:
    (tiny.folder / "segments" / "models.yaml").write_text(AGES)
    (tiny.folder / "segments" / "first.yaml").write_text(FIRST)
    tiny.write()
    cli("run", tiny.path)
    cli("model", "train", tiny.path)
    assert told(cli("run", tiny.path, "-o", "json"))["segments"]["first_half"] == 20
    with warehouse_of(tiny) as warehouse:
        person = warehouse.sql("SELECT min(person_id) AS p FROM segment.model__ages")["p"][0].as_py()
    assert cli("erase", tiny.path, "--person", person, "--approved-by", "Dana")[0] == 0
    with warehouse_of(tiny) as warehouse:  # what a model said of somebody goes with them
        assert warehouse.count("segment.model__ages") == 39
    card = tiny.folder / "state" / "models" / "ages" / "v0001" / "card.json"
    card.write_text(card.read_text().replace('"seed": 1', '"seed": 2'))
    tiny.spec["as_of"] = "2026-02-03T00:00:00Z"
    tiny.write()
    code, out, _ = cli("run", tiny.path, "-o", "json")
    assert code == 0 and json.loads(out)["segments"]["first_half"] in (19, 20)


def test_a_job_without_models_says_where_to_declare_one(cli: Cli, tiny: TinyJob) -> None:
    cli("run", tiny.path)
    code, _, err = cli("model", "train", tiny.path)
    assert code == 1 and "Declare one under 'models:'" in err


def test_a_fault_in_a_model_stops_the_job_with_file_and_line(cli: Cli, tiny: TinyJob) -> None:
    (tiny.folder / "segments" / "models.yaml").write_text(AGES.replace("purpose: profiling", "purpose: profile"))
    code, _, err = cli("run", tiny.path)
    assert code == 1 and "models.yaml:4: The policy has no purpose 'profile'; did you mean 'profiling'" in err
