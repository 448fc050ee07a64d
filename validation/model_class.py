"""Read a Pandera `DataFrameModel` of an installed package as if it were a contract file."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from decimal import Decimal
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl
from pandera.polars import Check, DataFrameModel

from consentry.config import Document, Faults
from consentry.validation.checks import KNOWN as KNOWN_CHECKS

# Under this key of a field's or the class's metadata stand consentry's own keys.
METADATA_KEY = "consentry"


def document_of(text: str, faults: Faults) -> tuple[Document | None, dict[str, list[Check]]]:
    """Return the class as a document, and its checks by column; "" holds those of the whole row.

    text: "module:Class". A module that no installed distribution brings is refused.
    """
    module, _, name = text.partition(":")
    path = Path(text)
    if module.split(".")[0] not in packages_distributions():
        sentence = f"The module {module!r} belongs to no installed package. Install the package that holds it."
        faults.add(path, 0, sentence)
        return None, {}
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        faults.add(path, 0, f"The module {module!r} cannot be imported ({type(error).__name__}).")
        return None, {}
    if not (isinstance(found, type) and issubclass(found, DataFrameModel)):
        faults.add(path, 0, f"{name} in {module} is no pandera.polars.DataFrameModel.")
        return None, {}
    return _document(path, found.to_schema())


def _document(path: Path, schema: pa.DataFrameSchema) -> tuple[Document, dict[str, list[Check]]]:
    own = _own(schema.metadata)
    # Unique columns are a list, one name, or None.
    unique = [schema.unique] if isinstance(schema.unique, str) else schema.unique
    columns = {name: _column(column) for name, column in schema.columns.items()}
    # Each check that has a name stands in the document like in a file; the others are code.
    named = {name: _named(column.checks or ()) for name, column in schema.columns.items()}
    columns = {name: {**column, "checks": _written(named[name])} for name, column in columns.items()}
    data = {"name": schema.name, "unique": unique, "strict": schema.strict, "columns": columns, **own}
    checks: dict[str, list[Check]] = {
        name: [check for check in column.checks or () if check not in named[name]]
        for name, column in schema.columns.items()
    }
    checks[""] = list(schema.checks or ())
    checks = {name: made for name, made in checks.items() if made}
    return Document(path, data, {(): 1}), checks


def _column(column: pa.Column) -> dict[str, Any]:
    kept = {"nullable": column.nullable, "unique": column.unique, "required": column.required}
    return {"dtype": _spelled(column.dtype), "description": column.description, **kept, **_own(column.metadata)}


def _spelled(dtype: Any) -> str:
    inner = getattr(dtype, "type", None)
    instant = isinstance(inner, pl.Datetime) and inner.time_zone == "UTC"
    return "Datetime" if instant else str(inner).lower().replace("decimal(precision=", "Decimal(").replace("scale=", "")


def _own(metadata: dict[str, Any] | None) -> dict[str, Any]:
    return dict((metadata or {}).get(METADATA_KEY, {}))


def _named(checks: Sequence[Check]) -> list[Check]:
    """Return the checks that a contract file could say too: known by name, no options, each name once."""
    found: dict[str, Check] = {}
    for check in checks:
        known = check.name in KNOWN_CHECKS and check.statistics and check.ignore_na
        if known and check.error in (None, _usual(check)) and check.name not in found:
            found[str(check.name)] = check
    return list(found.values())


def _usual(check: Check) -> str | None:
    made = getattr(Check, str(check.name))(**(check.statistics or {}))
    return None if made.error is None else str(made.error)


def _written(checks: Sequence[Check]) -> dict[str, Any]:
    return {str(check.name): {key: _value(it) for key, it in (check.statistics or {}).items()} for check in checks}


def _value(it: Any) -> Any:
    if isinstance(it, list | tuple | set | frozenset):
        return [_value(item) for item in it]
    if isinstance(it, Decimal):
        return float(it)
    return it.isoformat() if hasattr(it, "isoformat") else it
