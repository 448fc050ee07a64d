"""docs/experiments.md: what it shows can be read, and every key is explained."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from consentry.config import Faults, Model
from consentry.segments.experiments.definition import with_arms
from consentry.segments.experiments.files import ExperimentBlock, KpiBlock, read_experiments, read_kpis
from consentry.segments.files import read_segments
from tests.segments.conftest import CATALOG

PAGE = Path(__file__).parents[3].joinpath("docs", "experiments.md").read_text("utf-8")


def test_the_files_of_the_page_are_read_without_fault(tmp_path: Path) -> None:
    experiments, segment = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    (tmp_path / "experiments.yaml").write_text(experiments)
    others = "\n".join(
        f"  - {{segment: {name}, description: d, purpose: p, rule: age > 3}}" for name in ("at_risk", "loyal")
    )
    (tmp_path / "segments.yaml").write_text("segments:\n" + others)
    (tmp_path / "voucher.yaml").write_text(segment)
    catalog = replace(CATALOG, events={**CATALOG.events, "order": {"amount": "number"}})
    faults = Faults()
    found = read_experiments(tmp_path, catalog, faults)
    assert [experiment.name for experiment in found] == ["reach", "subject_line", "winback_offer"]
    assert [kpi.name for kpi in read_kpis(tmp_path, catalog, faults)] == ["orders"]
    read_segments(tmp_path, with_arms(catalog, found), faults)
    faults.check()


@pytest.mark.parametrize("model", [ExperimentBlock, KpiBlock])
def test_each_key_is_documented(model: type[Model]) -> None:
    assert [key for key in model.model_fields if not re.search(rf"`[^`]*\b{key}\b[^`]*`", PAGE)] == []
