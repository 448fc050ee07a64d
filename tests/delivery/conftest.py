"""Make the world of the delivery tests importable, and give each test one of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from delivery_world import World

from consentry.warehouse import DuckDBWarehouse


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a world with nobody in it."""
    world = World(tmp_path, warehouse=DuckDBWarehouse(threads=1))
    yield world
    world.close()
