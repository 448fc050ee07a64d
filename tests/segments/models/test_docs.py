"""docs/models.md: what it shows can be read, and every key that a model may have is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consentry.config import Model
from consentry.segments.models.definition import Classify, Cluster, Clv, Prune, Schedule
from consentry.segments.models.files import ModelBlock, TargetBlock
from tests.segments.models.conftest import Read

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "models.md").read_text("utf-8")


def test_the_models_of_the_page_are_read_without_fault(read: Read) -> None:
    (text,) = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S) if block.startswith("models:")]
    assert [(model.name, model.kind) for model in read(text)] == [
        ("churn", "classify"),
        ("habits", "cluster"),
        ("worth", "clv"),
    ]


@pytest.mark.parametrize("model", [ModelBlock, TargetBlock, Classify, Cluster, Clv, Prune, Schedule])
def test_each_key_of_a_model_is_documented(model: type[Model]) -> None:
    assert [key for key in model.model_fields if not re.search(rf"`[^`]*\b{key}\b[^`]*`", PAGE)] == []
