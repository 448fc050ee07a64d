"""docs/segments.md: what it shows can be run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from consentry.config import Faults, Model
from consentry.segments.catalog import Catalog
from consentry.segments.check import check
from consentry.segments.files import GroupBlock, GroupPlace, HoldoutBlock, Segment, SegmentBlock
from consentry.segments.limits import Limits
from consentry.segments.parse import parse
from consentry.segments.score_files import PointsBlock, RfmBlock, ScoreBlock, WeightBlock, read_scores
from consentry.segments.sensitive import TRAITS

PAGE = Path(__file__).parents[2].joinpath("docs", "segments.md").read_text("utf-8")
RULES = re.findall(
    r"^\| [^|]+ \| `([^`]+)` \|$", PAGE.split("## Rules to start from")[1].split("## Segment files")[0], re.M
)
FILES = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S) if block.startswith(("segment", "group"))]
(SCORES,) = (block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S) if block.startswith("rfm:"))


def test_the_page_has_rules_and_files() -> None:
    assert len(RULES) == 10
    assert len(FILES) == 2


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_of_the_page_fits_the_catalogue_and_stands_in_a_hand_checked_test(
    rule: str, catalog: Catalog
) -> None:
    assert check(parse(rule), catalog) == []
    tested = Path(__file__).with_name("test_seed_examples.py").read_text("utf-8")
    joined = re.sub(r'"\s*\n\s*"', "", tested)
    assert rule in joined


@pytest.mark.parametrize("text", FILES)
def test_each_file_of_the_page_is_read_without_fault(text: str, write: Callable[[str], tuple[Segment, ...]]) -> None:
    assert write(text)


def test_the_scores_of_the_page_are_read_without_fault(tmp_path: Path, catalog: Catalog) -> None:
    path = tmp_path / "scores.yaml"
    path.write_text(SCORES, encoding="utf-8")
    events = {**catalog.events, "purchase": {**catalog.events["purchase"], "invoice": "text"}}
    faults = Faults()
    found = read_scores(path, replace(catalog, events=events), faults)
    faults.check()
    assert set(found.score_names()) == {
        *("rfm.r", "rfm.f", "rfm.m", "rfm.segment"),
        *("score.engagement", "score.points", "band.engagement"),
    }


@pytest.mark.parametrize(
    "model",
    [Limits, ScoreBlock, WeightBlock, PointsBlock, RfmBlock, SegmentBlock, GroupBlock, GroupPlace, HoldoutBlock],
)
def test_each_key_of_a_segment_file_is_documented(model: type[Model]) -> None:
    assert [key for key in model.model_fields if not re.search(rf"\b{key}\b", PAGE)] == []


@pytest.mark.parametrize("trait", TRAITS)
def test_the_page_lists_the_words_that_tell_of_a_trait(trait: str) -> None:
    words = ", ".join(f"`{word}`" for word in TRAITS[trait])
    assert f"| {trait} | {words} |" in PAGE
