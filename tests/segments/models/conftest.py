"""A shop of made-up customers whose habits are known, to learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from consentry.config import Faults
from consentry.segments.catalog import Catalog
from consentry.segments.models.definition import Definition
from consentry.segments.models.files import read_models
from consentry.segments.person import Event, Person
from consentry.warehouse import DuckDBWarehouse
from tests.segments.conftest import fill

NOW = datetime(2026, 6, 30, tzinfo=UTC)
SHOP = Catalog(
    attributes={"country": "text", "tier": "text", "born": "date", "seen": "timestamp", "visits": "integer"},
    events={"order": {"amount": "number", "gift": "boolean"}, "view": {"page": "text"}},
)
CHURN = """\
models:
  - model: churn
    description: Will not order within 60 days
    purpose: profiling
    kind: classify
    features:
      orders: count(order, last 120 days)
      spent: sum(order.amount)
      since: last(order)
      views: count(view, last 60 days)
      country: country
    stable: [country]
    target: {rule: count(order) == 0, within: 60 days}
    classify: {folds: 3, algorithms: [logistic]}
"""
Read = Callable[..., tuple[Definition, ...]]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Threads of small problems wait for each other more than they work."""
    with threadpool_limits(1):
        yield


def read_text(text: str, folder: Path, catalog: Catalog = SHOP) -> tuple[Definition, ...]:
    """Read models from the text of a file; raises ConfigError with every fault."""
    path = folder / "models.yaml"
    path.write_text(text, encoding="utf-8")
    faults = Faults()
    found = read_models(path, catalog, faults, purposes=["profiling", "ads"])
    faults.check()
    return found


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return lambda text, catalog=SHOP: read_text(text, tmp_path, catalog)


def customers(count: int, *, seed: int = 1, now: datetime = NOW) -> dict[str, Person]:
    """Return customers: a third order every two weeks, a third every two months, a third has stopped ordering."""
    rng = np.random.default_rng(seed)
    found: dict[str, Person] = {}
    for n in range(count):
        kind = n % 3
        gap, amount = ((14, 80.0), (60, 30.0), (20, 50.0))[kind]
        stopped = 100 if kind == 2 else 0
        days = np.cumsum(rng.exponential(gap, size=25)) + stopped
        orders = [
            Event("order", now - timedelta(days=float(day)), {"amount": round(float(rng.gamma(4, amount / 4)), 2)})
            for day in days
            if day < 330
        ]
        views = [
            Event("view", now - timedelta(days=float(rng.uniform(stopped, 330))), {"page": "home"})
            for _ in range(rng.poisson(12 if kind == 0 else 4))
        ]
        country = ("DE", "AT", "CH")[int(rng.integers(3))]
        attributes = {"country": country, "tier": "gold" if kind == 0 else "none", "visits": int(rng.integers(9))}
        found[f"p{n:04d}"] = Person(attributes, [*orders, *views])
    return found


@pytest.fixture(scope="session")
def shop() -> DuckDBWarehouse:
    """A warehouse with 600 customers; tests that change it make their own."""
    warehouse = DuckDBWarehouse(threads=1)
    fill(warehouse, SHOP, customers(600))
    return warehouse
