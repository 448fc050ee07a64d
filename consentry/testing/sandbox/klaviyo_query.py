"""Klaviyo's query language: JSON:API filters, sorts and cursors."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from consentry.testing.sandbox.vendor import Call, Json, Refused, whole_number

T = TypeVar("T")
Allowed = Mapping[str, frozenset[str]]

_ONE = re.compile(r"(?P<operator>[a-z-]+)\((?P<field>[A-Za-z_.]+),(?P<value>.*)\)", re.DOTALL)
_RANGES = frozenset({"greater-than", "less-than", "greater-or-equal", "less-or-equal"})
_EXACT = frozenset({"equals", "any"})
SUPPRESSED = "subscriptions.email.marketing.suppression"
SUPPRESSED_ON = "subscriptions.email.marketing.list_suppressions"
# Which operator goes with which field (profiles.json and lists.json, description of `filter`).
PROFILE_FILTERS: Allowed = {
    **dict.fromkeys(("id", "email", "phone_number", "external_id"), _EXACT),
    **dict.fromkeys(("created", "updated"), frozenset({"greater-than", "less-than"})),
    **dict.fromkeys((f"{SUPPRESSED}.reason", f"{SUPPRESSED_ON}.reason"), frozenset({"equals"})),
    f"{SUPPRESSED_ON}.list_id": frozenset({"equals"}),
    **dict.fromkeys((f"{SUPPRESSED}.timestamp", f"{SUPPRESSED_ON}.timestamp"), _RANGES),
}
LIST_FILTERS: Allowed = {
    **dict.fromkeys(("name", "id"), _EXACT),
    **dict.fromkeys(("created", "updated"), frozenset({"greater-than"})),
}
MEMBER_FILTERS: Allowed = {**dict.fromkeys(("email", "phone_number"), _EXACT), "joined_group_at": _RANGES}
PROFILE_SORTS = frozenset(
    {"id", "created", "updated", "email", f"{SUPPRESSED}.timestamp", f"{SUPPRESSED_ON}.timestamp"}
)


def invalid(detail: str, parameter: str) -> Refused:
    """Return Klaviyo's 400 for a query parameter."""
    return Refused(400, "invalid", detail, at=parameter)


def chosen(items: Sequence[T], text: str, allowed: Allowed, value: Callable[[T, str], Any]) -> list[T]:
    """Return the items that every condition of a filter lets through."""
    conditions = [_condition(part, allowed) for part in _parts(text)]
    return [item for item in items if all(holds(value(item, name)) for name, holds in conditions)]


def _parts(text: str) -> list[str]:
    """Split `a(...),b(...)` and `and(a(...),b(...))` at the commas outside brackets and quotes."""
    if text.startswith("and(") and text.endswith(")"):
        text = text[4:-1]
    parts, depth, quoted, begin = [], 0, False, 0
    for place, sign in enumerate(text):
        quoted ^= sign == '"' and text[place - 1] != "\\"
        depth += 0 if quoted else (sign in "([") - (sign in ")]")
        if sign == "," and not depth and not quoted:
            parts.append(text[begin:place])
            begin = place + 1
    return [part for part in [*parts, text[begin:]] if part]


def named(text: str, fields: Collection[str]) -> tuple[str, list[str]] | None:
    """Return the field and the values of a filter that asks for these values of one of the fields and no more."""
    match = _ONE.fullmatch(text)
    if match is None or match["operator"] not in _EXACT or match["field"] not in fields:
        return None
    try:
        wanted = json.loads(match["value"])
    except ValueError:
        return None
    return match["field"], [str(one) for one in (wanted if isinstance(wanted, list) else [wanted])]


def _condition(part: str, allowed: Allowed) -> tuple[str, Callable[[Any], bool]]:
    match = _ONE.fullmatch(part)
    if match is None:
        raise invalid("Invalid filter provided.", "filter")
    operator, name, text = match["operator"], match["field"], match["value"]
    if operator not in allowed.get(name, frozenset()):
        raise invalid(f"'{name}' is not a filterable field with the operator '{operator}'.", "filter")
    if operator in _RANGES:
        return name, _range(operator, text)
    try:
        wanted = json.loads(text)
    except ValueError:
        raise invalid(f"The value of '{name}' must be quoted.", "filter") from None
    values = {str(one).lower() for one in (wanted if operator == "any" and isinstance(wanted, list) else [wanted])}
    return name, lambda held: held is not None and str(held).lower() in values


def _range(operator: str, text: str) -> Callable[[Any], bool]:
    try:
        bound = datetime.fromisoformat(text.strip('"'))
        tests: dict[str, Callable[[datetime], bool]] = {
            "greater-than": lambda held: held > bound,
            "less-than": lambda held: held < bound,
            "greater-or-equal": lambda held: held >= bound,
            "less-or-equal": lambda held: held <= bound,
        }
        test = tests[operator]
        if bound.tzinfo is None:
            raise ValueError("no zone")
    except ValueError:
        raise invalid("A date filter needs an ISO 8601 time with its zone.", "filter") from None
    return lambda held: held is not None and test(datetime.fromisoformat(held))


def ordered(items: Sequence[T], sort: str, allowed: frozenset[str], value: Callable[[T, str], Any]) -> list[T]:
    """Return the items in the order that `sort` asks for; without it as they are."""
    name = sort.removeprefix("-")
    if not name:
        return list(items)
    if name not in allowed:
        raise invalid(f"'{name}' is not a valid sort field.", "sort")
    return sorted(items, key=lambda item: str(value(item, name) or ""), reverse=sort.startswith("-"))


def page_of(call: Call, items: Sequence[T], *, default: int, most: int) -> tuple[list[T], Json]:
    """Return one page of the items and its links; the cursor is opaque and holds the place of the next page."""
    size = whole_number(call.query("page[size]", str(default)), least=1, most=most)
    if size is None:
        raise invalid(f"Page size must be an integer between 1 and {most}.", "page[size]")
    cursor = call.query("page[cursor]")
    begin = _place(cursor) if cursor else 0
    following = begin if call.repeats_cursor() and cursor else begin + size
    links = {"self": str(call.request.url)}  # the description has no null for a page that is not there
    if begin + size < len(items):
        links["next"] = str(call.request.url.include_query_params(**{"page[cursor]": _cursor(following)}))
    return list(items[begin : begin + size]), links


def _cursor(place: int) -> str:
    return base64.urlsafe_b64encode(f"next::place::{place}".encode()).decode()


def _place(cursor: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor).decode().removeprefix("next::place::"))
    except (ValueError, binascii.Error):
        raise invalid("Invalid cursor provided.", "page[cursor]") from None
