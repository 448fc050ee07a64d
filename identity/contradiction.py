"""Which records that share an e-mail or a phone say that they are two people.

One mailbox per family is common: records on one e-mail or phone whose given names clearly differ are two people,
until a unique identifier says otherwise. Names differ clearly when they are far apart in spelling (Jaro-Winkler),
neither begins with the other ("A.", "Alex" and "Alexander"), and given and family name are not swapped.
"""

from __future__ import annotations

import numpy as np

from consentry.identity.codes import Ints, ints
from consentry.identity.config import IdentityConfig, Rule
from consentry.model.names import quoted
from consentry.warehouse import Warehouse

# Two spellings of one name lie above this, most pairs of names below. Names that are alike are not held to be two
# people.
_ALIKE = 0.75
# A value on more records than this is looked at by protect, not pair by pair.
_MOST = 20
_NO_NAME = ["", "n/a", "na", "none", "null", "unknown", "test", "customer", "guest", "mr", "mrs", "ms", "dr", "info"]


def foes(warehouse: Warehouse, config: IdentityConfig, types: tuple[Rule, ...]) -> Ints:
    """Return pairs of customer records that share a weak value and contradict each other, one pair a line."""
    column = config.contradiction
    columns = warehouse.columns("clean.customer")
    weak = [t for t, rule in enumerate(types) if rule.kind in ("email", "phone") and not rule.unique]
    if not column or column not in columns or not weak:
        return np.empty((0, 2), dtype=np.int64)
    family = "family_name" if "family_name" in columns else column
    pairs = warehouse.sql(
        "WITH seat AS (SELECT v.v, r.r, r.record_id FROM identity.staged_identifier i"
        " JOIN identity.staged_value v ON v.type = i.type AND v.value = i.value"
        " JOIN identity.staged_record r ON r.record_id = i.record_id"
        " WHERE i.status = 'ok' AND r.customer AND list_contains($weak, v.t)"
        " QUALIFY count(*) OVER (PARTITION BY v.v) BETWEEN 2 AND $most),"
        f" named AS (SELECT s.v, s.r, {_letters(column)} AS given, {_letters(family)} AS family FROM seat s"
        " JOIN clean.customer c ON c.record_id = s.record_id)"
        " SELECT DISTINCT a.r AS one, b.r AS other FROM named a JOIN named b ON a.v = b.v AND a.r < b.r"
        " WHERE a.given <> b.given AND NOT list_contains($no_name, a.given) AND NOT list_contains($no_name, b.given)"
        " AND NOT starts_with(a.given, b.given) AND NOT starts_with(b.given, a.given)"
        " AND NOT (a.given = b.family AND b.given = a.family)"
        " AND jaro_winkler_similarity(a.given, b.given) < $alike ORDER BY 1, 2",
        weak=weak,
        most=_MOST,
        no_name=_NO_NAME,
        alike=_ALIKE,
    )
    return np.stack([ints(pairs["one"]), ints(pairs["other"])], axis=1)


def _letters(column: str) -> str:
    """Write the SQL of a name's letters: lower case, without accents and punctuation; at most 60."""
    text = f"lower(strip_accents(substr(c.{quoted(column)}::TEXT, 1, 60)))"
    return f"coalesce(trim(translate({text}, '.-''' || chr(8217), '')), '')"
