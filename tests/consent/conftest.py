"""Fixtures of the consent tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from consent_town import Town, towns


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """An empty town."""
    yield from towns(tmp_path)
