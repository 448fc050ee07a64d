"""A warehouse, contracts written out in the test, and raw rows as landing leaves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from consentry.config import Faults
from consentry.validation.contract import Contract, read_contract
from consentry.warehouse import DuckDBWarehouse

Land = Callable[..., None]


@pytest.fixture
def warehouse() -> Iterator[DuckDBWarehouse]:
    found = DuckDBWarehouse()
    yield found
    found.close()


@pytest.fixture
def contract(tmp_path: Path) -> Callable[[str], Contract]:
    return lambda text: written(tmp_path, text)


def written(folder: Path, text: str) -> Contract:
    path = folder / "contract.yaml"
    path.write_text(text)
    faults = Faults()
    found = read_contract(path, faults)
    faults.check()
    assert found is not None
    return found


@pytest.fixture
def faults_of(tmp_path: Path) -> Callable[[str], list[str]]:
    def of(text: str) -> list[str]:
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        faults = Faults()
        assert read_contract(path, faults) is None
        return faults.found

    return of


@pytest.fixture
def land(warehouse: DuckDBWarehouse) -> Land:
    def rows(data: dict[str, Sequence[Any]] | pl.DataFrame, *, first: int = 1, replace: bool = False) -> None:
        frame = data if isinstance(data, pl.DataFrame) else pl.DataFrame(data)
        table = frame.with_columns(_rid=pl.int_range(first, first + frame.height, dtype=pl.Int64)).to_arrow()
        mode = "replace" if replace else "append"
        warehouse.write("raw.crm__people", table.to_batches(), schema=table.schema, mode=mode)

    return rows
