"""What tests of identity share: an empty warehouse, and what stewards decide, kept in a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from consentry.identity.decisions import Decisions
from consentry.store import Store
from consentry.warehouse import DuckDBWarehouse


@pytest.fixture
def warehouse() -> Iterator[DuckDBWarehouse]:
    with closing(DuckDBWarehouse(threads=2)) as warehouse:
        yield warehouse


@pytest.fixture
def decisions(tmp_path: Path) -> Iterator[Decisions]:
    with closing(Store.in_file(tmp_path / "control.db")) as store:
        yield Decisions(store, [bytes(range(32))])
