"""Say what two contracts ask differently, and whether the second one asks more or less of a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from consentry.validation.contract import Contract

Effect = Literal["stricter", "looser", "different", "none"]
# What changes no verdict about a row.
_WORDS = ("title", "description", "tests", "name", "version", "api", "schema_type")


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs: where it stands, what it was and is, None where it is absent."""

    where: str
    before: Any
    after: Any
    effect: Effect


def contract_diff(old: Contract, new: Contract) -> list[Change]:
    """Return every difference, in the order of the file; empty when both ask the same."""
    return list(_changes(old.source, new.source, ()))


def _changes(old: Any, new: Any, where: tuple[str, ...]) -> list[Change]:
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*old, *(name for name in new if name not in old)]
        return [change for name in names for change in _changes(old.get(name), new.get(name), (*where, str(name)))]
    return [Change(".".join(where), old, new, _effect(where, old, new))]


def _effect(where: tuple[str, ...], old: Any, new: Any) -> Effect:
    key = where[-1]
    if key in _WORDS or where[0] in ("tests", "watch"):
        return "none"
    if where[0] == "columns" and len(where) == 2:
        # A column that a contract no longer names is carried as it is.
        return "stricter" if old is None else "looser"
    if key in ("nullable", "required", "unique", "strict"):
        wants = {"nullable": False, "required": True, "unique": True, "strict": True}[key]
        default = {"nullable": False, "required": True, "unique": False, "strict": False}[key]
        return "stricter" if (default if new is None else new) == wants else "looser"
    if key == "severity":
        order = ["warn", "quarantine", "fail"]
        return "stricter" if order.index(new or "quarantine") > order.index(old or "quarantine") else "looser"
    return _of_check(where, old, new)


def _of_check(where: tuple[str, ...], old: Any, new: Any) -> Effect:
    among = {"checks", "depends_on", "typos"} & set(where) or where[0] in ("rules", "references", "expect")
    if among and (old is None or new is None):
        return "stricter" if old is None else "looser"
    key = where[-1]
    if "checks" in where and isinstance(old, int | float) and isinstance(new, int | float):
        upper = key in ("max_value", "lt", "le", "less_than", "less_than_or_equal_to")
        lower = key in ("min_value", "gt", "ge", "greater_than", "greater_than_or_equal_to")
        if upper or lower:
            return "stricter" if (new < old) == upper else "looser"
    if "checks" in where and isinstance(old, list) and isinstance(new, list) and key in ("isin", "allowed_values"):
        if set(new) < set(old):
            return "stricter"
        return "looser" if set(new) > set(old) else "different"
    return "different"
