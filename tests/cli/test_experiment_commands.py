"""`consentry experiment ...` on a small job."""

from __future__ import annotations

from tests.cli.conftest import Cli, told
from tests.conftest import TinyJob

TEXT = """\
experiments:
  - experiment: words
    description: Which words work?
    segment: adults
    arms: {plain: 50%, loud: 50%}
    start: 2026-02-01T00:00:00Z
    metrics: {old: age >= 30}
  - experiment: thompson
    description: Which words work, and more of them
    segment: adults
    arms: {plain: 50%, loud: 50%}
    start: 2026-02-01T00:00:00Z
    metrics: {old: age >= 30}
    bandit: old
kpis:
  - {kpi: ages, description: Years together, value: age}
"""


def test_the_experiment_commands_tell_one_story(cli: Cli, tiny: TinyJob) -> None:
    code, _, err = cli("experiment", "report", tiny.path)
    assert code == 1 and "Declare one under 'experiments:'" in err
    (tiny.folder / "segments" / "experiments.yaml").write_text(TEXT)
    loud = "segment: loud\ndescription: test\npurpose: news\nrule: experiment.words == 'loud'\n"
    (tiny.folder / "segments" / "loud.yaml").write_text(loud)
    code, _, err = cli("experiment", "report", tiny.path)
    assert code == 1 and "has not run yet" in err
    ran = told(cli("run", tiny.path, "-o", "json"))
    reported = told(cli("experiment", "report", tiny.path, "-o", "json"))["experiments"]
    found = {entry["experiment"]: entry for entry in reported}
    assert sum(found["words"]["sizes"].values()) == 40
    assert ran["segments"]["loud"] == found["words"]["sizes"]["loud"]
    (metric,) = found["words"]["metrics"]
    assert set(metric["against_control"]) == {"loud"} and found["thompson"]["weights"] is None
    assert "words: Which words work?" in cli("experiment", "report", tiny.path, "--experiment", "words")[1]

    (begun,) = told(cli("experiment", "update", tiny.path, "-o", "json"))["experiments"]
    assert begun["weights"] == {"plain": 0.5, "loud": 0.5}
    code, _, err = cli("experiment", "update", tiny.path, "--experiment", "words")
    assert code == 1 and "is a bandit" in err

    figures = told(cli("experiment", "kpis", tiny.path, "--members-of-now", "--days", "2", "-o", "json"))
    assert [(row["segment"], row["members"]) for row in figures["kpis"] if row["segment"] == "adults"] == [
        ("adults", 40),
        ("adults", 40),
    ]
    code, _, err = cli("experiment", "cohorts", tiny.path, "adultz", "visit")
    assert code == 1 and "did you mean 'adults'" in err
