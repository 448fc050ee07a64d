"""Make Pandera's checks from a contract's words, and find those that cannot hold together.

Only checks that look at one row at a time are built: a batch never sees the whole table, so that an aggregate
would be compared once per batch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Final

import polars as pl
from pandera.polars import Check

from consentry.model.names import did_you_mean
from consentry.validation.dtypes import is_number

ALIASES: Final = {"eq": "equal_to", "ne": "not_equal_to", "gt": "greater_than", "lt": "less_than"} | {
    "ge": "greater_than_or_equal_to",
    "le": "less_than_or_equal_to",
    "between": "in_range",
}
# Per check: the code of its reason, and its arguments; the first takes a bare value.
KNOWN: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "equal_to": ("not_allowed", ("value",)),
    "not_equal_to": ("not_allowed", ("value",)),
    "greater_than": ("out_of_range", ("min_value",)),
    "greater_than_or_equal_to": ("out_of_range", ("min_value",)),
    "less_than": ("out_of_range", ("max_value",)),
    "less_than_or_equal_to": ("out_of_range", ("max_value",)),
    "in_range": ("out_of_range", ("min_value", "max_value", "include_min", "include_max")),
    "isin": ("not_allowed", ("allowed_values",)),
    "notin": ("not_allowed", ("forbidden_values",)),
    "str_matches": ("wrong_format", ("pattern",)),
    "str_contains": ("wrong_format", ("pattern",)),
    "str_startswith": ("wrong_format", ("string",)),
    "str_endswith": ("wrong_format", ("string",)),
    "str_length": ("wrong_length", ("min_value", "max_value", "exact_value")),
}
# Pandera's options that would hide failing rows or answer for a whole batch.
_REFUSED: Final = {
    "n_failure_cases": "it hides failing rows",
    "raise_warning": "its rows are not named; write severity: warn",
    "groupby": "a batch never sees a whole group",
    "groups": "a batch never sees a whole group",
}
_WHOLE_TABLE: Final = "unique_values_eq"
OPTIONS: Final = ("ignore_na", "name", "error", "title", "description")


class Unusable(ValueError):
    """A check that cannot be built; the message is the sentence for the fault."""


@dataclass(frozen=True, slots=True)
class Built:
    """One check of one column: its name in Pandera, arguments in the column's type, code and sentence."""

    name: str
    arguments: Mapping[str, Any]
    code: str
    sentence: str
    check: Check


def build(name: str, value: Any, *, column: str, dtype: pl.DataType) -> Built:
    """Make one check from its YAML form, a bare value or a mapping of arguments.

    Raises Unusable with a sentence: unknown check or argument, a bound of another type than the column, a
    pattern that is no regular expression.
    """
    full = ALIASES.get(name, name)
    if full == _WHOLE_TABLE:
        raise Unusable(f"{name} looks at the whole table, and a contract judges one row at a time. Remove it.")
    given: dict[Any, Any] = dict(value) if isinstance(value, dict) else {None: value}
    options = {key: given.pop(key) for key in OPTIONS if key in given}
    for key, why in _REFUSED.items():
        if given.pop(key, None):
            raise Unusable(f"{name}: the option {key} is refused: {why}.")
    if full in Check.REGISTERED_CUSTOM_CHECKS and full not in KNOWN:
        return _registered(full, given, options, column)
    if full not in KNOWN:
        known = [*KNOWN, *ALIASES, *Check.REGISTERED_CUSTOM_CHECKS]
        raise Unusable(f"The check {name!r} is not known{did_you_mean(name, known) or '.'}")
    if full.startswith("str_") and dtype != pl.String:
        raise Unusable(f"{name} needs a column of text, and {column} is {dtype}.")
    code, names = KNOWN[full]
    arguments = {key: _typed(full, key, item, dtype) for key, item in _named(full, given, names).items()}
    check = _checked(full, arguments, options)
    return Built(full, arguments, code, options.get("error") or sentence(full, arguments, column), check)


def _named(name: str, given: Mapping[Any, Any], names: tuple[str, ...]) -> dict[str, Any]:
    if set(given) <= {None, "value"} and "value" not in names:
        given = {names[0]: next(iter(given.values()), None)}
    elif None in given:
        given = {names[0]: given[None]}
    if unknown := next((key for key in given if key not in names), None):
        raise Unusable(f"{name} has no argument {unknown!r}{did_you_mean(str(unknown), names) or '.'}")
    needed = names[:2] if name == "in_range" else () if name == "str_length" else names[:1]
    if lacking := [key for key in needed if given.get(key) is None]:
        raise Unusable(f"{name} needs {' and '.join(lacking)}.")
    if not any(item is not None for item in given.values()):
        raise Unusable(f"{name} needs one of {', '.join(names)}.")
    return {key: item for key, item in given.items() if item is not None}


