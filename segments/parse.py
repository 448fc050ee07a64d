"""Read the text of a rule into its tree; a mistake becomes a sentence with a caret under the column.

Length and depth are limited, and the parser (LALR) never goes back, so that hostile text takes bounded time.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeVar, cast, get_args

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedToken, VisitError

from consentry.errors import ConfigError
from consentry.model.names import did_you_mean
from consentry.segments import ast
from consentry.segments.faults import RuleFault

MAX_LENGTH = 20_000
MAX_DEPTH = 40
_MAX_DIGITS = 30
_FUNCTIONS = (*get_args(ast.Function), "did", "percentile", "segment")
_WORDS = (
    *("and", "or", "not", "in", "is", "between", "within", "missing", "known", "where", "then", "no", "last"),
    *("any", "latest", "since", "ago", "of", "over", "calendar", "minutes", "hours", "days", "weeks"),
)
_READABLE = {
    **{"NAME": "a name", "NUMBER": "a number", "STRING": "a text in quotes", "DATE": "a date", "LPAR": "'('"},
    **{"RPAR": "')'", "COMMA": "','", "DOT": "'.'", "CMP": "a comparison", "UNIT": "a unit of time"},
    **{"$END": "the end", "_WITHIN_LAST": "'within last'", "INSTANT": "an instant", "FUNCTION": "a function"},
}
_MINOR = frozenset({"INSTANT", "TRUE", "FALSE", "DID", "PERCENTILE", "DOT", "_WITHIN_LAST"})
T = TypeVar("T")


class RuleError(ConfigError):
    """A rule that cannot be used; `mistakes` holds each with its place."""

    code = "rule"

    def __init__(self, text: str, *mistakes: RuleFault) -> None:
        self.mistakes = mistakes
        super().__init__(*(mistake.shown(text) for mistake in mistakes))


def parse(text: str) -> ast.Rule:
    """Read a rule. Raises RuleError for text that is no rule, too long or too deep."""
    return cast("ast.Rule", _parsed(text, "start"))


def parse_value(text: str) -> ast.Value:
    """Read a single value, such as `sum(purchase.amount)`. Raises RuleError."""
    return cast("ast.Value", _parsed(text, "value"))


def _parsed(text: str, start: Literal["start", "value"]) -> ast.Node:
    if len(text) > MAX_LENGTH:
        sentence = f"a rule has at most {MAX_LENGTH:,} characters. Split it with 'in segment(...)'."
        raise RuleError(text[:MAX_LENGTH], RuleFault(0, sentence))
    try:
        tree = cast("ast.Node", _parser().parse(text, start=start))
    except UnexpectedToken as error:
        mistake = _unexpected_token(text, error)
    except UnexpectedCharacters as error:
        mistake = _unexpected_character(text, error)
    except VisitError as error:  # the tree builder's own refusal
        if not isinstance(error.orig_exc, _Refused):
            raise
        mistake = error.orig_exc.fault
    except _Refused as refused:
        mistake = refused.fault
    else:
        _refuse_depth(text, tree)
        return tree
    raise RuleError(text, mistake)


def _refuse_depth(text: str, tree: ast.Node) -> None:
    for node, depth in ast.walk(tree):
        if depth > MAX_DEPTH:
            sentence = f"this is nested deeper than {MAX_DEPTH} levels. Split the rule with 'in segment(...)'."
            raise RuleError(text, RuleFault(node.at, sentence))


def _unexpected_token(text: str, error: UnexpectedToken) -> RuleFault:
    token = cast("Token", error.token)
    expected = _listed(error.accepts or error.expected)
    if token.type == "$END":
        return RuleFault(len(text.rstrip()), f"the rule ends too early; expected {expected}.")
    at = cast("int", token.start_pos)
    before = re.search(r"([A-Za-z_]\w*)\s*$", text[:at])
    if token.type == "LPAR" and before:
        name = before.group(1)
        known = did_you_mean(name, _FUNCTIONS) or f"; the functions are {', '.join(_FUNCTIONS)}."
        return RuleFault(before.start(), f"{name!r} is not a function{known}")
    hint = did_you_mean(str(token).lower(), _WORDS) if token.type == "NAME" else ""
    return RuleFault(at, f"{_short(str(token))!r} cannot stand here; expected {expected}{hint or '.'}")


def _unexpected_character(text: str, error: UnexpectedCharacters) -> RuleFault:
    at = cast("int", error.pos_in_stream)
    found = text[at]
    if found in "'\"":
        return RuleFault(at, f"a text begins here with {found} and does not end.")
    if found == "=":
        return RuleFault(at, "'=' is not a comparison; write '=='.")
    if found.isalpha() and found.isupper():
        return RuleFault(at, "names and words of the language begin with a lower-case letter.")
    if found.isdigit() or found == "-":
        return RuleFault(at, "this number, date or instant cannot be read.")
    return RuleFault(at, f"{found!r} cannot stand in a rule here.")


def _short(word: str) -> str:
    return word if len(word) <= 40 else word[:40] + "..."


def _listed(terminals: set[str]) -> str:
    shown = sorted({_READABLE.get(name, f"'{name.lower()}'") for name in terminals - _MINOR} or terminals)
    if len(shown) < 2:
        return shown[0] if shown else "the end"
    return f"{', '.join(shown[:-1])} or {shown[-1]}"


class _Refused(Exception):
    """A word that the grammar lets through and that means nothing; never leaves this module."""

    def __init__(self, at: int, sentence: str) -> None:
        super().__init__(sentence)
        self.fault = RuleFault(at, sentence)


@cache
def _parser() -> Lark:
    grammar = files("consentry.segments").joinpath("rule.lark").read_text("utf-8")
    # The transformer runs inside the parser: no recursion over the tree, so that depth is checked before it hurts.
    return Lark(grammar, parser="lalr", start=["start", "value"], transformer=_Builder(), maybe_placeholders=True)


def _at(token: Token) -> int:
    return cast("int", token.start_pos)


def _text(token: Token) -> str:
    mark = token[0]
    return token[1:-1].replace(mark * 2, mark)


def _unit(token: Token) -> ast.Unit:
    return cast("ast.Unit", str(token) if token.endswith("s") else f"{token}s")


def _count(token: Token) -> int:
    if not token.isdigit() or not 0 < len(token) < 7 or int(token) == 0:
        raise _Refused(_at(token), "a length of time is a whole number from 1 to 999,999.")
    return int(token)


def _number(token: Token) -> int | float:
    if len(token) > _MAX_DIGITS:
        raise _Refused(_at(token), f"a number has at most {_MAX_DIGITS} characters.")
    return float(token) if "." in token else int(token)


def _day(token: Token) -> date:
    try:
        return date.fromisoformat(token)
    except ValueError:
        raise _Refused(_at(token), f"{token} is not a day of the calendar.") from None


def _instant(token: Token) -> datetime:
    try:
        return datetime.fromisoformat(token).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Refused(_at(token), f"{token} is not an instant.") from None


class _Builder(Transformer[Token, ast.Node]):
    """Make the nodes, bottom up; one method for each name in the grammar.

    lark gives each method a list of tokens and finished nodes, whose types the grammar knows and Python does not.
    """

    def expr(self, items: list[Any]) -> ast.Node:
        return ast.Or(tuple(items), at=items[0].at)

    def conjunction(self, items: list[Any]) -> ast.Node:
        return ast.And(tuple(items), at=items[0].at)

    def negated(self, items: list[Any]) -> ast.Node:
        return ast.Not(items[0], at=items[0].at)

    def compare(self, items: list[Any]) -> ast.Node:
        left, op, right = items
        return ast.Compare(left, cast("ast.Comparison", str(op)), right, at=left.at)

    def between(self, items: list[Any]) -> ast.Node:
        return ast.Between(*items, at=items[0].at)

    def one_of(self, items: list[Any]) -> ast.Node:
        return ast.In(items[0], items[1], at=items[0].at)

    def none_of(self, items: list[Any]) -> ast.Node:
        return ast.In(items[0], items[1], negated=True, at=items[0].at)

    def missing(self, items: list[Any]) -> ast.Node:
        return ast.Is(items[0], missing=True, at=items[0].at)

    def known(self, items: list[Any]) -> ast.Node:
        return ast.Is(items[0], missing=False, at=items[0].at)

    def recent(self, items: list[Any]) -> ast.Node:
        return ast.Recent(items[0], items[1], at=items[0].at)

    def in_segment(self, items: list[Any]) -> ast.Node:
        return ast.InSegment(str(items[0]), at=_at(items[0]))

    def truth(self, items: list[Any]) -> ast.Node:
        return ast.Truth(items[0], at=items[0].at)

    def name(self, items: list[Any]) -> ast.Node:
        return ast.Name(str(items[0]), at=_at(items[0]))

    def score(self, items: list[Any]) -> ast.Node:
        family, *names = (str(item) for item in items if item is not None)
        return ast.Score(family, ".".join(names), at=_at(items[0]))

    def ago(self, items: list[Any]) -> ast.Node:
        return ast.Ago(items[0], at=items[0].at)

    def literal(self, items: list[Any]) -> ast.Node:
        token = items[0]
        at = _at(token)
        match token.type:
            case "STRING":
                return ast.Literal(_text(token), "text", at=at)
            case "DATE":
                return ast.Literal(_day(token), "date", at=at)
            case "INSTANT":
                return ast.Literal(_instant(token), "timestamp", at=at)
            case "TRUE" | "FALSE":
                return ast.Literal(token.type == "TRUE", "boolean", at=at)
        number = _number(token)
        return ast.Literal(number, "number" if isinstance(number, float) else "integer", at=at)

    def options(self, items: list[Any]) -> tuple[ast.Node, ...]:
        return tuple(items)

    def duration(self, items: list[Any]) -> ast.Node:
        return ast.Duration(_count(items[0]), _unit(items[1]), at=_at(items[0]))

    def aggregate(self, items: list[Any]) -> ast.Node:
        function, event, prop, where, window = items
        name = cast("ast.Function", str(function))
        return ast.Aggregate(name, str(event), prop and str(prop), where, window, at=_at(function))

    def last(self, items: list[Any]) -> ast.Node:
        return ast.Last(items[0], at=items[0].at)

    def calendar(self, items: list[Any]) -> ast.Node:
        if _unit(items[1]) != "days":
            raise _Refused(_at(items[1]), "only days are counted by the calendar; write 'calendar days'.")
        return ast.CalendarDays(_count(items[0]), at=_at(items[0]))

    def between_ago(self, items: list[Any]) -> ast.Node:
        ends = sorted((_count(items[0]), _count(items[1])))
        return ast.BetweenAgo(ends[0], ends[1], _unit(items[2]), at=_at(items[0]))

    def since(self, items: list[Any]) -> ast.Node:
        return ast.Since(_day(items[0]), at=_at(items[0]))

    def any_window(self, items: list[Any]) -> ast.Node:
        return ast.AnyWindow(items[0], at=items[0].at)

    def sequence(self, items: list[Any]) -> ast.Node:
        did, pick, first, first_where, no, then, then_where, within, window = items
        which = cast("ast.Pick | None", pick and str(pick))
        return ast.Sequence(
            which, str(first), first_where, no is not None, str(then), then_where, within, window, at=_at(did)
        )

    def percentile(self, items: list[Any]) -> ast.Node:
        word, percent, of, over = items
        return ast.Percentile(float(_number(percent)), of, over, at=_at(word))
