"""Number the people densely and for good: what bits, bitmaps and sorted events are built on.

A number is never given twice. Somebody who leaves the profile keeps theirs, so that what was noted about them can
still be read and bitmaps of earlier runs stay right.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from consentry.errors import StopRun
from consentry.segments.bits import Bits
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON, make_table

ORDINALS = "segment.person_ordinal"
PERSONS = "profile.person"
# The column by which event tables that were written with numbers carry them; no attribute can be called so.
NUMBER = "_ordinal"
# The same for the place of a person among some who were chosen.
PLACE = "_place"


def make_ordinals(warehouse: Warehouse) -> None:
    """Make the table of numbers where it is not there yet; its ids are held as the profile's are."""
    make_table(
        warehouse, ORDINALS, f"person_id {warehouse.columns(PERSONS).get('person_id', PERSON)}, ordinal UINTEGER"
    )


def number_people(warehouse: Warehouse) -> None:
    """Give everyone in profile.person who has none the next free numbers, from 0."""
    make_ordinals(warehouse)
    warehouse.sql(
        f"INSERT INTO {ORDINALS} SELECT n.person_id, row_number() OVER (ORDER BY n.person_id) - 1"
        f" + (SELECT coalesce(max(ordinal) + 1, 0) FROM {ORDINALS})"
        f" FROM (SELECT DISTINCT person_id FROM {PERSONS}) AS n"
        f" ANTI JOIN {ORDINALS} AS o ON o.person_id = n.person_id"
    )


def everyone(warehouse: Warehouse, *, numbered: bool = False) -> Bits:
    """Return who is in profile.person now, out of all numbers that were given.

    numbered: profile.person carries the numbers itself.
    Raises StopRun when a person stands in the profile twice.
    """
    size = int(warehouse.sql(f"SELECT coalesce(max(ordinal) + 1, 0) AS n FROM {ORDINALS}")["n"][0].as_py())
    mask = np.zeros(size, dtype=np.bool_)
    rows = 0
    joined = f"SELECT o.ordinal FROM {PERSONS} AS p JOIN {ORDINALS} AS o USING (person_id)"
    for batch in warehouse.stream(f"SELECT {NUMBER} FROM {PERSONS}" if numbered else joined):
        mask[batch.column(0).to_numpy(zero_copy_only=False)] = True
        rows += batch.num_rows
    found = Bits.of(mask)
    if rows != len(found):
        message = f"{PERSONS} has {rows:,} rows for {len(found):,} persons. Rebuild the profile."
        raise StopRun(message, code="profile_not_unique")
    return found


def number_profile(warehouse: Warehouse) -> None:
    """Number everyone, and write profile.person anew with the numbers in it and sorted by them."""
    number_people(warehouse)
    staged = f"{PERSONS}_numbered"
    warehouse.sql(
        f"CREATE OR REPLACE TABLE {staged} AS SELECT p.*, o.ordinal AS {NUMBER} FROM {PERSONS} AS p"
        f" JOIN {ORDINALS} AS o ON o.person_id = p.person_id ORDER BY o.ordinal"
    )
    warehouse.publish({PERSONS: staged})


def ordinals_named(warehouse: Warehouse, ordinals: Collection[int]) -> frozenset[str]:
    """Return the person ids of ordinals."""
    if not ordinals:
        return frozenset()
    query = f"SELECT person_id FROM {ORDINALS} WHERE ordinal IN (SELECT unnest($ordinals))"
    return frozenset(warehouse.sql(query, ordinals=list(ordinals))["person_id"].to_pylist())