def _typed(name: str, key: str, item: Any, dtype: pl.DataType) -> Any:
    if key in ("include_min", "include_max"):
        return _of(bool, item, f"{name}.{key} is true or false.")
    if name == "str_length":
        return _of(int, item, f"{name}.{key} is a whole number.")
    if key in ("pattern", "string"):
        return _of(str, item, f"{name} needs text in quotes.")
    if name in ("isin", "notin"):
        values = _of(list, item, f"{name} needs a list of values.")
        if not values:
            raise Unusable(f"{name} has an empty list.")
        return [bound(value, dtype) for value in values]
    return bound(item, dtype)


def _of(kind: type, item: Any, otherwise: str) -> Any:
    if not isinstance(item, kind) or (kind is int and isinstance(item, bool)):
        raise Unusable(otherwise)
    return item


def bound(value: Any, dtype: pl.DataType) -> Any:
    """Give a value of a contract the type of its column; times without a zone are UTC."""
    try:
        if dtype == pl.Date:
            return date.fromisoformat(value)
        if isinstance(dtype, pl.Datetime):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(dtype, pl.Decimal):
            return Decimal(str(value))
    except (TypeError, ValueError, InvalidOperation):
        raise Unusable(f"{value!r} is no value of the type {dtype}.") from None
    fits = {pl.String: str, pl.Boolean: bool}.get(type(dtype), (int, float))
    if not isinstance(value, fits) or (is_number(dtype) and isinstance(value, bool)):
        raise Unusable(f"{value!r} is no value of the type {dtype}.")
    return _as_number(value, dtype) if isinstance(value, int | float) and is_number(dtype) else value


def _as_number(value: int | float, dtype: pl.DataType) -> int | float:
    # is_in compares values of one type only, so that 1 must be 1.0 in a column of fractions.
    if dtype.is_float():
        return float(value)
    if value != int(value):
        raise Unusable(f"{value!r} is no whole number, and the column has the type {dtype}.")
    return int(value)


def _checked(name: str, arguments: Mapping[str, Any], options: Mapping[str, Any]) -> Check:
    kept = dict(arguments)
    if "pattern" in kept:
        try:
            pl.Series([""]).str.contains(kept["pattern"])
        except pl.exceptions.ComputeError:
            why = "is no regular expression of RE2 (it has no look-around and no back-references)"
            raise Unusable(f"{name}: the pattern {kept['pattern']!r} {why}.") from None
    if name == "str_matches":
        # Pandera's polars backend writes '^' before the pattern, which in 'a|b' binds to 'a' alone.
        kept["pattern"] = f"^(?:{kept['pattern']})"
    extra = {key: item for key, item in options.items() if key != "error"}
    try:
        made: Check = getattr(Check, name)(**kept, **extra)
    except (TypeError, ValueError):
        # Pandera refuses a range whose ends are the wrong way round, or of two kinds.
        shown = " and ".join(str(item) for item in arguments.values())
        raise Unusable(f"No value can be {name} of {shown}.") from None
    return made


def _registered(name: str, given: Mapping[Any, Any], options: Mapping[str, Any], column: str) -> Built:
    arguments = {key: item for key, item in given.items() if key is not None}
    bare = [given[None]] if given.get(None) is not None else []
    try:
        check = getattr(Check, name)(*bare, **arguments, **options)
    except Exception as error:  # a check of the user's own may raise anything
        raise Unusable(f"The check {name!r} cannot be built ({type(error).__name__}).") from None
    text = options.get("error") or f"{column} does not pass the check {name}."
    return Built(name, arguments, "failed_check", text, check)


def sentence(name: str, arguments: Mapping[str, Any], column: str) -> str:
    """Say what a check asks of a column; it quotes the contract, never a row."""
    it = dict(arguments)
    match name:
        case "equal_to" | "isin":
            return f"{column} must be {_listed(it)}."
        case "not_equal_to" | "notin":
            return f"{column} must not be {_listed(it)}."
        case "greater_than" | "less_than":
            word = "above" if name == "greater_than" else "below"
            return f"{column} must be {word} {next(iter(it.values()))}."
        case "greater_than_or_equal_to":
            return f"{column} must be at least {it['min_value']}."
        case "less_than_or_equal_to":
            return f"{column} must be at most {it['max_value']}."
        case "in_range":
            return f"{column} must be between {it['min_value']} and {it['max_value']}."
        case "str_length":
            return f"{column} has the wrong length ({', '.join(f'{k} {v}' for k, v in it.items())})."
        case _:
            return f"{column} has not the required form ({name} {next(iter(it.values()), '')!r})."


