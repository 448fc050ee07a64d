"""Give every identifier its canonical form, or a reason why it has none.

Works on distinct values in Arrow batches: a mailbox on a million records is looked at once.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions at import, where no checker sees them.

from __future__ import annotations

from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from consentry.identity.config import IdentityConfig, Rule
from consentry.identity.email import canonical_emails
from consentry.identity.junk import junk_email, placeholder, repeated
from consentry.identity.phone import canonical_phones
from consentry.warehouse import Warehouse

SCHEMA = pa.schema(
    [
        ("type", pa.string()),
        ("value", pa.string()),
        ("region", pa.string()),
        ("canonical", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)
MAX_LENGTH = 512
_TEXT = pa.string()
# Format characters (zero width, bidi marks, soft hyphen, byte order mark) and variation selectors show nothing.
_INVISIBLE = r"[\p{Cf}\x{FE00}-\x{FE0F}\x{034F}\x{115F}\x{1160}\x{3164}]"


def normalise(warehouse: Warehouse, config: IdentityConfig, *, into: str, known: str | None = None) -> int:
    """Write the canonical form of every distinct identifier of clean.link to a table; return its rows.

    known: such a table of an earlier run with the same settings, whose values are not judged again.
    The table: type, value (as it came), region ('' for none), canonical (null unless ok), status ok, blocked or
    invalid, and the reason code of the latter two.
    """
    query = "SELECT DISTINCT type, value, coalesce(region, '') AS region FROM clean.link WHERE trim(value) <> ''"
    if known is None:
        return warehouse.map_batches(query, partial(canonical_batch, config), into=into, schema=SCHEMA)
    fresh = f"SELECT * FROM ({query}) l ANTI JOIN {known} k USING (type, value, region)"
    warehouse.map_batches(fresh, partial(canonical_batch, config), into=into, schema=SCHEMA)
    listed = ", ".join(f"k.{name}" for name in SCHEMA.names)
    warehouse.sql(
        f"INSERT INTO {into} SELECT {listed} FROM {known} k SEMI JOIN ({query}) l USING (type, value, region)"
    )
    return warehouse.count(into)


def canonical_batch(config: IdentityConfig, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Judge one batch of type, value, region; the rows come back grouped by type."""
    table = pa.table(batch.to_pydict(), schema=pa.schema([(name, _TEXT) for name in ("type", "value", "region")]))
    parts = [
        _judge(config.rule(type_), table.filter(pc.equal(table["type"], type_)).combine_chunks())
        for type_ in sorted(pc.unique(table["type"]).to_pylist())
    ]
    whole = pa.concat_tables(parts, promote_options="default") if parts else SCHEMA.empty_table()
    return whole.combine_chunks().to_batches()[0] if whole.num_rows else pa.RecordBatch.from_pylist([], SCHEMA)


def _judge(rule: Rule, table: pa.Table) -> pa.Table:
    raw, region = _flat(table["value"]), _flat(table["region"])
    shown = pc.if_else(pc.greater(pc.utf8_length(raw), MAX_LENGTH), "", raw)
    folded = fold(shown)
    lower = pc.utf8_normalize(pc.utf8_lower(folded), form="NFKC")
    canonical, status, reason = _canonical(rule, folded, lower, region)
    canonical, status, reason = _blocked(
        (canonical, status, reason), _matches(rule.blocked, folded, canonical), "blocked_pattern"
    )
    canonical, status, reason = _blocked((canonical, status, reason), placeholder(lower), "placeholder")
    too_long = pc.greater(pc.utf8_length(raw), MAX_LENGTH)
    columns = [
        table["type"],
        raw,
        region,
        pc.if_else(too_long, None, canonical),
        pc.if_else(too_long, "invalid", status),
        pc.if_else(too_long, "too_long", reason),
    ]
    return pa.Table.from_arrays(
        [pa.chunked_array([c]) if isinstance(c, pa.Array) else c for c in columns], schema=SCHEMA
    )


def fold(values: pa.Array) -> pa.Array:
    """Fold compatible characters together (NFKC), drop the invisible ones, and trim."""
    visible = pc.replace_substring_regex(pc.utf8_normalize(values, form="NFKC"), _INVISIBLE, "")
    return pc.utf8_trim_whitespace(pc.utf8_normalize(visible, form="NFKC"))


def _canonical(rule: Rule, folded: pa.Array, lower: pa.Array, region: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    if rule.kind == "phone":
        return canonical_phones(folded, pc.if_else(pc.equal(region, ""), None, region))
    if rule.kind == "email":
        return _judged_emails(lower)
    control = pc.match_substring_regex(folded, r"\p{Cc}")
    ok = pc.if_else(control, "invalid", "ok"), pc.if_else(control, "control_character", pa.scalar(None, _TEXT))
    judged = (pc.if_else(control, None, folded), *ok)
    return _blocked(judged, repeated(lower), "repeated_digits") if rule.kind == "cookie" else judged


def _judged_emails(lower: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    canonical, reason = canonical_emails(lower)
    status = pc.if_else(pc.is_null(canonical), "invalid", "ok")
    return _blocked((canonical, status, reason), junk_email(lower), "placeholder")


def _blocked(
    judged: tuple[pa.Array, pa.Array, pa.Array], mask: pa.Array, reason: str
) -> tuple[pa.Array, pa.Array, pa.Array]:
    canonical, status, reasons = judged
    mask = pc.fill_null(mask, False)
    return pc.if_else(mask, None, canonical), pc.if_else(mask, "blocked", status), pc.if_else(mask, reason, reasons)


def _matches(patterns: tuple[str, ...], *spellings: pa.Array) -> pa.Array:
    found: pa.Array = pa.array([False] * len(spellings[0]))
    for pattern in patterns:
        for spelling in spellings:
            # RE2, behind pyarrow, is linear in the length of the value: no pattern can be made to hang.
            found = pc.or_(found, pc.fill_null(pc.match_substring_regex(spelling, pattern), False))
    return found


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
