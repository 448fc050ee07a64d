"""How the warehouse holds the ids of people: as 16-byte numbers, which join several times faster than 36 letters.

Outside the warehouse an id is text. Arrow hands it out as text, and text is taken where an id is bound or written.
"""

from __future__ import annotations

from consentry.model.names import quoted, quoted_table
from consentry.warehouse.protocol import Warehouse

# The type of every column that names a person, or the content sent of one.
PERSON = "UUID"


def make_table(warehouse: Warehouse, table: str, columns: str) -> None:
    """Make a table where it is not there yet; ids that an earlier version kept as text are turned into numbers.

    columns: as in SQL, `name TYPE, name TYPE`.
    """
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {quoted_table(table)} ({columns})")
    found = warehouse.columns(table)
    for name, kind in (column.split(" ") for column in columns.split(", ")):
        if kind == PERSON and found[name] == "VARCHAR":
            warehouse.sql(f"ALTER TABLE {quoted_table(table)} ALTER {quoted(name)} TYPE {PERSON}")