def _listed(arguments: Mapping[str, Any]) -> str:
    value = next(iter(arguments.values()))
    values = value if isinstance(value, list) else [value]
    shown = ", ".join(str(item) for item in values[:8])
    return f"{shown}, ... ({len(values)} values)" if len(values) > 8 else shown


def contradiction(checks: Mapping[str, Built]) -> tuple[str, str] | None:
    """Find a check that leaves no value when all hold together: (its name in the file, sentence)."""
    low, high = _ends(checks, 0), _ends(checks, 1)
    for name, (lower, at_lower, upper, at_upper) in _ranges(checks).items():
        alone = checks[name].name == "str_length"
        for start, at_start in [*([] if alone else low), (lower, at_lower)]:
            for end, at_end in [*([] if alone else high), (upper, at_upper)]:
                if start is None or end is None:
                    continue
                if start > end or (start == end and not (at_start and at_end)):
                    return name, f"No value can be above {start} and below {end} at once."
    return _empty_choice(checks)


def _ranges(checks: Mapping[str, Built]) -> dict[str, tuple[Any, bool, Any, bool]]:
    return {name: found for name, built in checks.items() if (found := _range(built))}


def _range(built: Built) -> tuple[Any, bool, Any, bool] | None:
    it = built.arguments
    if built.name in ("in_range", "str_length") and "exact_value" not in it:
        start, end = it.get("min_value"), it.get("max_value")
        return start, it.get("include_min", True), end, it.get("include_max", True)
    if built.name.startswith("greater_than"):
        return it["min_value"], built.name.endswith("equal_to"), None, True
    if built.name.startswith("less_than"):
        return None, True, it["max_value"], built.name.endswith("equal_to")
    return None


def _ends(checks: Mapping[str, Built], side: int) -> list[tuple[Any, bool]]:
    of_value = {name: built for name, built in checks.items() if built.name != "str_length"}
    ends = [(found[2 * side], bool(found[2 * side + 1])) for found in _ranges(of_value).values()]
    return [end for end in ends if end[0] is not None]


def _empty_choice(checks: Mapping[str, Built]) -> tuple[str, str] | None:
    for name, built in checks.items():
        if built.name not in ("isin", "equal_to"):
            continue
        value = next(iter(built.arguments.values()))
        values = value if isinstance(value, list) else [value]
        if not any(all(test(item) for test in _tests(checks)) for item in values):
            return name, f"None of the values that {name} allows passes the other checks."
    return None


def _tests(checks: Mapping[str, Built]) -> Iterator[Callable[[Any], bool]]:
    for built in checks.values():
        value = next(iter(built.arguments.values()), None)
        values = value if isinstance(value, list) else [value]
        if built.name in ("notin", "not_equal_to"):
            yield partial(_is_none_of, values)
        elif built.name in ("isin", "equal_to"):
            yield values.__contains__
        elif built.name.startswith("str_"):
            yield partial(_is_such_text, built)
        elif found := _range(built):
            yield partial(_inside, found)


def _is_none_of(values: list[Any], item: Any) -> bool:
    return item not in values


def _is_such_text(built: Built, item: str) -> bool:
    it, text = built.arguments, pl.Series([item])
    match built.name:
        case "str_matches":
            return bool(text.str.contains(f"^(?:{it['pattern']})")[0])
        case "str_contains":
            return bool(text.str.contains(it["pattern"])[0])
        case "str_startswith":
            return item.startswith(str(it["string"]))
        case "str_endswith":
            return item.endswith(str(it["string"]))
        case _:
            exact, length = it.get("exact_value"), len(item)
            if exact is not None:
                return bool(length == exact)
            return bool(it.get("min_value", 0) <= length <= it.get("max_value", length))


def _inside(found: tuple[Any, bool, Any, bool], item: Any) -> bool:
    start, at_start, end, at_end = found
    above = start is None or bool((operator.ge if at_start else operator.gt)(item, start))
    return above and (end is None or bool((operator.le if at_end else operator.lt)(item, end)))
