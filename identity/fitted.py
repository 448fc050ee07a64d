"""The model of likeness as the last run fitted it, kept for those who explain, review and report."""

from __future__ import annotations

import json

from consentry.identity.model import Model, read_settings
from consentry.warehouse import Warehouse

TABLE = "identity.similar_model"


def keep_fitted(warehouse: Warehouse, model: Model) -> None:
    """Write the model in place of the one before: shares and SQL of columns, never a value."""
    warehouse.sql(
        f"CREATE OR REPLACE TABLE {TABLE} AS SELECT $version AS version, $settings AS settings",
        version=model.version,
        settings=json.dumps(model.settings(), sort_keys=True),
    )


def fitted(warehouse: Warehouse) -> Model | None:
    """Return the model of the last run; None where nothing was compared."""
    rows = warehouse.sql(f"SELECT version, settings FROM {TABLE}").to_pylist() if warehouse.has(TABLE) else []
    return read_settings(json.loads(rows[0]["settings"]), version=rows[0]["version"]) if rows else None
