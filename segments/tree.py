"""The second spelling of a rule: a tree of plain data (YAML or JSON), for builders and reviews; lossless both ways.

`{all: [...]}`, `{any: [...]}` and `{not: ...}` join conditions; every other part is its kind with its fields, as in
`{compare: {left: {name: {name: age}}, op: ">=", right: {literal: {value: 18, type: integer}}}}`.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from datetime import date, datetime
from typing import Any, cast

from consentry.segments import ast
from consentry.segments.parse import MAX_DEPTH, RuleError, parse
from consentry.segments.spell import spell

_JOINED: dict[str, type[ast.And] | type[ast.Or]] = {"all": ast.And, "any": ast.Or}
_KINDS: dict[str, type[ast.Node]] = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower(): kind
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.Node) and kind not in (ast.Node, ast.And, ast.Or, ast.Not)
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
# A rule of 40 levels is a tree of some more: lists and fields are levels too.
_MAX_LEVELS = 4 * MAX_DEPTH


class TreeError(ValueError):
    """Data that is no rule; the message says where."""


# A tree is whatever YAML and JSON can hold.
def to_tree(node: ast.Node) -> dict[str, Any]:
    """Return a rule, or a part of one, as plain data. `from_tree(to_tree(rule)) == rule` for every rule."""
    match node:
        case ast.And(parts):
            return {"all": [to_tree(part) for part in parts]}
        case ast.Or(parts):
            return {"any": [to_tree(part) for part in parts]}
        case ast.Not(part):
            return {"not": to_tree(part)}
    found = {field.name: getattr(node, field.name) for field in fields(node) if field.name != "at"}
    return {_NAMES[type(node)]: {name: _plain(value) for name, value in found.items() if value is not None}}


def _plain(value: Any) -> Any:
    if isinstance(value, ast.Node):
        return to_tree(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


def from_tree(tree: object) -> ast.Rule:
    """Read a rule from plain data. Raises TreeError for data that is none, RuleError for a rule that cannot be read.

    What was read is spelled and read again as text: no name or text in the data can be anything but what it says.
    """
    rule = _node(tree, 0)
    try:
        again = parse(spell(cast("ast.Rule", rule)))
    except RuleError:
        raise
    except (TypeError, AttributeError, ValueError):
        raise TreeError("A part of the tree stands where another kind belongs.") from None
    if again != rule:
        raise TreeError("A name or value in the tree is not one of the language.")
    return again


def _node(tree: object, level: int) -> ast.Node:
    if level > _MAX_LEVELS:
        raise TreeError(f"The tree is nested deeper than {MAX_DEPTH} conditions.")
    if not isinstance(tree, dict) or len(tree) != 1:
        raise TreeError("Each part of the tree is one key with its fields, such as {not: ...}.")
    ((key, body),) = tree.items()
    if key in _JOINED:
        if not isinstance(body, list) or len(body) < 2:
            raise TreeError(f"'{key}' holds a list of two conditions or more.")
        return _JOINED[key](tuple(cast("ast.Rule", _node(part, level + 1)) for part in body))
    if key == "not":
        return ast.Not(cast("ast.Rule", _node(body, level + 1)))
    kind = _KINDS.get(str(key))
    if kind is None or not isinstance(body, dict):
        raise TreeError(f"{str(key)[:40]!r} is no part of a rule; the parts are {', '.join(sorted(_KINDS))}.")
    return _made(str(key), kind, body, level)


def _made(key: str, kind: type[ast.Node], body: dict[str, Any], level: int) -> ast.Node:
    known = {field.name: field for field in fields(kind) if field.name != "at"}
    needed = {
        name
        for name, field in known.items()
        if field.default is MISSING and "None" not in str(field.type) and name not in body
    }
    wrong = set(map(str, body)) - set(known)
    if wrong or needed:
        what = f"has no {', '.join(sorted(needed))}" if needed else f"does not know {', '.join(sorted(wrong))[:80]}"
        raise TreeError(f"'{key}' {what}; its fields are {', '.join(known)}.")
    values = {name: _value(body.get(name), level + 1) for name in known if name in body or name not in _defaults(kind)}
    for name in ("value", "day"):
        if kind in (ast.Literal, ast.Since) and isinstance(values.get(name), str):
            values[name] = _constant(str(values[name]), str(values.get("type", "date")))
    return kind(**values)


def _defaults(kind: type[ast.Node]) -> set[str]:
    return {field.name for field in fields(kind) if field.default is not MISSING}


def _value(value: Any, level: int) -> Any:
    if isinstance(value, dict):
        return _node(value, level)
    return tuple(_value(item, level) for item in value) if isinstance(value, list) else value


def _constant(text: str, kind: str) -> ast.Constant:
    try:
        match kind:
            case "date":
                return date.fromisoformat(text)
            case "timestamp":
                return datetime.fromisoformat(text)
    except ValueError:
        raise TreeError(f"{text[:40]!r} is no {kind}.") from None
    return text
