"""docs/capabilities.md and docs/compliance.md: every test that they name is there, and every promise names one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "capabilities.md").read_text("utf-8")
TESTS = {
    name
    for path in (ROOT / "tests").rglob("*.py")
    for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text("utf-8"), re.M)
}
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| capability |")
]


def named(text: str) -> list[str]:
    """Return the names of tests in backticks; one that ends in an ellipsis stands for all that begin so."""
    return re.findall(r"`(test_\w+…?)`", text)


def is_there(name: str) -> bool:
    return any(test.startswith(name[:-1]) for test in TESTS) if name.endswith("…") else name in TESTS


def unknown(names: list[str]) -> list[str]:
    return [name for name in names if not is_there(name)]


@pytest.mark.parametrize("page", ["capabilities.md", "compliance.md"])
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    names = named((ROOT / "docs" / page).read_text("utf-8"))
    assert len(names) > 70
    assert unknown(names) == []


def test_a_name_that_is_not_there_is_found() -> None:
    lacking = ["test_no_such_promise", "test_no_such_…"]
    assert unknown([*lacking, "test_t27_…", "test_a_name_that_is_not_there_is_found"]) == lacking


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_capability_has_a_test_named_after_it_or_says_that_it_is_not_built(row: list[str]) -> None:
    name, promise, _, proofs = row
    words = re.sub(r"[^a-z0-9]+", "_", re.split(r",|→| and ", name.lower())[0]).strip("_")
    assert any(words in test for test in named(proofs)) or "*Not built*" in promise


def test_every_capability_stands_on_the_page_once() -> None:
    names = [row[0] for row in ROWS]
    assert len(names) == len(set(names)) == 72
