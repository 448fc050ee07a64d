"""Find rows that are there twice, in SQL: a batch never sees the whole table."""

from __future__ import annotations

from collections.abc import Sequence

from consentry.model.names import quoted
from consentry.validation.majority import find_contradicted
from consentry.validation.references import applies_sql, find_orphans
from consentry.validation.rules import Rule
from consentry.warehouse import Warehouse


def find_duplicates(
    warehouse: Warehouse,
    rules: Sequence[Rule],
    *,
    staged: str,
    into: str,
    content: Sequence[str],
    survivor: str | None,
    older: str | None,
    key: Sequence[str],
    again: bool = False,
) -> None:
    """Write (`_rid`, rule number, `_rid` of the row that stays) of every row that is a duplicate to a table.

    content: the columns that tell rows of a stream without a key apart. older: the clean table of earlier loads;
    a value that another of its keys holds already is a duplicate too. Without a declared `report_duplicates` one
    row stays: among those that pass everything else the one with the largest `survivor`, then the latest. A
    missing value is never a duplicate. again: the rows were judged before and may be older than what clean holds
    under their key by now, which then stays.
    """
    warehouse.sql(f"CREATE OR REPLACE TABLE {into} (_rid BIGINT, rule INT, survivor BIGINT)")
    find_orphans(warehouse, rules, staged=staged, into=into)
    find_contradicted(warehouse, rules, staged=staged, into=into, older=older, key=key)
    for number, rule in enumerate(rules):
        if rule.kind != "unique":
            continue
        columns = rule.columns or tuple(content)
        if not columns:
            continue
        applies, values = applies_sql(rule.when)
        rows = _rows(rule, staged, into, columns, rules, applies)
        warehouse.sql(f"INSERT INTO {into} {_repeated(rule, rows, columns, survivor)}", rule=number, **values)
        if older is not None and key and rule.code == "duplicate_value":
            warehouse.sql(f"INSERT INTO {into} {_held(rows, older, columns, key)}", rule=number, **values)
        if older is not None and again and rule.code in ("duplicate_key", "duplicate_row"):
            newer = _newer(rows, older, columns, survivor if rule.columns else None, whole_row=not rule.columns)
            warehouse.sql(f"INSERT INTO {into} {newer}", rule=number, **values)


def _rows(rule: Rule, staged: str, into: str, columns: Sequence[str], rules: Sequence[Rule], applies: str) -> str:
    """Select the rows that a rule compares with each other."""
    given = [f"{quoted(column)} IS NOT NULL" for column in columns] if rule.columns else []
    if rule.keep is None:
        kept_out = [number for number, known in enumerate(rules) if known.severity != "warn"]
        numbers = ", ".join(map(str, kept_out))
        given += ["NOT _bad", f"_rid NOT IN (SELECT _rid FROM {into} WHERE rule IN ({numbers}))"]
    return f"SELECT * FROM {staged} WHERE {' AND '.join([*given, applies])}"


def _repeated(rule: Rule, rows: str, columns: Sequence[str], survivor: str | None) -> str:
    listed = ", ".join(map(quoted, columns))
    order = "_rid DESC"
    if rule.keep is None and survivor is not None:
        order = f"{quoted(survivor)} DESC NULLS LAST, _rid DESC"
    if rule.keep in ("all", "exclude_first"):
        order = "_rid"
    # Nearly no row is there twice: a hash that occurs again finds the few that a window must sort.
    again = f"SELECT hash({listed}) FROM ({rows}) AS judged GROUP BY 1 HAVING count(*) > 1"
    window = f"OVER (PARTITION BY {listed} ORDER BY {order} ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)"
    marked = (
        f"SELECT _rid, first_value(_rid) {window} AS winner, count(*) {window} AS copies FROM ({rows}) AS judged"
        f" WHERE hash({listed}) IN ({again})"
    )
    if rule.keep == "all":
        return f"SELECT _rid, $rule, NULL FROM ({marked}) AS marked WHERE copies > 1"
    return f"SELECT _rid, $rule, winner FROM ({marked}) AS marked WHERE copies > 1 AND _rid <> winner"


def _held(rows: str, older: str, columns: Sequence[str], key: Sequence[str]) -> str:
    same = " AND ".join(f"fresh.{quoted(column)} = held.{quoted(column)}" for column in columns)
    other = " AND ".join(f"fresh.{quoted(column)} = held.{quoted(column)}" for column in key)
    found = f"SELECT fresh._rid, $rule, min(held._rid) FROM ({rows}) AS fresh JOIN {older} AS held ON {same}"
    return f"{found} WHERE NOT ({other}) GROUP BY fresh._rid"


def _newer(rows: str, older: str, columns: Sequence[str], survivor: str | None, *, whole_row: bool) -> str:
    """Select the rows whose key, or whose whole content, clean holds in a row that comes after them."""
    same = " AND ".join(f"fresh.{quoted(column)} IS NOT DISTINCT FROM held.{quoted(column)}" for column in columns)
    later = "held._rid > fresh._rid"
    if survivor is not None:
        mine, theirs = f"fresh.{quoted(survivor)}", f"held.{quoted(survivor)}"
        later = (
            f"({mine} IS NULL AND {theirs} IS NOT NULL) OR {theirs} > {mine}"
            f" OR ({mine} IS NOT DISTINCT FROM {theirs} AND {later})"
        )
    later = "held._rid <> fresh._rid" if whole_row else later
    found = f"SELECT fresh._rid, $rule, max(held._rid) FROM ({rows}) AS fresh JOIN {older} AS held ON {same}"
    return f"{found} WHERE {later} GROUP BY fresh._rid"
