"""The golden record of a person for a purpose: cells only of records that may be linked for it.

A person can fall into parts for a stricter purpose (`identity.linked_for`). One of them stands for the person then: one
whose records may be linked for it, of those the one with the most customer records, then the lowest record id. The
records of the others are left out (`identity.left_out`), and what they say stands in no golden record for that purpose.

identity.linking_purpose  purpose: those that linking tells apart, `*` for all others
identity.left_out         purpose, person_id, record_id: records that do not count for a purpose
identity.golden_use       use, purposes: the purposes that a use of golden records serves together
identity.golden_for       _use, and the columns of identity.golden: of people of whom not all records count for a use
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import pyarrow as pa

from consentry.errors import StopRun
from consentry.identity.config import OTHER_PURPOSES, IdentityConfig
from consentry.identity.overrides import apply_overrides
from consentry.warehouse import Warehouse

GOLDEN = "identity.golden"
LEFT_OUT, STRICT = "identity.left_out", "identity.linking_purpose"
USE, FOR = "identity.golden_use", "identity.golden_for"
_STAGED = {table: table.replace(".", ".staged_") for table in (LEFT_OUT, STRICT, USE, FOR)}
_GONE, _ROWS = "identity.staged_golden_gone", "identity.staged_golden_row"
STAGED = (*_STAGED.values(), _GONE, _ROWS)
_USE_SCHEMA = pa.schema([("use", pa.int64()), ("purposes", pa.list_(pa.string()))])
# Of each person who falls into parts for a purpose the one that stands for the person.
_LEADING = (
    "SELECT l.person_id, l.part FROM identity.linked_for l JOIN identity.record r USING (record_id)"
    " WHERE l.purpose = $purpose GROUP BY l.person_id, l.part QUALIFY row_number() OVER (PARTITION BY l.person_id"
    " ORDER BY bool_and(r.source NOT IN (SELECT unnest($barred))) DESC,"
    " count(*) FILTER (WHERE r.customer) DESC, min(l.record_id)) = 1"
)


def stage_golden_for(
    warehouse: Warehouse,
    config: IdentityConfig,
    fields: Sequence[str],
    *,
    uses: Iterable[Iterable[str]],
    ranked: str,
    best: str,
) -> dict[str, str]:
    """Stage what golden records are for each use that some record may not be linked for; return what to publish.

    uses: the purposes that each use serves together; a record counts if it does for all of them. ranked: the records
    with their ranks. best: the SQL that chooses the values among the records of a person. Reads the staged golden
    records for their columns.
    """
    strict = config.linking.places()
    listed = [list(use) for use in sorted({tuple(sorted(_among(strict, use))) for use in uses}) if use]
    names = pa.table({"purpose": pa.array(strict, pa.string())})
    warehouse.write(_STAGED[STRICT], names.to_batches(), schema=names.schema)
    rows = [{"use": number, "purposes": purposes} for number, purposes in enumerate(listed)]
    warehouse.write(_STAGED[USE], [pa.RecordBatch.from_pylist(rows, _USE_SCHEMA)], schema=_USE_SCHEMA)
    _stage_left_out(warehouse, config)
    warehouse.sql(f"CREATE TABLE {_STAGED[FOR]} AS SELECT 0::BIGINT AS _use, * FROM identity.staged_golden LIMIT 0")
    for number, purposes in enumerate(listed if fields else ()):
        _stage_rows(warehouse, purposes, ranked, best)
        apply_overrides(warehouse, fields, golden=_ROWS, left_out=_GONE)
        warehouse.sql(f"INSERT INTO {_STAGED[FOR]} SELECT $use, * FROM {_ROWS}", use=number)
    return _STAGED


def _stage_left_out(warehouse: Warehouse, config: IdentityConfig) -> None:
    staged = _STAGED[LEFT_OUT]
    warehouse.sql(f"CREATE TABLE {staged} AS SELECT purpose, person_id, record_id FROM identity.linked_for LIMIT 0")
    for name in config.linking.places():
        barred = [source for source, purposes in config.linking.purposes.items() if name not in purposes]
        warehouse.sql(
            f"INSERT INTO {staged} SELECT l.purpose, l.person_id, l.record_id FROM identity.linked_for l"
            f" JOIN ({_LEADING}) best USING (person_id) WHERE l.purpose = $purpose AND l.part <> best.part",
            purpose=name,
            barred=barred or [""],
        )


def _stage_rows(warehouse: Warehouse, purposes: Sequence[str], ranked: str, best: str) -> None:
    warehouse.sql(
        f"CREATE OR REPLACE TABLE {_GONE} AS SELECT DISTINCT person_id, record_id FROM {_STAGED[LEFT_OUT]}"
        " WHERE purpose IN (SELECT unnest($purposes))",
        purposes=list(purposes),
    )
    warehouse.sql(
        f"CREATE OR REPLACE TABLE {_ROWS} AS SELECT p.person_id, g.* EXCLUDE (person_id)"
        f" FROM (SELECT DISTINCT person_id FROM {_GONE}) p LEFT JOIN (SELECT r.person_id, {best} FROM {ranked} r"
        f" ANTI JOIN {_GONE} gone ON gone.record_id = r.record_id GROUP BY r.person_id) g ON g.person_id = p.person_id"
    )


def golden_rows(warehouse: Warehouse, purposes: Iterable[str]) -> str:
    """Return the relation of golden records for a use that serves these purposes, to stand in SQL in place of a table.

    A person of whom not all records count has no value there that an enrichment added.
    Raises StopRun when the last run did not foresee such a use.
    """
    wanted = _told_apart(warehouse, purposes)
    found = warehouse.sql(f"SELECT DISTINCT purpose FROM {LEFT_OUT}")["purpose"].to_pylist() if wanted else []
    if not wanted & set(found):
        return GOLDEN
    rows = warehouse.sql(f"SELECT use, purposes FROM {USE}").to_pylist()
    use = next((row["use"] for row in rows if set(row["purposes"]) == wanted), None)
    if use is None:
        told = ", ".join(sorted(purposes))
        raise StopRun(f"There are no golden records for the purposes {told} yet. Run the job.", code="no_golden_for")
    return (
        f"(SELECT g.* FROM {GOLDEN} g ANTI JOIN {FOR} f ON f.person_id = g.person_id AND f._use = {use}"
        f" UNION ALL BY NAME SELECT * EXCLUDE (_use) FROM {FOR} WHERE _use = {use})"
    )


def left_out(warehouse: Warehouse, purposes: Iterable[str]) -> tuple[str, dict[str, list[str]]]:
    """Return the query of the records that do not count for any of these purposes, and its parameter."""
    query = f"SELECT record_id FROM {LEFT_OUT} WHERE purpose IN (SELECT unnest($left_out))"
    return query, {"left_out": sorted(_told_apart(warehouse, purposes)) or [""]}


def told_apart(warehouse: Warehouse) -> frozenset[str]:
    """Return the purposes that linking told apart when golden records were made last; none where it tells none."""
    if not warehouse.has(STRICT):
        return frozenset()
    return frozenset(warehouse.sql(f"SELECT purpose FROM {STRICT}")["purpose"].to_pylist())


def same_view(told: Collection[str], purposes: Iterable[str], others: Iterable[str]) -> bool:
    """Tell whether two uses see the same golden records whatever the data says. told: as `told_apart` returns them."""
    return _among(told, purposes) == _among(told, others)


def _told_apart(warehouse: Warehouse, purposes: Iterable[str]) -> set[str]:
    return _among(told_apart(warehouse), purposes)


def _among(names: Collection[str], purposes: Iterable[str]) -> set[str]:
    """Return these purposes as linking tells them apart: nothing where no source is bound to any."""
    return {name if name in names else OTHER_PURPOSES for name in purposes} if names else set()
