"""Try a contract on the rows that it brings as examples, without any data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from consentry.validation.check import FAILED_RULES, Judge
from consentry.validation.contract import Contract
from consentry.validation.spec import ExampleSpec, Scalar


@dataclass(frozen=True, slots=True)
class Tried:
    """One example: its name, whether it came out as expected, and what came out."""

    name: str
    ok: bool
    sentence: str


def try_examples(contract: Contract) -> list[Tried]:
    """Return what became of each example of a contract, in their order.

    Values stand for the text of a source, whatever their kind in YAML. Rules that compare rows are not tried: keys,
    uniqueness, references and aggregates.
    """
    judge = Judge(contract, contract.rules, key=(), carried=())
    return [_tried(contract, judge, number, example) for number, example in enumerate(contract.tests, 1)]


def _tried(contract: Contract, judge: Judge, number: int, example: ExampleSpec) -> Tried:
    name = example.name or f"example {number}"
    given = {column.name: _text(example.given.get(column.name)) for column in contract.columns}
    schema = dict.fromkeys(given, pl.String)
    judged = judge(pl.DataFrame([given], schema=schema).to_arrow()).to_pylist()[0]
    broken = [contract.rules[n] for n in judged[FAILED_RULES] or []]
    stopping = [rule for rule in broken if rule.severity != "warn"]
    match example.expect:
        case list() as wanted:
            names = {rule.rule_id for rule in broken} | {rule.code for rule in broken}
            ok = set(wanted) <= names and all({rule.rule_id, rule.code} & set(wanted) for rule in broken)
            expected = f"expected {', '.join(wanted)}"
        case dict() as values:
            wrong = [column for column, value in values.items() if not _same(contract, column, value, judged)]
            ok = not stopping and not wrong
            expected = f"read otherwise: {', '.join(wrong)}" if wrong else "expected a clean row"
        case _:
            ok, expected = not stopping, "expected a clean row"
    found = ", ".join(rule.rule_id for rule in broken) or "nothing"
    return Tried(name, ok, "as expected" if ok else f"{expected}; broken: {found}")


def _text(value: Scalar) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _same(contract: Contract, name: str, wanted: Scalar, judged: Mapping[str, Any]) -> bool:
    found = judged[name]
    if wanted is None or found is None:
        return wanted is found
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if isinstance(wanted, int | float) and not isinstance(found, str):
        return float(found) == float(wanted)
    shown = found.isoformat() if isinstance(found, date) else str(found)
    return str(wanted).replace("Z", "+00:00") == shown
