"""What rules need of the profile's tables, and whether it is there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from consentry.errors import StopRun
from consentry.segments import ast
from consentry.segments.ast import Type
from consentry.segments.catalog import Catalog
from consentry.warehouse import Warehouse


def value_type(catalog: Catalog, value: ast.Value) -> Type | None:
    """Return the type of a column of text; other types are all numbers here. None for a constant."""
    match value:
        case ast.Name(name):
            return catalog.attributes.get(name)
        case ast.Aggregate(function, event, prop) if prop is not None and function in ("first", "last"):
            return catalog.events[event][prop]
        case ast.Score():
            return catalog.score_type(value)
        case _:
            return None


def require(warehouse: Warehouse, table: str, columns: Sequence[str]) -> Collection[str]:
    """Return the columns of a table. Raises StopRun when the table or one of `columns` is not there."""
    found = warehouse.columns(table)
    missing = [column for column in columns if column not in found]
    if not found:
        raise StopRun(f"The table {table} is not there. Run the profile stage first.", code="profile_missing")
    if missing:
        message = f"The table {table} has no column {', '.join(missing)}. Build the profile with the same catalogue."
        raise StopRun(message, code="profile_missing")
    return found


def attributes_of(rules: Iterable[ast.Node]) -> set[str]:
    """Return the attributes that rules name; names inside `where` are properties."""
    found: set[str] = set()
    waiting = list(rules)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name):
            found.add(node.name)
        if not isinstance(node, ast.Aggregate | ast.Sequence):
            waiting.extend(ast.children(node))
    return found


def events_of(catalog: Catalog, rules: Iterable[ast.Node]) -> dict[str, Sequence[str]]:
    """Return the events that rules look at, each with its properties."""
    used: set[str] = set()
    for rule in rules:
        for node, _ in ast.walk(rule):
            if isinstance(node, ast.Aggregate):
                used.add(node.event)
            elif isinstance(node, ast.Sequence):
                used |= {node.first, node.then}
    return {event: list(catalog.events[event]) for event in sorted(used)}
