"""The warehouse: analytics in SQL and Arrow batches, whichever engine stands behind it."""

from consentry.warehouse.duck import DuckDBWarehouse
from consentry.warehouse.protocol import ZONES, Warehouse

__all__ = ["ZONES", "DuckDBWarehouse", "Warehouse"]
