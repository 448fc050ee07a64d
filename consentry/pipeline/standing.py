"""Records that are gone at their source: which clean rows no longer count, and who stands for merged ones.

A source tells that a record is gone with a row that has its key and `_deleted` = true (a tombstone); when the
record was merged into another, `_merged_into` holds the key of that one. Tombstones stay in `raw`: no contract
judges them. A record that comes back later, with a row behind its tombstone, lives again. Where a source marks
its own rows instead (HubSpot's `archived`, Salesforce's `IsDeleted`), the stream names that column as `deleted`:
a flag, or the time of deletion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consentry.model.names import quoted
from consentry.warehouse import Warehouse

# The longest chain of merges that is followed; a longer one is a circle.
_CHAIN = 50


@dataclass(frozen=True, slots=True)
class Standing:
    """The rows of a clean table that count, and the merged ones, as SQL in place of a table.

    merged: rows of records that were merged away, with `_stands_for_it`, the key of the record that took their
    place; None when the stream knows no merges.
    """

    living: str
    merged: str | None = None


def standing(warehouse: Warehouse, stream: str, *, key: Sequence[str], deleted: str | None) -> Standing:
    """Return what counts of a stream (`source__stream`); the table itself when nothing can be gone."""
    clean, columns = f"clean.{quoted(stream)}", warehouse.columns(f"raw.{stream}")
    marked = _unmarked(deleted) if deleted else "true"
    if "_deleted" not in columns:
        return Standing(f"(SELECT * FROM {clean} WHERE {marked})" if deleted else clean)
    tombstones = _tombstones(stream, key, merges="_merged_into" in columns)
    same = " AND ".join(f"CAST(held.{quoted(name)} AS TEXT) = gone.{quoted(name)}" for name in key)
    behind = f"FROM {tombstones} AS gone WHERE {same} AND gone.rid > held._rid"
    living = f"(SELECT * FROM {clean} AS held WHERE {marked} AND NOT EXISTS (SELECT 1 {behind}))"
    if "_merged_into" not in columns or len(key) != 1:
        return Standing(living)
    return Standing(living, _merged(clean, tombstones, living, key[0]))


def _unmarked(deleted: str) -> str:
    """The condition that a flag is not set; a time of deletion sets it as well."""
    text = f"CAST({quoted(deleted)} AS TEXT)"
    return f"(nullif({text}, '') IS NULL OR coalesce(NOT TRY_CAST({text} AS BOOLEAN), false))"


def _tombstones(stream: str, key: Sequence[str], *, merges: bool) -> str:
    """Return each key's last tombstone: its row number, and the key it was merged into."""
    keys = ", ".join(f"CAST({quoted(name)} AS TEXT) AS {quoted(name)}" for name in key)
    into = "CAST(_merged_into AS TEXT)" if merges else "CAST(NULL AS TEXT)"
    groups = ", ".join(str(place) for place in range(1, len(key) + 1))
    return (
        f"(SELECT {keys}, max(_rid) AS rid, arg_max({into}, _rid) AS into_key FROM raw.{quoted(stream)}"
        f" WHERE TRY_CAST(_deleted AS BOOLEAN) GROUP BY {groups})"
    )


def _merged(clean: str, tombstones: str, living: str, key: str) -> str:
    """Return the rows of merged records, each with the living record at the end of its chain."""
    name = quoted(key)
    chain = (
        f"WITH RECURSIVE chain(first, last, steps) AS ("
        f"SELECT {name}, into_key, 1 FROM {tombstones} AS one WHERE into_key IS NOT NULL UNION ALL "
        f"SELECT chain.first, two.into_key, chain.steps + 1 FROM chain JOIN {tombstones} AS two"
        f" ON two.{name} = chain.last WHERE two.into_key IS NOT NULL AND chain.steps < {_CHAIN})"
    )
    return (
        f"({chain} SELECT held.*, chain.last AS _stands_for_it FROM {clean} AS held"
        f" JOIN chain ON chain.first = CAST(held.{name} AS TEXT)"
        f" WHERE chain.last IN (SELECT CAST({name} AS TEXT) FROM {living} AS alive)"
        f" AND CAST(held.{name} AS TEXT) NOT IN (SELECT CAST({name} AS TEXT) FROM {living} AS alive))"
    )
