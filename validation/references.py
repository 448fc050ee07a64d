"""Find rows that name what another stream does not have, in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from consentry.errors import StopRun
from consentry.model.names import quoted
from consentry.validation.rules import Condition, Rule
from consentry.warehouse import Warehouse


def find_orphans(warehouse: Warehouse, rules: Sequence[Rule], *, staged: str, into: str) -> None:
    """Add (`_rid`, rule number, nothing) of each row whose value another stream's clean rows lack.

    A missing value refers to nothing and is no fault. Raises StopRun when the other stream was never checked.
    """
    for number, rule in enumerate(rules):
        if rule.kind != "reference" or rule.refers is None:
            continue
        table, theirs = rule.refers
        there, here = warehouse.columns(table), warehouse.columns(staged.replace('"', ""))
        if lacking := [name for name in theirs if name not in there]:
            what = f"has no column {lacking[0]!r}" if there else "was not checked yet"
            shown = table.partition(".")[2].replace("__", ".", 1)
            sentence = f"The rule {rule.rule_id} asks for values of {shown}, which {what}."
            raise StopRun(f"{sentence} Check that stream in the same job.", code="reference_missing")
        pairs = [_same(mine, other, here, there) for mine, other in zip(rule.columns, theirs, strict=True)]
        given = " AND ".join(f"fresh.{quoted(name)} IS NOT NULL" for name in rule.columns)
        applies, values = applies_sql(rule.when)
        zone, _, name = table.partition(".")
        query = (
            f"SELECT fresh._rid, $rule, NULL FROM (SELECT * FROM {staged} WHERE {applies}) AS fresh WHERE {given}"
            f" AND NOT EXISTS (SELECT 1 FROM {zone}.{quoted(name)} AS held WHERE {' AND '.join(pairs)})"
        )
        warehouse.sql(f"INSERT INTO {into} {query}", rule=number, **values)


def _same(mine: str, other: str, here: dict[str, str], there: dict[str, str]) -> str:
    left, right = f"fresh.{quoted(mine)}", f"held.{quoted(other)}"
    if here.get(mine) == there.get(other):
        return f"{left} = {right}"
    return f"CAST({left} AS VARCHAR) = CAST({right} AS VARCHAR)"


def applies_sql(when: Sequence[Condition]) -> tuple[str, dict[str, object]]:
    """Write a rule's conditions as SQL, with the values that its parameters are bound to."""
    parts, values = ["TRUE"], dict[str, object]()
    for condition in when:
        names = []
        for value in condition.values:
            if value is not None:
                names.append(f"when_{len(values)}")
                values[names[-1]] = value
        column = quoted(condition.column)
        tests = [f"{column} = ${name}" for name in names] + ([f"{column} IS NULL"] if None in condition.values else [])
        parts.append(f"({' OR '.join(tests)})")
    return " AND ".join(parts), values
