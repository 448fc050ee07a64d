"""Write a rule the way it is read best: on one line while it is short, else one condition a line."""

from __future__ import annotations

from consentry.segments import ast
from consentry.segments.parse import parse
from consentry.segments.spell import spell

WIDTH = 100


def format_rule(text: str) -> str:
    """Return a rule in its one spelling, broken at its outermost `and` or `or` when it is long. Raises RuleError."""
    rule = parse(text)
    line = spell(rule)
    if len(line) <= WIDTH or not isinstance(rule, ast.And | ast.Or):
        return line
    word = "and" if isinstance(rule, ast.And) else "or"
    inner = [
        f"({spell(part)})" if isinstance(part, ast.And | ast.Or) and word == "and" else spell(part)
        for part in rule.parts
    ]
    return f"\n  {word} ".join(inner)
